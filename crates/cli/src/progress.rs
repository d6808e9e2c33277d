//! A progress line on standard error, where that is a terminal.

use crate::output::Output;
use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

/// How often the line is drawn at most.
const REDRAW: Duration = Duration::from_millis(100);
const BAR: usize = 30;

/// How far a file has been published.
pub(crate) struct Progress {
    shown: bool,
    size: Option<u64>,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// A line for an input of so many bytes. Nothing is drawn where nobody would see it.
    pub(crate) fn new(size: Option<u64>, out: &Output) -> Self {
        Self { shown: stderr().is_terminal() && !out.is_quiet(), size, begun: Instant::now(), drawn: None }
    }

    /// Draws the line, unless it was drawn a moment ago.
    pub(crate) fn at(&mut self, bytes: u64, published: u64) {
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(self.size.map(|size| bytes as f64 / size.max(1) as f64), published, self.begun.elapsed());
        let _ = write!(stderr(), "\r\u{1b}[K{line}");
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(part: Option<f64>, published: u64, elapsed: Duration) -> String {
    let rate = published as f64 / elapsed.as_secs_f64().max(0.001);
    let bar = part.map(|part| {
        let full = ((part.clamp(0.0, 1.0) * BAR as f64) as usize).min(BAR);
        format!("{}{} {:3.0}%  ", "█".repeat(full), "░".repeat(BAR - full), part.clamp(0.0, 1.0) * 100.0)
    });
    format!("{}published {published}, {rate:.0}/s", bar.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let shown = line(Some(0.5), 100, Duration::from_secs(2));
        assert!(shown.starts_with(&format!("{}{}  50%", "█".repeat(15), "░".repeat(15))), "{shown}");
        assert!(shown.ends_with("published 100, 50/s"), "{shown}");
        assert_eq!(line(None, 1, Duration::from_secs(1)), "published 1, 1/s");
        assert!(line(Some(7.0), 0, Duration::ZERO).contains("100%"));
    }
}
