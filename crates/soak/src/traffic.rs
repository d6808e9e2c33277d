//! Publishers at a steady rate, and a group that handles.

use crate::ledger::Ledger;
use eventbus::{Bus, Context, Error, ErrorKind, Event, Handler, HandlerError, Ordering, Retry, Subscribe, Subscription, async_trait};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Keys, each with a publisher of its own that awaits each publish, so that there is an order to keep.
pub(crate) const KEYS: usize = 32;

/// What happens while it runs.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) ledger: Ledger,
    events: u32,
    /// One of so many events fails at its first attempt.
    failing: u32,
    next: AtomicU32,
    /// Publishes that failed for good: their outcome is unknown.
    pub(crate) failed: AtomicU64,
    /// Deliveries that failed on purpose.
    pub(crate) refused: AtomicU64,
    /// The longest time that a publish took, in milliseconds.
    pub(crate) slowest: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(events: usize, failing: u32) -> Self {
        Self {
            ledger: Ledger::new(events, KEYS),
            events: events as u32,
            failing,
            next: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
        }
    }

    /// How many publishes have begun.
    pub(crate) fn begun(&self) -> u32 {
        self.next.load(SeqCst).min(self.events)
    }

    /// Publishes all events at so many a second. Where the server is away, what is late is caught up with.
    pub(crate) async fn publish(self: &Arc<Self>, bus: &Arc<dyn Bus>, rate: u32) -> Result<(), Error> {
        let pace = Duration::from_secs(1).mul_f64(KEYS as f64 / f64::from(rate));
        let mut publishers = JoinSet::<Result<(), Error>>::new();
        for key in 0..KEYS {
            let (traffic, bus) = (Arc::clone(self), Arc::clone(bus));
            publishers.spawn(async move {
                let mut ticks = interval(pace);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                loop {
                    ticks.tick().await;
                    let number = traffic.next.fetch_add(1, SeqCst);
                    if number >= traffic.events {
                        return Ok(());
                    }
                    traffic.publish_one(&*bus, number, key).await?;
                }
            });
        }
        while let Some(ended) = publishers.join_next().await {
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        Ok(())
    }

    async fn publish_one(&self, bus: &dyn Bus, number: u32, key: usize) -> Result<(), Error> {
        let event = Event::json("soak.tick", number)?.with_source("/soak").with_partition_key(key.to_string());
        let since = Instant::now();
        match bus.publish(event).await {
            Ok(()) => self.ledger.acknowledged(number),
            // The server was away for too long. That is allowed, and told.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                self.failed.fetch_add(1, SeqCst);
                eprintln!("event {number} could not be published: {error}");
            }
            Err(error) => return Err(error),
        }
        self.slowest.fetch_max(since.elapsed().as_millis() as u64, SeqCst);
        Ok(())
    }

    /// Handles events by key, and tries again what fails.
    pub(crate) async fn subscribe(self: &Arc<Self>, bus: &Arc<dyn Bus>) -> Result<Subscription, Error> {
        // Nothing here fails for good, and a delivery that is cut off counts as an attempt.
        let retry = Retry::fixed(Duration::from_millis(200)).max_attempts(1000);
        let group = Subscribe::to("soak.*").group("soak").ordering(Ordering::PerKey).concurrency(16).retry(retry);
        bus.subscribe(group, Arc::new(Counting(Arc::clone(self)))).await
    }
}

struct Counting(Arc<Traffic>);

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let number = *event.decode::<u32>()?;
        if number % self.0.failing == 0 && ctx.attempt() == 1 {
            self.0.refused.fetch_add(1, SeqCst);
            return Err(HandlerError::retry("on purpose"));
        }
        let key = event.partition_key().and_then(|key| key.parse().ok()).unwrap_or(usize::MAX);
        if let Some(later) = self.0.ledger.handled(number, key) {
            eprintln!("event {number} of key {key} was handled on attempt {} after event {later} of that key", ctx.attempt());
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "soak"
    }
}
