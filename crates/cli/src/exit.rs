//! How the program ends: the exit codes, and failures on their way to one.

use eventbus::{Error, ErrorKind};
use std::{fmt, io, process::ExitCode};

/// The exit codes. Scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage or invalid input.
    Invalid = 2,
    NothingArrived = 3,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command cannot go on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more. This is not worth a word.
    PipeClosed,
    Interrupted,
    Said(Exit, String),
}

/// What a command comes to.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Failed, message.to_string())
    }

    pub(crate) fn invalid(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Invalid, message.to_string())
    }

    /// A write to standard output that failed.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::failed(format_args!("standard output cannot be written: {error}")),
        }
    }

    /// The exit code, after a last word on standard error where there is something to say.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::PipeClosed => Exit::Done,
            Self::Interrupted => Exit::Interrupted,
            Self::Said(exit, _) => *exit,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::TooLarge { .. } => Exit::Invalid,
            _ => Exit::Failed,
        };
        Self::Said(exit, with_causes(&error))
    }
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Prints what the argument parser has to say: help and version to standard output, mistakes to standard error.
pub(crate) fn usage(said: &clap::Error) -> Exit {
    // Whoever closed the pipe does not want the rest.
    let _ = said.print();
    if said.use_stderr() { Exit::Invalid } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_can_mend_is_invalid_and_the_rest_failed() {
        let exit = |kind| Failure::from(Error::new(kind, "x")).exit();
        assert_eq!(exit(ErrorKind::Invalid), Exit::Invalid);
        assert_eq!(exit(ErrorKind::Unsupported), Exit::Invalid);
        assert_eq!(exit(ErrorKind::TooLarge { limit: 1, size: 2 }), Exit::Invalid);
        assert_eq!(exit(ErrorKind::Unavailable), Exit::Failed);
    }

    #[test]
    fn a_message_has_its_causes() {
        let error = Error::invalid("outer").caused_by("inner");
        assert_eq!(with_causes(&error), "invalid: outer: inner");
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        assert_eq!(Failure::of_output(&io::ErrorKind::BrokenPipe.into()).exit(), Exit::Done);
        assert_eq!(Failure::of_output(&io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
    }
}
