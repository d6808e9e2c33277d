//! How the loops of an engine wake each other, and how they learn that the end is near.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// "Look again", for the loops that share the engine's main task.
///
/// Such a loop waits by looking; [`drive`](Self::drive) polls all of them again as long as one of them, or anybody else, has said that
/// something changed. So what one loop does for another costs no way through the scheduler.
pub(super) struct Pulse {
    changes: AtomicU64,
    polling: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// How often all loops are polled before other tasks get their turn.
const ROUNDS: usize = 16;

impl Pulse {
    pub(super) const fn new() -> Self {
        Self { changes: AtomicU64::new(0), polling: AtomicBool::new(false), waker: Mutex::new(None) }
    }

    /// Says that something changed.
    pub(super) fn beat(&self) {
        self.changes.fetch_add(1, SeqCst);
        // While the loops are being polled, the change is seen when that is done.
        if !self.polling.load(SeqCst) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits until `look` finds something. Only within [`drive`](Self::drive).
    pub(super) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        poll_fn(move |_| look().map_or(Poll::Pending, Poll::Ready))
    }

    /// Runs the loops to their end. They are borrowed, since a future that is moved into another takes its place twice.
    pub(super) fn drive(&self, mut loops: Pin<&mut impl Future<Output = ()>>) -> impl Future<Output = ()> {
        poll_fn(move |cx| self.round(loops.as_mut(), cx))
    }

    fn round(&self, mut loops: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            let seen = self.changes.load(SeqCst);
            self.polling.store(true, SeqCst);
            let polled = loops.as_mut().poll(cx);
            self.listen(cx.waker());
            self.polling.store(false, SeqCst);
            if polled.is_ready() {
                return Poll::Ready(());
            }
            if self.changes.load(SeqCst) == seen {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn listen(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

/// "Look again", for tasks of their own. Whoever looks with [`until`](Self::until) misses no notification.
pub(super) struct Signal(Notify);

impl Signal {
    pub(super) const fn new() -> Self {
        Self(Notify::const_new())
    }

    /// Wakes one that waits.
    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub(super) fn notify_all(&self) {
        self.0.notify_waiters();
    }

    /// Waits until `look` finds something.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            // Registered first, so that what changes between the look and the wait is not missed.
            let mut notified = pin!(self.0.notified());
            notified.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            notified.await;
        }
    }
}

/// Where a subscription stands. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Fetches and handles.
    Running,
    /// Fetches no more and starts no more handlers.
    Stopping,
    /// Handlers that still run are dropped.
    Aborting,
    /// Nothing runs any more; what is left is to settle outcomes.
    Finishing,
    /// Nothing is left.
    Ended,
}

pub(super) struct Lifecycle {
    phase: AtomicU8,
    /// Whether the close deadline has passed. No phase says so: what is left to settle may be left in the last of them.
    out_of_time: AtomicBool,
    moved: Signal,
}

impl Lifecycle {
    pub(super) const fn new() -> Self {
        Self { phase: AtomicU8::new(Phase::Running as u8), out_of_time: AtomicBool::new(false), moved: Signal::new() }
    }

    /// Moves forward to `phase`, if that is forward.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
        self.moved.notify_all();
    }

    pub(super) fn reached(&self, phase: Phase) -> bool {
        self.phase.load(SeqCst) >= phase as u8
    }

    pub(super) async fn until(&self, phase: Phase) {
        self.moved.until(|| self.reached(phase).then_some(())).await;
    }

    /// The close deadline has passed.
    pub(super) fn run_out(&self) {
        self.give_up();
        self.advance(Phase::Aborting);
    }

    /// The same for the backend alone: handlers that run may finish.
    pub(super) fn give_up(&self) {
        self.out_of_time.store(true, SeqCst);
        self.moved.notify_all();
    }

    pub(super) async fn until_out_of_time(&self) {
        self.moved.until(|| self.out_of_time.load(SeqCst).then_some(())).await;
    }

    /// Whoever [watches](Self::watch) looks again, though nothing moved.
    pub(super) fn look_again(&self) {
        self.moved.notify_all();
    }

    /// Waits until `look` finds something, looking at every move. It is told whether what runs is to be dropped.
    pub(super) fn watch<T>(&self, mut look: impl FnMut(bool) -> Option<T>) -> impl Future<Output = T> {
        self.moved.until(move || look(self.reached(Phase::Aborting)))
    }
}
