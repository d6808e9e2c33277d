//! Keeps a channel that overwrites from losing anything: publishers wait while the slowest subscriber is too far behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

/// Lets a publisher through only when there is room for its event.
pub(super) struct Gate {
    capacity: u64,
    entered: AtomicU64,
    /// Up to here there was room when somebody last looked.
    limit: AtomicU64,
    handled: Vec<Lonely>,
    somebody_waits: AtomicBool,
    room: Notify,
}

#[repr(align(128))]
#[derive(Default)]
struct Lonely(AtomicU64);

impl Gate {
    pub(super) fn new(capacity: usize, subscribers: usize) -> Self {
        Self {
            capacity: capacity as u64,
            entered: AtomicU64::new(0),
            limit: AtomicU64::new(capacity as u64),
            handled: std::iter::repeat_with(Lonely::default).take(subscribers).collect(),
            somebody_waits: AtomicBool::new(false),
            room: Notify::new(),
        }
    }

    /// Waits until there is room for one event, and takes it.
    pub(super) async fn enter(&self) {
        let number = self.entered.fetch_add(1, SeqCst);
        if number < self.limit.load(SeqCst) || number < self.look() {
            return;
        }
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            self.somebody_waits.store(true, SeqCst);
            if number < self.look() {
                return;
            }
            room.await;
        }
    }

    /// A subscriber has handled an event.
    pub(super) fn leave(&self, subscriber: usize) {
        let handled = self.handled[subscriber].0.fetch_add(1, SeqCst) + 1;
        // Not after each event, since a publisher that is woken should find room for many.
        if handled.is_multiple_of(self.capacity / 4) && self.somebody_waits.load(SeqCst) {
            self.somebody_waits.store(false, SeqCst);
            self.room.notify_waiters();
        }
    }

    fn look(&self) -> u64 {
        let slowest = self.handled.iter().map(|handled| handled.0.load(SeqCst)).min().unwrap_or(0);
        let limit = slowest + self.capacity;
        self.limit.fetch_max(limit, SeqCst).max(limit)
    }
}
