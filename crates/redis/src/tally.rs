//! How much a subscription has before it, as far as it is known here.

use eventbus_runtime::Backlog;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The figures of one subscription.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Figures>);

#[derive(Debug, Default)]
struct Figures {
    /// What waited at the server when it was asked last, less what was taken off since.
    known: u64,
    /// How much was ever taken off.
    taken_off: u64,
    /// What this process has of the subscription.
    held: u64,
    /// When the oldest was taken by the server, as far as it said.
    oldest: Option<Instant>,
    dropped: u64,
    lost: u64,
    /// How many entries were passed, of those that the server counts as waiting.
    scanned: u64,
    /// How much retention had taken from the group when this member came, by partition.
    taken: HashMap<u32, u64>,
}

/// A measurement that has begun: what had been taken off by then. What is taken off until its answer comes may or may not be in it.
#[must_use]
pub(crate) struct Measuring(u64);

impl Tally {
    /// Something was fetched. What it was is with this process until it is settled.
    pub(crate) fn fetched(&self, count: u64) {
        self.figures().held += count;
    }

    /// How much this process has that is not known to be settled.
    pub(crate) fn held(&self) -> u64 {
        self.figures().held
    }

    /// Deliveries were settled: for good, or so that they come again.
    pub(crate) fn settled(&self, count: u64, for_good: bool) {
        let mut figures = self.figures();
        figures.held = figures.held.saturating_sub(count);
        if for_good {
            figures.take_off(count);
        }
    }

    /// Deliveries are another member's now.
    pub(crate) fn lost(&self, count: u64) {
        let mut figures = self.figures();
        figures.held = figures.held.saturating_sub(count);
    }

    /// What waited at the server and is not for this subscription, or came from there.
    pub(crate) fn passed_over(&self, count: u64) {
        self.figures().take_off(count);
    }

    /// So many were passed in all, whether they were for this subscription or not.
    pub(crate) fn scanned_to(&self, total: u64) {
        let mut figures = self.figures();
        let more = total.saturating_sub(figures.scanned);
        figures.scanned = total;
        figures.take_off(more);
    }

    pub(crate) fn dropped(&self, count: u64) {
        self.figures().dropped += count;
    }

    /// Retention took so many more.
    pub(crate) fn lost_to_retention(&self, count: u64) {
        self.figures().lost += count;
    }

    /// So many that retention was said to have taken had been read before.
    pub(crate) fn found(&self, count: u64) {
        let mut figures = self.figures();
        figures.lost = figures.lost.saturating_sub(count);
    }

    /// Retention took so many from the group at a partition, since there is one. Returns how many more than were known.
    pub(crate) fn took(&self, partition: u32, taken: u64) -> Option<u64> {
        let mut figures = self.figures();
        let before = figures.taken.insert(partition, taken)?;
        let more = taken.saturating_sub(before);
        figures.lost += more;
        (more > 0).then_some(more)
    }

    /// Begins to ask the server.
    pub(crate) fn begin(&self) -> Measuring {
        Measuring(self.figures().taken_off)
    }

    /// Takes in what the server said: how much waits, and how old the oldest is.
    #[expect(clippy::needless_pass_by_value, reason = "a measurement ends once")]
    pub(crate) fn measured(&self, begun: Measuring, waiting: u64, oldest: Option<Duration>) {
        let mut figures = self.figures();
        figures.known = waiting.saturating_sub(figures.taken_off - begun.0);
        figures.oldest = oldest.and_then(|age| Instant::now().checked_sub(age));
    }

    /// What the subscription has before it: what the server has for it and what is here of it, of which a part may be the same.
    pub(crate) fn backlog(&self) -> Backlog {
        let figures = self.figures();
        let mut backlog = Backlog::default();
        let lag = figures.known.max(figures.held);
        backlog.lag = Some(lag);
        backlog.oldest = figures.oldest.filter(|_| lag > 0).map(|since| since.elapsed());
        backlog.dropped = figures.dropped;
        backlog.lost_to_retention = figures.lost;
        backlog
    }

    /// The same where what is here is no part of what the server has.
    pub(crate) fn backlog_beside(&self) -> Backlog {
        let mut backlog = self.backlog();
        let figures = self.figures();
        backlog.lag = Some(figures.known + figures.held);
        if backlog.lag == Some(0) {
            backlog.oldest = None;
        }
        backlog
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    fn take_off(&mut self, count: u64) {
        self.known = self.known.saturating_sub(count);
        self.taken_off += count;
    }
}
