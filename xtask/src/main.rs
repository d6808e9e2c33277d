//! The tasks of this workspace, as `cargo xtask <task>`. `cargo xtask --help` lists them.

mod ci;
mod command;
mod features;
mod setup;
mod steps;
mod test;

use std::process::ExitCode;
use steps::Steps;

const USAGE: &str = "\
Usage: cargo xtask <task>

Tasks:
  setup   Check what the tests need, and install what is missing
  test    Set up, then run every test: unit, integration and documentation tests, examples, seeds of the fuzz targets
  ci      Everything that a change must pass: formatting, lints, documentation, each feature, the tests, the demo

Each step prints its command and its time. The first that fails ends the task with its name and the command to repeat it.
CARGO_TARGET_DIR is used as it is given. Exit codes: 0 done, 1 a step failed, 2 wrong usage.";

type Task = fn(&mut Steps) -> Result<(), steps::Failed>;

const TASKS: [(&str, Task); 3] = [("setup", setup::run), ("test", test::run), ("ci", ci::run)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        [name] => match TASKS.iter().find(|(known, _)| *known == name) {
            Some((name, task)) => perform(name, *task),
            None => wrong_usage(&format!("there is no task {name:?}")),
        },
        [] => wrong_usage("no task is given"),
        [name, ..] => wrong_usage(&format!("{name} takes no arguments")),
    }
}

fn perform(name: &str, task: Task) -> ExitCode {
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
