//! What the loops of an engine share.

use super::{
    pace::Pace,
    schedule::{Key, Schedule},
};
use crate::source::{Run, Settled, Ticket};
use eventbus_core::{Event, Ordering};
use std::ops::Range;

pub(super) struct State<T> {
    /// What was fetched and not started.
    pub(super) schedule: Schedule<T>,
    /// Outcomes that the source does not know yet.
    pub(super) settled: Vec<Settled<T>>,
    /// What each lane runs.
    pub(super) running: Vec<Running<T>>,
    /// What was given up and is not stored yet.
    pub(super) burying: Vec<Run<T>>,
    pub(super) pace: Pace,
    /// Whether more may be fetched.
    pub(super) fetching: bool,
    /// Whether the fetching loop found no room and waits for some.
    pub(super) wants_room: bool,
    tickets: u64,
}

/// What a lane runs.
pub(super) struct Running<T> {
    pub(super) lane: usize,
    pub(super) run: Run<T>,
    /// How many deliveries its handler has at once: 1, or a batch.
    pub(super) at_once: usize,
    /// Positions in the batch of deliveries that this consumer has lost meanwhile.
    pub(super) lost: Vec<usize>,
}

impl<T> State<T> {
    pub(super) fn new(ordering: Ordering) -> Self {
        Self {
            schedule: Schedule::new(ordering),
            settled: Vec::new(),
            running: Vec::new(),
            burying: Vec::new(),
            pace: Pace::new(),
            fetching: true,
            wants_room: false,
            tickets: 0,
        }
    }

    /// Whether there is anything to do besides fetching.
    pub(super) fn has_work(&self) -> bool {
        self.schedule.ready_runs() > 0 || !self.settled.is_empty()
    }

    /// A ticket for a delivery that later ones wait for.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// How many deliveries handlers have at this moment.
    pub(super) fn in_flight(&self) -> usize {
        self.running.iter().map(|running| running.at_once).sum()
    }

    /// How many more deliveries may be fetched for these handlers and this buffer. `Some(0)` where there is no room but for what was
    /// put back and others wait for.
    pub(super) fn room(&mut self, handlers: usize, at_once: usize, buffer: usize) -> Option<usize> {
        let held = self.schedule.len() + self.burying.len();
        let ahead = self.pace.ahead(handlers, at_once).saturating_sub(held);
        // Where all that is here waits for its key, a handler that has nothing to do is served from further ahead.
        let starved = self.schedule.ready_runs() == 0 && self.running.len() < handlers;
        let room = ahead.max(if starved { at_once } else { 0 }).min(buffer.saturating_sub(held));
        self.wants_room = room == 0;
        (room > 0 || self.schedule.has_gates()).then_some(room)
    }

    pub(super) fn key(&self, event: &Event) -> Option<Key> {
        self.schedule.key(event)
    }

    /// Whether this consumer still has a delivery that a lane runs.
    pub(super) fn has_lost(&self, lane: usize, position: usize) -> bool {
        self.running.iter().any(|running| running.lane == lane && running.lost.contains(&position))
    }

    /// Whether a lane runs deliveries that this consumer has lost.
    pub(super) fn has_lost_any(&self, lane: usize) -> bool {
        self.running.iter().any(|running| running.lane == lane && !running.lost.is_empty())
    }

    /// Everything that is held: what waits, what runs, what is being buried.
    pub(super) fn held(&self) -> Vec<Run<T>> {
        let running = self.running.iter().map(|running| &running.run);
        self.schedule.iter().chain(running).chain(&self.burying).cloned().collect()
    }

    /// Notes that a delivery was lost. Where it runs, its lane has to be told; where it waits, it is gone.
    pub(super) fn lose(&mut self, lost: &Run<T>) -> Lost {
        let Range { start, .. } = lost.range();
        let same = |run: &Run<T>| std::sync::Arc::ptr_eq(run.batch(), lost.batch()) && run.range().contains(&start);
        if let Some(running) = self.running.iter_mut().find(|running| same(&running.run)) {
            running.lost.push(start);
            return Lost::Running;
        }
        if self.schedule.remove(lost) { Lost::Waiting } else { Lost::Unknown }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Running,
    Waiting,
    Unknown,
}
