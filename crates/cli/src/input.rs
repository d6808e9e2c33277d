//! Lines of a file or of standard input, read beside the runtime so that an interrupt is heard while one waits for them.

use crate::exit::{Failure, Outcome};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};
use tokio::sync::mpsc;

/// How many lines are read ahead.
const AHEAD: usize = 256;

/// A line that is not blank.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1, blank lines included.
    pub(crate) number: usize,
    pub(crate) bytes: Vec<u8>,
    /// How many bytes of the input end with this line.
    pub(crate) end: u64,
}

/// The lines of an input.
pub(crate) struct Lines {
    name: String,
    size: Option<u64>,
    lines: mpsc::Receiver<io::Result<Line>>,
}

impl Lines {
    /// Opens a file, or standard input where the path is `-`.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        if path == Path::new("-") {
            return Ok(Self::read("standard input".to_owned(), None, io::stdin()));
        }
        let cannot = |error| Failure::invalid(format_args!("{}: it cannot be read: {error}", path.display()));
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self::read(path.display().to_string(), metadata.is_file().then_some(metadata.len()), file))
    }

    fn read(name: String, size: Option<u64>, input: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel(AHEAD);
        // A thread of its own: one that is blocked on a terminal must not keep the program from ending.
        std::thread::spawn(move || send_lines(input, &sender));
        Self { name, size, lines }
    }

    /// The lines of a text, for tests.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        Self::read("x".to_owned(), None, io::Cursor::new(text.to_owned()))
    }

    /// What the input is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes there are, where that is known before they are read.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next line that is not blank.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Line>> {
        let next = self.lines.recv().await;
        self.unwrap(next)
    }

    /// The next line if it has been read already.
    pub(crate) fn next_at_hand(&mut self) -> Outcome<Option<Line>> {
        let next = self.lines.try_recv().ok();
        self.unwrap(next)
    }

    fn unwrap(&self, next: Option<io::Result<Line>>) -> Outcome<Option<Line>> {
        next.transpose().map_err(|error| Failure::failed(format_args!("{}: it cannot be read: {error}", self.name)))
    }
}

/// Reads all of a small input as text, such as the data of one event.
pub(crate) async fn all_of_stdin() -> Outcome<String> {
    let mut lines = Lines::read("standard input".to_owned(), None, io::stdin());
    let mut text = Vec::new();
    while let Some(line) = lines.next().await? {
        text.extend_from_slice(&line.bytes);
        text.push(b'\n');
    }
    String::from_utf8(text).map_err(|_| Failure::invalid("standard input: it must be UTF-8"))
}

fn send_lines(input: impl Read, sender: &mpsc::Sender<io::Result<Line>>) {
    let mut input = BufReader::new(input);
    let (mut number, mut end) = (0, 0);
    loop {
        let mut bytes = Vec::new();
        let read = match input.read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        number += 1;
        end += read as u64;
        if number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            // Some editors begin a file with a mark that JSON does not allow.
            bytes.drain(..3);
        }
        let blank = bytes.iter().all(u8::is_ascii_whitespace);
        if !blank && sender.blocking_send(Ok(Line { number, bytes, end })).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn numbered(text: &'static str) -> Vec<(usize, String)> {
        let mut lines = Lines::read("x".to_owned(), None, text.as_bytes());
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push((line.number, String::from_utf8(line.bytes).unwrap().trim_end().to_owned()));
        }
        all
    }

    #[tokio::test]
    async fn blank_lines_count_and_are_left_out() {
        let lines = numbered("\u{feff}a\r\n\n  \nb").await;
        assert_eq!(lines, [(1, "a".to_owned()), (4, "b".to_owned())]);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        for path in ["/nowhere/x.ndjson", "/"] {
            let Err(Failure::Said(exit, message)) = Lines::open(Path::new(path)) else { panic!("opened") };
            assert_eq!(exit, crate::exit::Exit::Invalid);
            assert!(message.starts_with(path), "{message}");
        }
    }
}
