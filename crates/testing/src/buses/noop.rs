//! A bus that delivers nothing.

use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, DeadLetters, Error, ErrorStream, Event, Handler, Health, HealthState, Plan, Receipt,
    ReplyTransport, Result, Subscribe, Subscription, SubscriptionControl, SubscriptionStats,
};
use eventbus_runtime::Reporter;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};
use tokio::sync::watch;

/// A bus that takes events, counts them, and delivers nothing: for code that publishes, where nobody is to listen.
///
/// What it is given is checked as any bus checks it. Cheap to clone; clones are the same bus.
///
/// ```
/// use eventbus_core::{Bus, Event};
/// use eventbus_testing::NoopBus;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> eventbus_core::Result<()> {
/// let bus = NoopBus::new();
/// bus.publish(Event::json("order.placed", "o-1")?).await?;
/// assert_eq!(bus.publish_count(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct NoopBus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    published: AtomicU64,
    closed: AtomicBool,
    capabilities: Capabilities,
    reporter: Reporter,
    subscriptions: Mutex<Vec<Arc<Silent>>>,
}

impl NoopBus {
    /// A silent bus.
    #[must_use]
    pub fn new() -> Self {
        let mut capabilities = Capabilities::all("noop");
        capabilities.requests = false;
        capabilities.dead_letters = false;
        capabilities.persistent = false;
        capabilities.dedup_window = None;
        Self(Arc::new(Inner {
            published: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            capabilities,
            reporter: Reporter::new(),
            subscriptions: Mutex::default(),
        }))
    }

    /// How many events were published.
    #[must_use]
    pub fn publish_count(&self) -> u64 {
        self.0.published.load(SeqCst)
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        if self.0.closed.load(SeqCst) { Err(Error::closed(operation)) } else { Ok(()) }
    }

    /// The subscriptions that have not ended.
    fn subscriptions(&self) -> MutexGuard<'_, Vec<Arc<Silent>>> {
        let mut subscriptions = self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|silent| !*silent.closed.borrow());
        subscriptions
    }

    fn take(&self, event: &Event) -> Result<()> {
        self.open("publish")?;
        event.check().map_err(|error| error.during("publish"))?;
        let (limit, size) = (self.0.capabilities.max_payload, event.data().size_hint());
        if size > limit {
            return Err(Error::too_large(limit, size).during("publish"));
        }
        self.0.published.fetch_add(1, SeqCst);
        Ok(())
    }
}

impl Default for NoopBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for NoopBus {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        BusFuture::ready(self.take(&event))
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::ready(self.take(&event).map(|()| Receipt::ready(Ok(()))))
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::ready(events.iter().map(|event| self.take(event)).collect())
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        BusFuture::ready(self.open("subscribe").and_then(|()| {
            let plan = Plan::new(subscribe, &self.0.capabilities, handler.name())?;
            let silent = Silent { name: plan.name, group: plan.group, paused: AtomicBool::new(false), closed: watch::Sender::new(false) };
            let silent = Arc::new(silent);
            self.subscriptions().push(Arc::clone(&silent));
            Ok(Subscription::new(Handle(silent)))
        }))
    }

    fn delete_group<'a>(&'a self, _group: &'a str) -> BusFuture<'a, Result<bool>> {
        BusFuture::ready(Err(Error::unsupported("Bus::delete_group", "noop")))
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::ready(self.open("start"))
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        Err(Error::unsupported("Bus::dead_letters", "noop"))
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        Err(Error::unsupported("BusExt::request", "noop"))
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::ready(self.open("flush"))
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        let mut health = Health::default();
        health.state = HealthState::Connected;
        BusFuture::ready(self.open("health").map(|()| health))
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        let mut stats = BusStats::default();
        stats.published = self.publish_count();
        stats.subscriptions = self.subscriptions().iter().map(|silent| silent.stats()).collect();
        BusFuture::ready(self.open("stats").map(|()| stats))
    }

    fn errors(&self) -> ErrorStream {
        self.0.reporter.listen()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        self.0.closed.store(true, SeqCst);
        self.0.reporter.close();
        self.subscriptions().drain(..).for_each(|silent| silent.end());
        BusFuture::ready(Ok(()))
    }
}

/// A subscription that gets nothing.
#[derive(Debug)]
struct Silent {
    name: String,
    group: Option<String>,
    paused: AtomicBool,
    closed: watch::Sender<bool>,
}

impl Silent {
    fn stats(&self) -> SubscriptionStats {
        let mut stats = SubscriptionStats::default();
        self.name.clone_into(&mut stats.name);
        stats.group.clone_from(&self.group);
        stats.lag = Some(0);
        stats.paused = self.paused.load(SeqCst);
        stats
    }

    fn end(&self) {
        self.closed.send_replace(true);
    }
}

/// What its subscriber holds.
struct Handle(Arc<Silent>);

impl SubscriptionControl for Handle {
    fn stats(&self) -> SubscriptionStats {
        self.0.stats()
    }

    fn pause(&self) {
        self.0.paused.store(true, SeqCst);
    }

    fn resume(&self) {
        self.0.paused.store(false, SeqCst);
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        self.0.end();
        BusFuture::ready(Ok(()))
    }

    fn abandon(&self) {
        self.0.end();
    }

    fn ended(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(async {
            // The sender lives as long as this handle, so waiting cannot fail.
            let _ = self.0.closed.subscribe().wait_for(|closed| *closed).await;
            Ok(())
        })
    }
}
