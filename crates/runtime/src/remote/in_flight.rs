//! What is on its way: publishes that somebody waits for, counted, and enqueued events, bounded by count and by bytes.

use eventbus_core::Error;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Bytes are counted in pieces of this size, since a semaphore counts to 2³² on a small machine.
const PIECE: usize = 1024;

pub(super) struct InFlight {
    count: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
    max: u32,
    max_pieces: u32,
    /// Publishes that their publishers wait for.
    awaited: AtomicUsize,
    none_awaited: Notify,
    /// The first failure of an event whose receipt nobody waited for.
    failed: Mutex<Option<Error>>,
}

/// The place of one event. Its drop makes room.
pub(super) struct Place(#[expect(dead_code, reason = "held for its drop")] (OwnedSemaphorePermit, OwnedSemaphorePermit));

impl InFlight {
    pub(super) fn new(max: usize, bytes: usize) -> Self {
        let limit = |wanted: usize| u32::try_from(wanted.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let (max, max_pieces) = (limit(max), limit(bytes.div_ceil(PIECE)));
        Self {
            count: Arc::new(Semaphore::new(max as usize)),
            pieces: Arc::new(Semaphore::new(max_pieces as usize)),
            max,
            max_pieces,
            awaited: AtomicUsize::new(0),
            none_awaited: Notify::new(),
            failed: Mutex::default(),
        }
    }

    /// Waits for room for an event with so many bytes of data. One that is larger than all of the room waits for all of it.
    pub(super) async fn enter(&self, bytes: usize) -> Option<Place> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX).clamp(1, self.max_pieces);
        let one = Arc::clone(&self.count).acquire_owned().await.ok()?;
        let pieces = Arc::clone(&self.pieces).acquire_many_owned(pieces).await.ok()?;
        Some(Place((one, pieces)))
    }

    /// Counts publishes that somebody waits for, until the answer is dropped.
    pub(super) fn await_some(&self, publishes: usize) -> Awaited<'_> {
        self.awaited.fetch_add(publishes, SeqCst);
        Awaited { all: self, publishes }
    }

    /// Waits until what was enqueued before has left. Whoever enqueues meanwhile waits, too.
    pub(super) async fn until_none_enqueued(&self) -> Option<SemaphorePermit<'_>> {
        self.count.acquire_many(self.max).await.ok()
    }

    /// Waits until nothing is on its way.
    pub(super) async fn until_none(&self) {
        loop {
            let notified = self.none_awaited.notified();
            if self.awaited.load(SeqCst) == 0 {
                break;
            }
            notified.await;
        }
        drop(self.until_none_enqueued().await);
    }

    pub(super) fn count(&self) -> usize {
        self.awaited.load(SeqCst) + (self.max as usize).saturating_sub(self.count.available_permits())
    }

    /// Notes a failure that no receipt tells.
    pub(super) fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The first failure since this was asked last.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Publishes that somebody waits for.
pub(super) struct Awaited<'a> {
    all: &'a InFlight,
    publishes: usize,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if self.all.awaited.fetch_sub(self.publishes, SeqCst) == self.publishes {
            self.all.none_awaited.notify_waiters();
        }
    }
}
