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
/// ```
/// use eventbus_core::*;
/// use eventbus_runtime::BusExt;
/// use eventbus_testing::{RecordingBus, settle};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let bus = RecordingBus::new();
/// bus.on("order.placed", |ctx: Context| async move { ctx.publish(Event::json("invoice.sent", 4200)?).await }).await?;
/// bus.publish(Event::json("order.placed", "o-1")?).await?;
///
/// let sent = bus.wait_for("invoice.*", 1, Duration::from_secs(5)).await?;
/// assert_eq!(*sent[0].decode::<u32>()?, 4200);
/// // Nothing is left to happen, so what is not there will not come.
/// settle(&bus, Duration::from_secs(5)).await?;
/// assert!(!bus.has_event("reminder.sent"));
/// # Ok(()) }
/// ```
///
/// Cheap to clone; clones are the same bus.
#[derive(Clone)]
pub struct RecordingBus {
    inner: Arc<dyn Bus>,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    entries: Mutex<Entries>,
    grown: Notify,
}

/// Events in the order their publishing began, so that what a handler publishes comes after what it handles.
#[derive(Default)]
struct Entries {
    next: u64,
    list: Vec<Entry>,
}

struct Entry {
    number: u64,
    event: Event,
    accepted: bool,
}

/// The place of an event that is being published. It is given up where the bus does not accept it.
struct Place {
    record: Arc<Record>,
    number: u64,
}

impl Record {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, event: Event) -> Place {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.list.push(Entry { number, event, accepted: false });
        Place { record: Arc::clone(self), number }
    }
}

impl Place {
    fn accept(self) {
        let mut entries = self.record.entries();
        if let Ok(at) = entries.list.binary_search_by_key(&self.number, |entry| entry.number) {
            entries.list[at].accepted = true;
        }
        drop(entries);
        self.record.grown.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.record.entries();
        if let Ok(at) = entries.list.binary_search_by_key(&self.number, |entry| entry.number)
            && !entries.list[at].accepted
        {
            entries.list.remove(at);
        }
    }
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

    /// What was published so far, in the order that publishing began. Only events that the bus accepted are remembered; one that was
    /// [enqueued](Bus::enqueue) counts as accepted when it is handed over.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.pick(|_| true)
    }

    /// What was published of a type, or of the types that match a pattern.
    ///
    /// # Panics
    /// Where `pattern` is neither a type nor a pattern.
    #[must_use]
    pub fn events_of_type(&self, pattern: &str) -> Vec<Event> {
        let pattern = Pattern::new(pattern).unwrap_or_else(|error| panic!("{error}"));
        self.pick(|event| pattern.matches(event.event_type()))
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
        self.record.entries().list.clear();
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
            let mut others: Vec<String> = self.events().iter().map(|event| event.event_type().to_string()).collect();
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

    fn pick(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let entries = self.record.entries();
        entries.list.iter().filter(|entry| entry.accepted && wanted(&entry.event)).map(|entry| entry.event.clone()).collect()
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
            let place = self.record.place(event.clone());
            self.inner.publish(event).await?;
            place.accept();
            Ok(())
        })
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::new(async move {
            let place = self.record.place(event.clone());
            let receipt = self.inner.enqueue(event).await?;
            place.accept();
            Ok(receipt)
        })
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(async move {
            let places: Vec<Place> = events.iter().map(|event| self.record.place(event.clone())).collect();
            let results = self.inner.publish_all(events).await;
            places.into_iter().zip(&results).filter(|(_, result)| result.is_ok()).for_each(|(place, _)| place.accept());
            results
        })
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        let record = Arc::clone(&self.record);
        let wrap = move |bus| -> Arc<dyn Bus> { Arc::new(Self { inner: bus, record: Arc::clone(&record) }) };
        self.inner.subscribe(subscribe, Arc::new(Within { inner: handler, wrap }))
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        self.inner.delete_group(group)
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
        f.debug_struct("RecordingBus").field("inner", &self.inner).field("events", &self.events().len()).finish()
    }
}
