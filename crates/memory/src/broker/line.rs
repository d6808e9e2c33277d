//! Those who wait for the same, such as publishers for room at one consumer.

use std::{collections::VecDeque, task::Waker};

/// Wakers in the order in which they came, each with the number to leave by. Numbers only grow and are never given twice, unlike the ids of
/// consumers: who leaves late, and by then asks the wrong consumer, finds nobody instead of somebody else.
#[derive(Default)]
pub(super) struct Line(VecDeque<(u64, Waker)>);

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn join(&mut self, number: u64, waker: Waker) {
        self.0.push_back((number, waker));
    }

    /// Takes out one that waits no longer. Nothing where it was woken.
    pub(super) fn leave(&mut self, number: u64) -> Option<Waker> {
        let place = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.0.remove(place).map(|(_, waker)| waker)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waker> {
        self.0.drain(..).map(|(_, waker)| waker)
    }
}
