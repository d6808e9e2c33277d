//! What a subscriber asks for: which events, in which order, how many at once, and what becomes of failures.

mod plan;
mod retry;

pub use self::{
    plan::Plan,
    retry::{MIN_BACKOFF, Retry},
};

use crate::{DeadLetterPolicy, Error, EventType, Pattern, Result, Timestamp};
use std::time::Duration;

/// The longest duration that any setting takes: 30 days.
pub const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(crate) fn check_duration(what: &str, value: Duration) -> Result<()> {
    if value > MAX_DURATION {
        return Err(Error::invalid(format!("{what} {value:?}: it must be at most 30 days")));
    }
    Ok(())
}

/// A subscription to be made: patterns, and how the events that match them are delivered.
///
/// ```
/// use eventbus_core::{Ordering, Retry, Subscribe};
/// use std::time::Duration;
/// let billing = Subscribe::to("order.placed")
///     .group("billing")
///     .concurrency(8)
///     .ordering(Ordering::PerKey)
///     .retry(Retry::exponential(Duration::from_millis(100)).max_attempts(5))
///     .timeout(Duration::from_secs(30));
/// billing.check()?;
/// # Ok::<(), eventbus_core::Error>(())
/// ```
///
/// Left as it is, a subscription gets every matching event from now on (fan-out), one at a time in order, with a buffer of 1024, slowing
/// publishers or fetching when that is full, 30 s for each attempt, 5 attempts, then the backend's dead letters. Where the backend cannot
/// redeliver, the default is one attempt; where it keeps no dead letters, an event that failed is discarded and counted as dead-lettered.
///
/// Values are checked by [`check`](Self::check) and by every `subscribe`, which also refuses what it is asked for and its backend cannot
/// do. Nothing that was asked for is silently ignored.
#[derive(Debug, Clone)]
#[must_use = "a subscription begins with `bus.on` or `bus.subscribe`"]
pub struct Subscribe {
    patterns: Result<Vec<Pattern>>,
    name: Option<String>,
    group: Option<String>,
    start: Start,
    concurrency: usize,
    ordering: Option<Ordering>,
    buffer: usize,
    buffer_bytes: usize,
    overflow: Overflow,
    retry: Option<Retry>,
    timeout: Duration,
    dead_letter: Option<DeadLetterPolicy>,
    batch: Option<Batch>,
}

/// Where a subscription or a new group begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With the oldest event that is retained.
    Earliest,
    /// With this position of the backend's log; see [`Context::sequence`](crate::Context::sequence).
    Sequence(u64),
    /// With the first event that the backend took at this time or later.
    Time(Timestamp),
}

/// In which order a subscription's events are handled.
///
/// Each member of a [group](Subscribe::group) keeps this order for what it gets. Members run beside each other, on every backend: for the
/// order of a whole group let it have one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ordering {
    /// One at a time, in the order of the log. A retried event holds back all that follow.
    Strict,
    /// Concurrently, in order within a [key](crate::Event::ordering_key). A retried event holds back those of its key. Events without
    /// a key are in no order.
    PerKey,
    /// Concurrently, in no order.
    Unordered,
}

/// What happens when a subscription's buffer is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost: publishers wait (in process), or fetching stops (from a broker).
    #[default]
    Block,
    /// The event that finds no room is dropped and counted.
    DropNewest,
    /// The oldest waiting event is dropped and counted.
    DropOldest,
}

/// How many events a handler takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// At most this many.
    pub max: usize,
    /// A batch that is not full waits this long for more.
    pub wait: Duration,
}

/// One or several patterns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pattern",
    note = "a pattern is a `&str` such as \"order.*\", a `Pattern`, or an array of them"
)]
pub trait IntoPatterns {
    /// The patterns, or the first that breaks a rule.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the pattern and the rule.
    fn into_patterns(self) -> Result<Vec<Pattern>>;
}

macro_rules! one_pattern {
    ($($kind:ty),*) => {$(
        impl IntoPatterns for $kind {
            fn into_patterns(self) -> Result<Vec<Pattern>> {
                Ok(vec![Pattern::new(self)?])
            }
        }
    )*};
}

one_pattern!(&str, String, &String, &Pattern);

impl IntoPatterns for Pattern {
    fn into_patterns(self) -> Result<Vec<Pattern>> {
        Ok(vec![self])
    }
}

impl IntoPatterns for EventType {
    fn into_patterns(self) -> Result<Vec<Pattern>> {
        Ok(vec![self.into()])
    }
}

impl<P: IntoPatterns, const N: usize> IntoPatterns for [P; N] {
    fn into_patterns(self) -> Result<Vec<Pattern>> {
        join(self)
    }
}

impl<P: IntoPatterns> IntoPatterns for Vec<P> {
    fn into_patterns(self) -> Result<Vec<Pattern>> {
        join(self)
    }
}

impl<P: IntoPatterns + Clone> IntoPatterns for &[P] {
    fn into_patterns(self) -> Result<Vec<Pattern>> {
        join(self.iter().cloned())
    }
}

fn join<P: IntoPatterns>(patterns: impl IntoIterator<Item = P>) -> Result<Vec<Pattern>> {
    let mut all = Vec::new();
    for pattern in patterns {
        all.extend(pattern.into_patterns()?);
    }
    Ok(all)
}

impl Subscribe {
    /// Events whose type matches a pattern, or any of several: `to("order.*")`, `to(["order.*", "invoice.sent"])`. An event that several
    /// of them match is delivered once.
    pub fn to(patterns: impl IntoPatterns) -> Self {
        Self {
            patterns: patterns.into_patterns(),
            name: None,
            group: None,
            start: Start::New,
            concurrency: 1,
            ordering: None,
            buffer: 1024,
            buffer_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Block,
            retry: None,
            timeout: Duration::from_secs(30),
            dead_letter: None,
            batch: None,
        }
    }

    /// Adds further patterns.
    pub fn and(mut self, patterns: impl IntoPatterns) -> Self {
        self.patterns = self.patterns.and_then(|mut all| {
            all.extend(patterns.into_patterns()?);
            Ok(all)
        });
        self
    }

    /// A name for logs, metrics and dead letters. Left out, it is the group, else the name of the handler.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Joins a durable group: its members share the events, each event goes to one of them, and the group resumes where it stopped. A
    /// name is 1 to 255 bytes without control characters.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Where to begin. For a group this applies when it is created; joining never moves it.
    pub fn from(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many events are handled at once, 1 to 10,000. More than 1 without an [`ordering`](Self::ordering) means [`Ordering::PerKey`].
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// In which order events are handled. [`Ordering::Strict`] with a concurrency above 1 is refused.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = Some(ordering);
        self
    }

    /// How many events may wait for a handler, 1 to 10,000,000.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// How many bytes of data may wait for a handler, from 1. Left out, 64 MiB. One event is always let in.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// What happens when the buffer is full.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// When a failed event is tried again, and how often. Left out, it is the [default](Retry), or one attempt where the backend cannot
    /// redeliver; asked for there, more than one is refused.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How long one attempt may take, from 1 ms to 30 days. A handler that takes longer is dropped and counts as failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What becomes of an event that was rejected or ran out of attempts. Left out, it is [stored](crate::DeadLetter::store), or discarded where
    /// the backend keeps no dead letters; asked for there, storing is refused.
    pub fn dead_letter(mut self, policy: DeadLetterPolicy) -> Self {
        self.dead_letter = Some(policy);
        self
    }

    /// Hands over up to `max` events at once (1 to 100,000), waiting up to `wait` (at most a minute) for a batch to fill. Each is settled
    /// by its own outcome. A batch is never larger than the buffer, and with [`Ordering::PerKey`] it holds at most one event of each key.
    pub fn batch(mut self, max: usize, wait: Duration) -> Self {
        self.batch = Some(Batch { max, wait });
        self
    }

    /// Whether it asks for batches.
    #[must_use]
    pub fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Whether every value keeps the rules that hold on every backend.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the option, the value and the rule.
    pub fn check(&self) -> Result<()> {
        Plan::common(self.clone()).map(|_| ())
    }
}

impl<P: IntoPatterns> From<P> for Subscribe {
    fn from(patterns: P) -> Self {
        Self::to(patterns)
    }
}
