//! How a demo is watched: live on a terminal, as lines where it is piped, as JSON by programs.

use super::{live::Live, occurrence::Occurrence, stage::Stage};
use crate::{exit::Outcome, interrupt::Interrupt, output::Output};
use std::time::Instant;

pub(super) enum View {
    /// Bad lines are kept, since they must be said where they stay to be read.
    Live(Box<Live>, Vec<String>),
    Lines,
    Json,
}

impl View {
    /// The view that fits the output. A terminal that cannot be drawn on gets lines.
    pub(super) fn new(out: &Output, title: String, begun: Instant) -> Self {
        if out.json() {
            return Self::Json;
        }
        if !out.is_terminal() || out.is_verbose() {
            return Self::Lines;
        }
        Live::open(title, begun).map_or(Self::Lines, |live| Self::Live(Box::new(live), Vec::new()))
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live(..))
    }

    /// Resolves when something is to be drawn.
    pub(super) async fn frame_is_due(&mut self) {
        match self {
            Self::Live(live, _) => live.frame_is_due().await,
            Self::Lines | Self::Json => std::future::pending().await,
        }
    }

    pub(super) fn draw(&mut self, stage: &Stage, interrupt: &Interrupt, out: &mut Output) {
        if let Self::Live(live, _) = self
            && live.draw(stage, interrupt).is_err()
        {
            // The terminal is gone, or does not do as it should.
            std::mem::replace(self, Self::Lines).end(out);
        }
    }

    pub(super) fn show(&mut self, occurrences: impl Iterator<Item = Occurrence>, out: &mut Output) -> Outcome<()> {
        for occurrence in occurrences {
            match self {
                Self::Live(live, bad_lines) => {
                    live.note(&occurrence);
                    if let Occurrence::BadLine { input, line, fault } = occurrence {
                        bad_lines.push(format!("{input}: line {line}: {fault}"));
                    }
                }
                Self::Json => out.document(&occurrence.document())?,
                Self::Lines if let Occurrence::BadLine { input, line, fault } = &occurrence => {
                    out.fault(format_args!("{input}: line {line}: {fault}"));
                }
                Self::Lines if occurrence.is_notable() || out.is_verbose() => out.line(occurrence.line(out.paint()))?,
                Self::Lines => {}
            }
        }
        out.flush()
    }

    /// Gives the terminal back.
    pub(super) fn end(self, out: &mut Output) {
        if let Self::Live(live, bad_lines) = self {
            drop(live);
            bad_lines.iter().for_each(|line| out.fault(line));
        }
    }
}
