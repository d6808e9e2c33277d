//! The tasks of this workspace, as `cargo xtask <task>`. `cargo xtask --help` lists them.

mod bench;
mod ci;
mod command;
mod debian;
mod features;
mod images;
mod matrix;
mod servers;
mod setup;
mod soak;
mod steps;
mod test;

use std::process::ExitCode;
use steps::{Failed, Steps};

const USAGE: &str = "\
Usage: cargo xtask <task>

Tasks:
  setup                    Check what the tests need, and install what is missing
  test                     Set up, then run every test: unit, integration and documentation tests, examples, seeds of the fuzz targets
  test --matrix            Run the suites of the backends against every server that this machine can get, and print a table
  images [--suite trixie]  Make images of the servers from a suite of Debian, for places without a container registry
  ci                       Everything that a change must pass: formatting, lints, documentation, each feature, the tests, the costs of
                           an event, the tests in containers, the demo
  bench [FILTER] [OPTION…] Measure beside the raw clients and the peers; --json, --quick, --report and --list are its options
  soak [OPTION…]           Publish for minutes while the server is restarted again and again, or very much at once; --help names the options

Each step prints its command and its time. The first that fails ends the task with its name and the command to repeat it.
CARGO_TARGET_DIR is used as it is given. Exit codes: 0 done, 1 a step failed, 2 wrong usage.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["setup"] => perform("setup", setup::run),
        ["test"] => perform("test", test::run),
        ["test", "--matrix"] => perform("matrix", matrix::run),
        ["images"] => perform("images", |steps| images::run(steps, debian::SUITE)),
        ["images", "--suite", suite] if debian::is_suite(suite) => perform("images", |steps| images::run(steps, suite)),
        ["ci"] => perform("ci", ci::run),
        ["bench", ref options @ ..] => perform("bench", |steps| bench::run(steps, options)),
        ["soak", ref options @ ..] => perform("soak", |steps| soak::run(steps, options)),
        [task @ ("setup" | "test" | "images" | "ci"), ref rest @ ..] => wrong_usage(&format!("{task} does not take {:?}", rest.join(" "))),
        [name, ..] => wrong_usage(&format!("there is no task {name:?}")),
        [] => wrong_usage("no task is given"),
    }
}

fn perform(name: &str, task: impl FnOnce(&mut Steps) -> Result<(), Failed>) -> ExitCode {
    let mut steps = Steps::begin(name);
    match task(&mut steps) {
        Ok(()) => {
            steps.summarize();
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage(fault: &str) -> ExitCode {
    eprintln!("xtask: {fault}\n\n{USAGE}");
    ExitCode::from(2)
}
