//! A demo on a terminal: takes the screen, obeys the keys, draws.

use super::{occurrence::Occurrence, picture::Picture, stage::Stage};
use crate::{interrupt::Interrupt, screen};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers},
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::time::{Interval, MissedTickBehavior};

const FRAME: Duration = Duration::from_millis(80);

pub(super) struct Live {
    terminal: DefaultTerminal,
    frames: Interval,
    picture: Picture,
}

impl Live {
    pub(super) fn open(title: String, begun: Instant) -> io::Result<Self> {
        let terminal = screen::take()?;
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self { terminal, frames, picture: Picture::new(title, begun) })
    }

    pub(super) async fn frame_is_due(&mut self) {
        self.frames.tick().await;
    }

    /// Takes in what happened. It is seen with the next frame.
    pub(super) fn note(&mut self, occurrence: &Occurrence) {
        self.picture.note(occurrence);
    }

    /// Obeys the keys and draws.
    pub(super) fn draw(&mut self, stage: &Stage, interrupt: &Interrupt) -> io::Result<()> {
        while event::poll(Duration::ZERO)? {
            if let Input::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match key.code {
                    // The terminal sends no signal while it passes on every key.
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => interrupt.trigger_or_exit(),
                    KeyCode::Char('q') | KeyCode::Esc => stage.stop.trigger(),
                    _ => {}
                }
            }
        }
        self.picture.advance();
        let services = stage.ledger.standings();
        self.terminal.draw(|frame| self.picture.paint(frame, &services, stage.stop.is_asked()))?;
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        screen::give_back();
    }
}
