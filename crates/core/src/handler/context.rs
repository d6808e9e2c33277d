//! What a handler can ask about the delivery it is handling.

use crate::{Bus, BusFuture, Event, Result};
use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Poll, Waker},
    time::Instant,
};

/// One delivery of an event to a handler: which attempt it is, for which subscription, until when, and the bus to publish further
/// events on.
///
/// Cheap to clone. A clone outlives the handler, for example in a task that it spawned; [`cancelled`](Self::cancelled) tells that task
/// when the delivery is over.
#[derive(Clone)]
pub struct Context {
    slot: Arc<Slot>,
    events: Arc<dyn EventBatch>,
    position: usize,
    attempt: u32,
    sequence: Option<u64>,
    deadline: Option<Instant>,
    generation: u64,
    bus: Option<Arc<dyn Bus>>,
}

/// Events that were received together, so that a delivery need not clone its event.
pub trait EventBatch: Send + Sync + 'static {
    /// The event at a position.
    ///
    /// # Panics
    /// Where there is no such position.
    fn event(&self, position: usize) -> &Event;
}

impl EventBatch for Vec<Event> {
    fn event(&self, position: usize) -> &Event {
        &self[position]
    }
}

/// What is the same for every delivery of a subscription.
pub struct Scope {
    /// The name of the subscription.
    pub subscription: Box<str>,
    /// The group it belongs to.
    pub group: Option<Box<str>>,
    /// The bus that handlers publish on.
    pub bus: Arc<dyn Bus>,
}

/// Where one handler runs at a time; it counts the deliveries that went through it.
struct Slot {
    scope: Scope,
    generation: AtomicU64,
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Context {
    /// The event being handled.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.events.event(self.position)
    }

    /// Which attempt this is, counted by the backend, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The position of the event in the backend's log, where it has one. [`Start::Sequence`](crate::Start::Sequence) takes it.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// The name of the subscription.
    #[must_use]
    pub fn subscription(&self) -> &str {
        &self.slot.scope.subscription
    }

    /// The group that the subscription is a member of.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.slot.scope.group.as_deref()
    }

    /// When the handler's time will be up. The delivery then counts as failed and the handler's future is dropped.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The bus that delivered the event. It accepts what handlers publish for as long as the bus still delivers, also while it closes.
    #[must_use]
    pub fn bus(&self) -> &Arc<dyn Bus> {
        self.bus.as_ref().unwrap_or(&self.slot.scope.bus)
    }

    /// Publishes an event as [caused by](Event::caused_by) the one being handled.
    pub fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        self.bus().publish(event.caused_by(self.event()))
    }

    /// Resolves when the delivery is over: the handler returned, ran out of time, lost its lease, or was stopped by a close.
    ///
    /// The handler's own future is dropped in these cases; this is for tasks and threads it started.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let (slot, generation) = (Arc::clone(&self.slot), self.generation);
        poll_fn(move |cx| slot.poll_over(generation, cx.waker()))
    }

    /// Whether the delivery is over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.slot.generation.load(SeqCst) != self.generation
    }
}

/// For those who write a backend, a wrapper around a bus, or a test of a handler.
impl Context {
    /// A context through which deliveries of one subscription pass, one after the other, beginning with `event`.
    #[must_use]
    pub fn new(scope: Scope, event: Event) -> Self {
        let slot = Slot { scope, generation: AtomicU64::new(0), waiting: AtomicUsize::new(0), wakers: Mutex::default() };
        Self {
            slot: Arc::new(slot),
            events: Arc::new(vec![event]),
            position: 0,
            attempt: 1,
            sequence: None,
            deadline: None,
            generation: 0,
            bus: None,
        }
    }

    /// Turns to the events of another batch. What follows is `begin`.
    #[doc(hidden)]
    pub fn load(&mut self, events: Arc<dyn EventBatch>) {
        self.events = events;
        self.position = 0;
    }

    /// Begins the delivery of the event at `position` of the batch. The one before is over.
    ///
    /// # Panics
    /// Not here; [`event`](Self::event) panics where the batch has no such position.
    #[doc(hidden)]
    pub fn begin(&mut self, position: usize, attempt: u32, sequence: Option<u64>, deadline: Option<Instant>) {
        self.position = position;
        self.attempt = attempt;
        self.sequence = sequence;
        self.deadline = deadline;
    }

    /// Ends the delivery: [`cancelled`](Self::cancelled) resolves in every clone that was made of it.
    #[doc(hidden)]
    pub fn end(&mut self) {
        // Without a clone there is nobody to tell.
        if Arc::strong_count(&self.slot) > 1 {
            self.generation = self.slot.end();
        }
    }

    /// The same delivery, turned to another event of its batch.
    #[must_use]
    pub fn at(&self, position: usize) -> Self {
        Self { position, ..self.clone() }
    }

    /// The same delivery with another attempt number.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same delivery with another bus to publish on, as a wrapper around a bus needs.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }
}

impl Slot {
    fn end(&self) -> u64 {
        // Both this counter and `waiting` are sequentially consistent: either this sees the waiter, or the waiter sees the new count.
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        if self.waiting.load(SeqCst) > 0 {
            let wakers = {
                let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
                self.waiting.store(0, SeqCst);
                std::mem::take(&mut *wakers)
            };
            wakers.into_iter().for_each(Waker::wake);
        }
        generation
    }

    fn poll_over(&self, generation: u64, waker: &Waker) -> Poll<()> {
        if self.generation.load(SeqCst) != generation {
            return Poll::Ready(());
        }
        {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            if !wakers.iter().any(|known| known.will_wake(waker)) {
                wakers.push(waker.clone());
            }
            self.waiting.store(wakers.len(), SeqCst);
        }
        if self.generation.load(SeqCst) == generation { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("subscription", &self.subscription())
            .field("group", &self.group())
            .field("attempt", &self.attempt)
            .field("event", self.event())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("subscription", &self.subscription).field("group", &self.group).finish_non_exhaustive()
    }
}
