//! A command that a step runs, which can be printed so that a person can repeat it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// A program with its arguments and what is added to its environment. It runs in the root of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    plain: bool,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The folder for what is built and downloaded.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |given| root().join(given))
}

/// `cargo` with arguments separated by spaces.
pub(crate) fn cargo(arguments: &str) -> Run {
    program("cargo", arguments)
}

/// Any program with arguments separated by spaces.
pub(crate) fn program(program: &'static str, arguments: &str) -> Run {
    Run { program, arguments: arguments.split_whitespace().map(str::to_owned).collect(), environment: Vec::new(), plain: false }
}

impl Run {
    /// Adds one argument, which may hold spaces.
    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments separated by spaces.
    pub(crate) fn args(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Keeps the terminal from it, so that it prints the same everywhere.
    pub(crate) fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Runs it and shows what it prints. The error says how it ended.
    pub(crate) fn shown(&self) -> Result<(), String> {
        let status = self.wait().map_err(|error| format!("{} cannot be run: {error}", self.program))?;
        if status.success() { Ok(()) } else { Err(status.to_string()) }
    }

    /// Runs it and returns what it prints. The error says how it ended, with the end of what it said.
    pub(crate) fn printed(&self) -> Result<String, String> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|error| format!("{} cannot be run: {error}", self.program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
        Err(format!("{}: {last} ({})", self.program, output.status))
    }

    fn wait(&self) -> io::Result<ExitStatus> {
        if !self.plain {
            return self.command().status();
        }
        let mut child = self.command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut printed) = child.stdout.take() {
            io::copy(&mut printed, &mut io::stdout())?;
        }
        child.wait()
    }

    /// Whether it runs and succeeds, without showing anything.
    pub(crate) fn succeeds(&self) -> bool {
        self.command().stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(root());
        command
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// An argument as a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_a_shell_takes_it() {
        let run = cargo("doc --no-deps").env("RUSTDOCFLAGS", "-D warnings").arg("it's");
        assert_eq!(run.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'it'\''s'");
    }

    #[test]
    fn what_cannot_be_run_says_so() {
        let fault = program("no-such-program-anywhere", "").shown().unwrap_err();
        assert!(fault.contains("no-such-program-anywhere"), "{fault}");
        assert!(!program("no-such-program-anywhere", "").succeeds());
    }
}
