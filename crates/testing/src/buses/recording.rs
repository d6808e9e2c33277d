//! A bus that remembers what was published.

use super::Within;
use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, DeadLetters, Error, ErrorKind, ErrorStream, Event, Handler, Health, Pattern, Receipt,
    ReplyTransport, Result, Subscribe, Subscription,
};
use eventbus_memory::MemoryBus;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// A bus that delivers like any other and remembers what was published on it, also by handlers through their context.
///
/// Cheap to clone; clones are the same bus.
#[derive(Clone)]
pub struct RecordingBus {
    inner: Arc<dyn Bus>,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    events: Mutex<Vec<Event>>,
    grown: Notify,
}

impl RecordingBus {
    /// A recording bus within the process.
    #[must_use]
    pub fn new() -> Self {
        Self::around(Arc::new(MemoryBus::new()))
    }

    /// Records what is published on another bus through this one.
    #[must_use]
    pub fn around(bus: Arc<dyn Bus>) -> Self {
        Self { inner: bus, record: Arc::default() }
    }

    /// What was published so far, in order. Only events that the bus accepted are remembered.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// What was published of a type, or of the types that match a pattern.
    ///
    /// # Panics
    /// Where `pattern` is neither a type nor a pattern.
    #[must_use]
    pub fn events_of_type(&self, pattern: &str) -> Vec<Event> {
        let pattern = Pattern::new(pattern).unwrap_or_else(|error| panic!("{error}"));
        self.lock().iter().filter(|event| pattern.matches(event.event_type())).cloned().collect()
    }

    /// Whether an event of a type, or of the types that match a pattern, was published.
    ///
    /// # Panics
    /// Where `pattern` is neither a type nor a pattern.
    #[must_use]
    pub fn has_event(&self, pattern: &str) -> bool {
        !self.events_of_type(pattern).is_empty()
    }

    /// Forgets what was published.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits until `count` events of a type, or of the types that match a pattern, were published, and returns them.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] where they were not, naming the type, how many came, and which types came instead.
    ///
    /// # Panics
    /// Where `pattern` is neither a type nor a pattern.
    pub async fn wait_for(&self, pattern: &str, count: usize, timeout: Duration) -> Result<Vec<Event>> {
        let enough = async {
            loop {
                let grown = self.record.grown.notified();
                let events = self.events_of_type(pattern);
                if events.len() >= count {
                    return events;
                }
                grown.await;
            }
        };
        tokio::time::timeout(timeout, enough).await.map_err(|_| {
            let mut others: Vec<String> = self.lock().iter().map(|event| event.event_type().to_string()).collect();
            others.sort();
            others.dedup();
            Error::new(
                ErrorKind::Timeout,
                format!("{} of {count} events of type {pattern:?} within {timeout:?}", self.events_of_type(pattern).len()),
            )
            .during("wait_for")
            .with("published", others.join(","))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.record.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        self.lock().push(event);
        self.record.grown.notify_waiters();
    }
}

impl Default for RecordingBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for RecordingBus {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        BusFuture::new(async move {
            self.inner.publish(event.clone()).await?;
            self.note(event);
            Ok(())
        })
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::new(async move {
            let receipt = self.inner.enqueue(event.clone()).await?;
            self.note(event);
            Ok(receipt)
        })
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(async move {
            let results = self.inner.publish_all(events.clone()).await;
            for (event, _) in events.into_iter().zip(&results).filter(|(_, result)| result.is_ok()) {
                self.note(event);
            }
            results
        })
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        let record = Arc::clone(&self.record);
        let wrap = move |bus| -> Arc<dyn Bus> { Arc::new(Self { inner: bus, record: Arc::clone(&record) }) };
        self.inner.subscribe(subscribe, Arc::new(Within { inner: handler, wrap }))
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        self.inner.start()
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        self.inner.dead_letters()
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        self.inner.replies()
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        self.inner.flush()
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        self.inner.health()
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        self.inner.stats()
    }

    fn errors(&self) -> ErrorStream {
        self.inner.errors()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        self.inner.close()
    }
}

impl fmt::Debug for RecordingBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingBus").field("inner", &self.inner).field("events", &self.lock().len()).finish()
    }
}
