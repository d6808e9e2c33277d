//! Wrong usage is answered with how it is used, and exit code 2.

use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap()
}

#[test]
fn wrong_usage_says_what_is_wrong_and_what_there_is() {
    for (arguments, fault) in [
        (&[][..], "no task is given"),
        (&["tset"], "no task \"tset\""),
        (&["test", "now"], "test does not take \"now\""),
        (&["images", "--suite", "Trixie; rm"], "images does not take"),
        (&["--"], "no task \"--\""),
    ] {
        let output = xtask(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said.contains(fault) && said.contains("Usage: cargo xtask <task>"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_is_no_fault() {
    for argument in ["--help", "-h", "help"] {
        let output = xtask(&[argument]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(["setup", "test", "images", "ci", "soak"].iter().all(|task| said.contains(&format!("\n  {task} "))), "{said}");
    }
}

#[test]
fn setup_succeeds_where_everything_is_there() {
    let output = xtask(&["setup"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
