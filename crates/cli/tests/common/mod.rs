//! Runs the program as its users do.

#![allow(dead_code, reason = "each test binary uses its own part")]

use serde_json::Value;
use std::{
    fmt,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// How the program ended, and what it said.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Each line of the standard output, as JSON.
    pub(crate) fn documents(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))).collect()
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        parts.iter().for_each(|part| assert!(self.stdout.contains(part), "{part:?} is missing in {self:#?}"));
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, parts: &[&str]) -> Self {
        parts.iter().for_each(|part| assert!(self.stderr.contains(part), "{part:?} is missing in {self:#?}"));
        self
    }
}

impl fmt::Debug for Ran {
    /// The end of what was said is where the reason is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |text: &str| text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect::<String>();
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, end(&self.stdout), end(&self.stderr))
    }
}

/// The program, in an environment that says nothing about it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventbus"));
    command.args(arguments).env_remove("EVENTBUS_URL").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn eventbus(arguments: &[&str]) -> Ran {
    Ran::of(command(arguments).output().expect("the program starts"))
}

/// Runs the program with something on its standard input.
pub(crate) fn eventbus_with(input: &str, arguments: &[&str]) -> Ran {
    let mut command = command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // A program that ends without reading is no failure here.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    Ran::of(child.wait_with_output().expect("the program ends"))
}

/// A file of these tests.
pub(crate) fn data(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().expect("paths here are UTF-8").to_owned()
}

/// Says aloud that a test was left out. Written past the test harness, which would keep it to itself.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {test}: {why} ***\n");
}
