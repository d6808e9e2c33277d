//! What a backend gives the consumer engine: a place to fetch deliveries from, and a way to settle them.

use eventbus_core::{DeadLetter, DeadLetterPolicy, Error, Event, EventBatch, Result};
use std::{
    fmt,
    future::Future,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Where the deliveries of one subscription come from, and where their outcomes go.
///
/// A backend implements this and nothing else of consuming: concurrency, order, timeouts, retries, leases, dead letters and shutdown are
/// the [engine](crate::Engine)'s.
pub trait Source: Send + Sync + 'static {
    /// What the backend needs to settle one delivery, such as an ack address.
    type Token: Clone + Send + Sync + 'static;

    /// Waits for deliveries and returns some: at least one, at most `max`. A `max` of 0 asks only for what was put back with a
    /// [`Ticket`], since there is no room for anything else; it may then return one.
    ///
    /// Must be cancel-safe: a future that is dropped loses nothing. Attempts are counted by the backend and begin at 1.
    ///
    /// # Errors
    /// A [retryable](Error::is_retryable) error is reported, and fetching goes on after a delay. Any other ends the subscription with it.
    fn fetch(&self, max: usize) -> impl Future<Output = Result<Fetched<Self::Token>>> + Send;

    /// Settles deliveries. What has been settled is taken out of `settled`; what is left is tried again after an error.
    ///
    /// Must be cancel-safe in the same sense: what has not been settled stays in `settled`.
    ///
    /// # Errors
    /// Where the backend cannot be reached. The engine keeps what is left and tries again.
    fn settle(&self, settled: &mut Vec<Settled<Self::Token>>) -> impl Future<Output = Result<()>> + Send;

    /// Stores a dead letter where the policy says and then settles the original: first the one, then the other.
    ///
    /// # Errors
    /// Where the letter could not be stored. The original then stays, and the engine tries again.
    fn bury(&self, buried: &Buried<Self::Token>) -> impl Future<Output = Result<()>> + Send;

    /// How many deliveries the engine may have fetched and not yet started, where that is less than the subscription allows.
    fn prefetch(&self) -> usize {
        usize::MAX
    }

    /// For how long the backend leaves a delivery with this consumer. `None` where it never takes one back.
    fn lease(&self) -> Option<Duration> {
        None
    }

    /// Extends the lease of everything that the engine holds, which may be nothing, and of what the source has for it. Returns the deliveries
    /// whose lease is lost already: the engine stops their handlers and settles nothing for them.
    ///
    /// # Errors
    /// Where the backend cannot be reached.
    fn extend(&self, _held: &[Run<Self::Token>]) -> impl Future<Output = Result<Vec<Run<Self::Token>>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// A handler begins to wait: what was [started](Self::progress) so far may make room for others.
    fn progressed(&self) {}

    /// How long a delivery has waited since the backend took the event, where it tells.
    fn waiting_since(&self, _token: &Self::Token) -> Option<Duration> {
        None
    }

    /// The position in the backend's log of a delivery, where it has one.
    fn sequence(&self, _token: &Self::Token) -> Option<u64> {
        None
    }

    /// The engine has ended: nothing is fetched or settled any more. Called once.
    fn ended(&self) {}

    /// How far the engine has got. The source owns it, so that it can tell how much is waiting without asking.
    fn progress(&self) -> &Progress;

    /// Asks the backend how much waits, so that what [`backlog`](Self::backlog) says next is of now. Only where the source does not know by
    /// itself.
    ///
    /// # Errors
    /// Where the backend cannot be reached.
    fn measure(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// What waits at the backend, as far as it is known.
    fn backlog(&self) -> Backlog;
}

/// How many deliveries of a subscription have left the waiting state.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// How many deliveries have been started or given back, of all that were fetched.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one more. `alone` says that no other thread counts at the same time, which is cheaper.
    pub(crate) fn start(&self, alone: bool) {
        if alone {
            let next = self.0.load(Ordering::Relaxed).wrapping_add(1);
            self.0.store(next, Ordering::Release);
        } else {
            self.0.fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn give_back(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Release);
    }
}

/// What a subscription has at the backend.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Backlog {
    /// Events not yet acknowledged, among them those that the engine holds.
    pub lag: Option<u64>,
    /// How long the oldest of them has waited that the engine does not hold.
    pub oldest: Option<Duration>,
    /// Events dropped because the buffer was full.
    pub dropped: u64,
    /// Events that retention removed before they were delivered.
    pub lost_to_retention: u64,
}

/// What one fetch brought.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fetched<T> {
    /// Deliveries.
    Run(Run<T>),
    /// A message that could not be read as an event. It goes to the dead letters as it is, once, whatever its attempt.
    Undecodable(Run<T>, Error),
    /// A retried delivery will not come back to this consumer: another member has it, or it is gone. What waits for it may go on.
    Elsewhere(Ticket),
}

/// Names a delivery that was put back and that later ones wait for. The source returns it with the redelivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

impl Ticket {
    /// A ticket for the tests of a source. The engine makes its own.
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// Deliveries that arrived together: events, and with each what the backend needs to settle it.
///
/// A batch is made of deliveries that are all there, or it has a number of empty places that are filled one after the other, and can be
/// read while others are still being filled. Batches can be chained, so that readers find what follows by themselves.
#[derive(Debug)]
pub struct Batch<T> {
    places: Places<T>,
    next: OnceLock<Arc<Batch<T>>>,
}

#[derive(Debug)]
enum Places<T> {
    Full(Box<[(Event, T)]>),
    Growing(Box<[OnceLock<(Event, T)>]>),
}

impl<T> Batch<T> {
    /// A batch with this many empty places.
    #[must_use]
    pub fn with_places(places: usize) -> Self {
        Self { places: Places::Growing(std::iter::repeat_with(OnceLock::new).take(places).collect()), next: OnceLock::new() }
    }

    /// How many places there are, filled or not.
    #[must_use]
    pub fn places(&self) -> usize {
        match &self.places {
            Places::Full(places) => places.len(),
            Places::Growing(places) => places.len(),
        }
    }

    /// Fills a place. False where it was filled before, or is none of this batch.
    pub fn fill(&self, place: usize, event: Event, token: T) -> bool {
        match &self.places {
            Places::Full(_) => false,
            Places::Growing(places) => places.get(place).is_some_and(|empty| empty.set((event, token)).is_ok()),
        }
    }

    /// The delivery at a place.
    ///
    /// # Panics
    /// Where the place is not filled.
    #[must_use]
    pub fn get(&self, place: usize) -> &(Event, T) {
        match &self.places {
            Places::Full(places) => &places[place],
            Places::Growing(places) => places[place].get().expect("a run covers places that are filled"),
        }
    }

    /// How many places are filled from `from` on, counting at most `max`.
    #[must_use]
    pub fn filled(&self, from: usize, max: usize) -> usize {
        match &self.places {
            Places::Full(places) => places.len().saturating_sub(from).min(max),
            Places::Growing(places) => places.iter().skip(from).take(max).take_while(|place| place.get().is_some()).count(),
        }
    }

    /// The batch that follows this one, if there is one yet.
    #[must_use]
    pub fn next(&self) -> Option<&Arc<Self>> {
        self.next.get()
    }

    /// Chains the batch that follows this one. False where there is one.
    pub fn chain(&self, next: Arc<Self>) -> bool {
        self.next.set(next).is_ok()
    }
}

impl<T> Drop for Batch<T> {
    /// Drops what follows one by one: a long chain must not be as many calls deep.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut batch) = next.and_then(Arc::into_inner) {
            next = batch.next.take();
        }
    }
}

impl<T> FromIterator<(Event, T)> for Batch<T> {
    fn from_iter<I: IntoIterator<Item = (Event, T)>>(deliveries: I) -> Self {
        Self { places: Places::Full(deliveries.into_iter().collect()), next: OnceLock::new() }
    }
}

impl<T: Send + Sync + 'static> EventBatch for Batch<T> {
    fn event(&self, position: usize) -> &Event {
        &self.get(position).0
    }
}

/// Some of the deliveries of a batch, in their order, all on the same attempt.
pub struct Run<T> {
    batch: Arc<Batch<T>>,
    range: Range<usize>,
    attempt: u32,
    ticket: Option<Ticket>,
}

impl<T> Run<T> {
    /// A run over a part of a batch.
    ///
    /// # Panics
    /// Where the range is empty or outside of the batch. Its places must be filled.
    #[must_use]
    pub fn new(batch: Arc<Batch<T>>, range: Range<usize>, attempt: u32) -> Self {
        assert!(range.start < range.end && range.end <= batch.places(), "a run covers at least one delivery of its batch");
        Self { batch, range, attempt, ticket: None }
    }

    /// A run of one delivery.
    #[must_use]
    pub fn one(event: Event, token: T, attempt: u32) -> Self {
        Self::new(Arc::new(Batch::from_iter([(event, token)])), 0..1, attempt)
    }

    /// The same run as the redelivery that something waits for.
    #[must_use]
    pub fn with_ticket(mut self, ticket: Option<Ticket>) -> Self {
        self.ticket = ticket;
        self
    }

    /// The batch that the run is a part of.
    #[must_use]
    pub fn batch(&self) -> &Arc<Batch<T>> {
        &self.batch
    }

    /// Which part of the batch it is.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// How many deliveries it has, from 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// The attempt that these deliveries are on, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The events and their tokens.
    pub fn iter(&self) -> impl Iterator<Item = (&Event, &T)> {
        self.range.clone().map(|place| {
            let (event, token) = self.batch.get(place);
            (event, token)
        })
    }

    /// The first event and its token.
    #[must_use]
    pub fn first(&self) -> (&Event, &T) {
        let (event, token) = self.batch.get(self.range.start);
        (event, token)
    }

    /// One run of all the deliveries of several, which must be on the same attempt.
    pub(crate) fn joined(mut runs: Vec<Self>) -> Self
    where
        T: Clone,
    {
        if runs.len() == 1 {
            return runs.remove(0);
        }
        let attempt = runs[0].attempt;
        let deliveries = runs.iter().flat_map(Self::iter).map(|(event, token)| (event.clone(), token.clone()));
        let batch: Batch<T> = deliveries.collect();
        let range = 0..batch.places();
        Self::new(Arc::new(batch), range, attempt)
    }

    /// What others wait for until it comes back, where they do.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    /// A part of this run, by positions of the batch.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        debug_assert!(range.start < range.end && range.start >= self.range.start && range.end <= self.range.end);
        Self { batch: Arc::clone(&self.batch), range, attempt: self.attempt, ticket: None }
    }

    /// Keeps the first `count` deliveries and returns the others, if there are any.
    ///
    /// # Panics
    /// Where `count` is 0.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Option<Self> {
        assert!(count > 0, "a run covers at least one delivery");
        if count >= self.len() {
            return None;
        }
        let rest = self.part(self.range.start + count..self.range.end);
        self.range.end = rest.range.start;
        Some(rest)
    }
}

impl<T> Clone for Run<T> {
    fn clone(&self) -> Self {
        Self { batch: Arc::clone(&self.batch), range: self.range.clone(), attempt: self.attempt, ticket: self.ticket }
    }
}

impl<T> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.iter().map(|(event, _)| event.id()).collect();
        f.debug_struct("Run").field("attempt", &self.attempt).field("ids", &ids).finish_non_exhaustive()
    }
}

/// Deliveries with their outcome.
#[derive(Debug)]
pub struct Settled<T> {
    /// The deliveries.
    pub run: Run<T>,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was handled.
    Ack,
    /// It failed: it is to come back with the next attempt number, not before this delay.
    Retry {
        /// The shortest time until it may come back.
        after: Duration,
        /// What the redelivery has to carry, where later deliveries wait for it.
        ticket: Option<Ticket>,
    },
    /// It was not started: it goes back as if it had never been fetched.
    Release,
}

/// A delivery that was given up.
#[derive(Debug)]
#[non_exhaustive]
pub struct Buried<T> {
    /// The delivery: a run of one.
    pub run: Run<T>,
    /// Its story.
    pub letter: DeadLetter,
    /// Where the letter goes.
    pub policy: DeadLetterPolicy,
}

impl<T> Buried<T> {
    pub(crate) fn new(run: Run<T>, letter: DeadLetter, policy: DeadLetterPolicy) -> Self {
        Self { run, letter, policy }
    }
}
