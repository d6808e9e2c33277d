//! The steps of a task: each is announced, timed, and ends the task when it fails.

use crate::command::Run;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// The steps that a task has done so far.
#[derive(Debug)]
pub(crate) struct Steps {
    task: String,
    since: Instant,
    done: Vec<Done>,
}

#[derive(Debug)]
struct Done {
    name: String,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// There was nothing to do.
    Found,
    Took(Duration),
    Skipped(String),
}

/// A step that failed: its name, how, and the command that repeats it.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: String,
    pub(crate) how: String,
    pub(crate) repeat: String,
}

impl Steps {
    pub(crate) fn begin(task: &str) -> Self {
        Self { task: task.to_owned(), since: Instant::now(), done: Vec::new() }
    }

    /// Runs a command as a step.
    pub(crate) fn run(&mut self, name: &str, run: &Run) -> Result<(), Failed> {
        eprintln!("\n==> {name}: {run}");
        let since = Instant::now();
        run.shown().map_err(|how| Failed {
            step: name.to_owned(),
            how: format!("{how}, after {}", seconds(since.elapsed())),
            repeat: run.to_string(),
        })?;
        eprintln!("<== {name}: {}", seconds(since.elapsed()));
        self.done.push(Done { name: name.to_owned(), outcome: Outcome::Took(since.elapsed()) });
        Ok(())
    }

    /// Says that what a step would provide is there.
    pub(crate) fn found(&mut self, name: &str) {
        eprintln!("==> {name}: is there");
        self.done.push(Done { name: name.to_owned(), outcome: Outcome::Found });
    }

    /// Says that a step is left out, loudly: once now and again in the summary.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        eprintln!("\n==> {name}: SKIPPED, {why}");
        self.done.push(Done { name: name.to_owned(), outcome: Outcome::Skipped(why.to_owned()) });
    }

    /// Prints what was done and how long it took.
    pub(crate) fn summarize(&self) {
        let width = self.done.iter().map(|done| done.name.len()).max().unwrap_or_default();
        eprintln!("\n{}: done in {}", self.task, seconds(self.since.elapsed()));
        for Done { name, outcome } in &self.done {
            eprintln!("  {name:width$}  {outcome}");
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found => f.write_str("is there"),
            Self::Took(time) => write!(f, "{:>8}", seconds(*time)),
            Self::Skipped(why) => write!(f, " SKIPPED, {why}"),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nxtask: the step {} failed: {}\nrepeat it with: {}", self.step, self.how, self.repeat)
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::program;

    #[test]
    fn the_first_failing_step_says_how_to_repeat_it() {
        let mut steps = Steps::begin("ci");
        assert!(steps.run("fine", &program("true", "")).is_ok());
        let failed = steps.run("broken", &program("false", "--now")).unwrap_err().to_string();
        assert!(failed.contains("the step broken failed") && failed.ends_with("repeat it with: false --now"), "{failed}");
        assert_eq!(steps.done.len(), 1);
    }
}
