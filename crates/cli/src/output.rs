//! Where the program's words go: results to standard output, everything else to standard error.

use crate::{
    args::Global,
    exit::{Failure, Outcome},
};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::{
    fmt,
    io::{self, BufWriter, IsTerminal as _, Write},
};

/// Standard output and standard error, as the options ask for them.
pub(crate) struct Output {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    json: bool,
    terminal: bool,
    verbosity: Verbosity,
    /// For results.
    paint: Paint,
    /// For notes.
    notes_paint: Paint,
}

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            stdout: Box::new(BufWriter::new(io::stdout())),
            stderr: Box::new(io::stderr()),
            json: global.json,
            terminal: io::stdout().is_terminal(),
            verbosity: global.verbosity(),
            paint: Paint::on(io::stdout().is_terminal()),
            notes_paint: Paint::on(io::stderr().is_terminal()),
        }
    }

    /// Whether results are for programs.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether somebody watches standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Colours for results.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// One line of a result. It is on its way after [`flush`](Self::flush).
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Outcome<()> {
        writeln!(self.stdout, "{line}").map_err(|error| Failure::of_output(&error))
    }

    /// A result for programs, as one line of JSON.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Outcome<()> {
        let text = serde_json::to_string(value).map_err(Failure::failed)?;
        self.line(text)
    }

    /// Bytes of a result, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.stdout.write_all(bytes).map_err(|error| Failure::of_output(&error))
    }

    /// Sends what was written on its way.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        self.stdout.flush().map_err(|error| Failure::of_output(&error))
    }

    /// Something good to know that is no result. Left out when quiet.
    pub(crate) fn note(&mut self, note: impl fmt::Display) {
        if self.verbosity > Verbosity::Quiet {
            self.tell(note);
        }
    }

    /// Something wrong that does not end the command.
    pub(crate) fn warn(&mut self, warning: impl fmt::Display) {
        let warning = format!("{} {warning}", self.notes_paint.yellow("warning:"));
        self.tell(warning);
    }

    /// Something invalid that was looked for. It is said also when quiet.
    pub(crate) fn fault(&mut self, fault: impl fmt::Display) {
        let fault = format!("{} {fault}", self.notes_paint.red("invalid:"));
        self.tell(fault);
    }

    /// What the command ends with, if there is something to say.
    pub(crate) fn error(&mut self, failure: &Failure) {
        match failure {
            Failure::PipeClosed => {}
            Failure::Interrupted => self.note("interrupted"),
            Failure::Said(_, message) => {
                let message = format!("{} {message}", self.notes_paint.red("error:"));
                self.tell(message);
            }
        }
    }

    fn tell(&mut self, text: impl fmt::Display) {
        // Where standard error cannot be written, there is nowhere to say so.
        let _ = writeln!(self.stderr, "{text}");
    }
}

/// Colours, or none where the output is no terminal or `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Without colours.
    pub(crate) const NONE: Self = Self(false);

    fn on(terminal: bool) -> Self {
        Self(terminal && allows_colour(|name| std::env::var_os(name)))
    }

    /// For what is drawn on a terminal in any case.
    pub(crate) fn on_terminal() -> Self {
        Self::on(true)
    }

    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    pub(crate) fn bold<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn dim<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().dimmed(), text)
    }

    pub(crate) fn red<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn green<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn yellow<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn cyan<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Cyan.on_default(), text)
    }

    fn with<T>(self, style: Style, text: T) -> Painted<T> {
        Painted { style: self.0.then_some(style), text }
    }
}

/// <https://no-color.org>: any value that is not empty means no colour.
fn allows_colour(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty()) && variable("TERM").is_none_or(|term| term != "dumb")
}

/// A text in a style.
pub(crate) struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => {
                write!(f, "{style}")?;
                self.text.fmt(f)?;
                write!(f, "{style:#}")
            }
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
pub(crate) use self::capture::Captured;

#[cfg(test)]
mod capture {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What an [`Output`] of a test was given.
    #[derive(Clone, Default)]
    pub(crate) struct Captured {
        stdout: Buffer,
        stderr: Buffer,
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Captured {
        /// An output of its own, and where its words can be read.
        pub(crate) fn output(json: bool) -> (Output, Self) {
            let captured = Self::default();
            let output = Output {
                stdout: Box::new(captured.stdout.clone()),
                stderr: Box::new(captured.stderr.clone()),
                json,
                terminal: false,
                verbosity: Verbosity::Normal,
                paint: Paint::NONE,
                notes_paint: Paint::NONE,
            };
            (output, captured)
        }

        pub(crate) fn stdout(&self) -> String {
            self.stdout.text()
        }

        pub(crate) fn stderr(&self) -> String {
            self.stderr.text()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(no_color: Option<&str>, term: Option<&str>) -> bool {
        allows_colour(|name| if name == "NO_COLOR" { no_color } else { term }.map(Into::into))
    }

    #[test]
    fn colour_is_for_terminals_without_no_color() {
        assert!(allowed(None, Some("xterm")) && allowed(Some(""), None));
        assert!(!allowed(Some("1"), Some("xterm")) && !allowed(None, Some("dumb")));
        assert!(!Paint::on(false).is_on());
    }

    #[test]
    fn painted_text_is_plain_without_colour_and_keeps_its_width() {
        assert_eq!(format!("[{:>4}]", Paint::NONE.red("x")), "[   x]");
        assert_eq!(format!("[{:>4}]", Paint(true).green("x")), "[\u{1b}[32m   x\u{1b}[0m]");
    }
}
