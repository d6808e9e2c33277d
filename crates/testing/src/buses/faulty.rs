//! A bus that fails where a test wants it to.

use super::Within;
use async_trait::async_trait;
use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, Context, DeadLetters, Error, ErrorKind, ErrorStream, Event, Handler, HandlerError, Health,
    Receipt, ReplyTransport, Result, Subscribe, Subscription,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Wraps a bus and makes it fail: the nth publish, the nth acknowledgement, the connection. Counting begins at 1 with the wrapper.
///
/// ```
/// use eventbus_core::*;
/// use eventbus_testing::{FaultyBus, RecordingBus};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let bus = FaultyBus::around(std::sync::Arc::new(RecordingBus::new()));
/// bus.fail_publish(2);
/// assert!(bus.publish(Event::json("a", 1)?).await.is_ok());
/// assert_eq!(bus.publish(Event::json("a", 2)?).await.unwrap_err().kind(), ErrorKind::Unavailable);
/// assert!(bus.publish(Event::json("a", 3)?).await.is_ok());
/// # Ok(()) }
/// ```
///
/// Cheap to clone; clones are the same bus with the same faults.
#[derive(Clone)]
pub struct FaultyBus {
    inner: Arc<dyn Bus>,
    faults: Arc<Faults>,
}

struct Faults {
    publishes: Mutex<HashMap<u64, PublishFault>>,
    deliveries: Mutex<HashMap<u64, DeliveryFault>>,
    published: AtomicU64,
    delivered: AtomicU64,
    connected: watch::Sender<bool>,
}

#[derive(Clone, Copy)]
enum PublishFault {
    Fail,
    LoseReceipt,
    Delay(Duration),
}

#[derive(Clone, Copy)]
enum DeliveryFault {
    DropAck,
    Duplicate,
    Delay(Duration),
}

impl FaultyBus {
    /// Wraps a bus. Without faults it does what that bus does.
    #[must_use]
    pub fn around(bus: Arc<dyn Bus>) -> Self {
        let faults = Faults {
            publishes: Mutex::default(),
            deliveries: Mutex::default(),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            connected: watch::Sender::new(true),
        };
        Self { inner: bus, faults: Arc::new(faults) }
    }

    /// The nth publish fails with [`ErrorKind::Unavailable`]; the event is not published.
    pub fn fail_publish(&self, nth: u64) {
        self.faults.publishes().insert(nth, PublishFault::Fail);
    }

    /// The nth publish fails with [`ErrorKind::Unavailable`] though the event is published, as when its acknowledgement is lost on the way.
    pub fn lose_receipt(&self, nth: u64) {
        self.faults.publishes().insert(nth, PublishFault::LoseReceipt);
    }

    /// The nth publish is held up before it reaches the bus.
    pub fn delay_publish(&self, nth: u64, delay: Duration) {
        self.faults.publishes().insert(nth, PublishFault::Delay(delay));
    }

    /// The acknowledgement of the nth delivery is lost: its handler succeeded, and the event is delivered again.
    pub fn drop_ack(&self, nth: u64) {
        self.faults.deliveries().insert(nth, DeliveryFault::DropAck);
    }

    /// The nth delivery reaches its handler twice.
    pub fn duplicate(&self, nth: u64) {
        self.faults.deliveries().insert(nth, DeliveryFault::Duplicate);
    }

    /// The nth delivery is held up before it reaches its handler.
    pub fn delay_delivery(&self, nth: u64, delay: Duration) {
        self.faults.deliveries().insert(nth, DeliveryFault::Delay(delay));
    }

    /// Cuts the connection: publishing and health fail with [`ErrorKind::Unavailable`], and nothing is delivered.
    pub fn disconnect(&self) {
        self.faults.connected.send_replace(false);
    }

    /// Makes the connection again: what was to be delivered is delivered.
    pub fn reconnect(&self) {
        self.faults.connected.send_replace(true);
    }

    /// How many publishes there were, the failed among them.
    #[must_use]
    pub fn publishes(&self) -> u64 {
        self.faults.published.load(SeqCst)
    }

    /// How many deliveries there were.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.faults.delivered.load(SeqCst)
    }

    async fn publish_with<T>(&self, event: Event, publish: impl AsyncFnOnce(Event) -> Result<T>) -> Result<T> {
        let nth = self.faults.published.fetch_add(1, SeqCst) + 1;
        self.faults.check_connection("publish")?;
        let fault = self.faults.publishes().remove(&nth);
        match fault {
            Some(PublishFault::Fail) => return Err(unavailable("publish")),
            Some(PublishFault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(PublishFault::LoseReceipt) | None => {}
        }
        let published = publish(event).await?;
        if matches!(fault, Some(PublishFault::LoseReceipt)) { Err(unavailable("publish")) } else { Ok(published) }
    }
}

impl Faults {
    fn publishes(&self) -> MutexGuard<'_, HashMap<u64, PublishFault>> {
        self.publishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliveries(&self) -> MutexGuard<'_, HashMap<u64, DeliveryFault>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_connection(&self, operation: &'static str) -> Result<()> {
        if *self.connected.borrow() { Ok(()) } else { Err(unavailable(operation)) }
    }
}

fn unavailable(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "a fault that the test asked for").during(operation)
}

/// Applies the faults of deliveries.
struct FaultyHandler {
    inner: Arc<dyn Handler>,
    faults: Arc<Faults>,
}

impl FaultyHandler {
    /// Waits for the connection, counts the delivery, and holds it up where that is its fault.
    async fn begin(&self) -> Option<DeliveryFault> {
        // The sender lives as long as this handler, so waiting cannot fail.
        let _ = self.faults.connected.subscribe().wait_for(|connected| *connected).await;
        let nth = self.faults.delivered.fetch_add(1, SeqCst) + 1;
        let fault = self.faults.deliveries().remove(&nth);
        if let Some(DeliveryFault::Delay(delay)) = fault {
            tokio::time::sleep(delay).await;
        }
        fault
    }
}

fn lost_ack() -> HandlerError {
    HandlerError::retry("the acknowledgement was lost, as the test asked for")
}

#[async_trait]
impl Handler for FaultyHandler {
    async fn handle(&self, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        let fault = self.begin().await;
        self.inner.handle(ctx, event).await?;
        match fault {
            Some(DeliveryFault::DropAck) => Err(lost_ack()),
            Some(DeliveryFault::Duplicate) => self.inner.handle(ctx, event).await,
            Some(DeliveryFault::Delay(_)) | None => Ok(()),
        }
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<std::result::Result<(), HandlerError>> {
        let mut faults = Vec::with_capacity(events.len());
        for _ in events {
            faults.push(self.begin().await);
        }
        let mut outcomes = self.inner.handle_batch(ctx, events).await;
        for (position, (outcome, fault)) in outcomes.iter_mut().zip(faults).enumerate().filter(|(_, (outcome, _))| outcome.is_ok()) {
            match fault {
                Some(DeliveryFault::DropAck) => *outcome = Err(lost_ack()),
                Some(DeliveryFault::Duplicate) => {
                    let mut again = self.inner.handle_batch(&ctx.at(position), &events[position..=position]).await;
                    *outcome = again.pop().unwrap_or(Ok(()));
                }
                Some(DeliveryFault::Delay(_)) | None => {}
            }
        }
        outcomes
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

impl Bus for FaultyBus {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.publish_with(event, async |event| self.inner.publish(event).await))
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::new(self.publish_with(event, async |event| self.inner.enqueue(event).await))
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(async move {
            let mut results = Vec::with_capacity(events.len());
            for event in events {
                results.push(self.publish(event).await);
            }
            results
        })
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        let faults = Arc::clone(&self.faults);
        let wrap = move |bus| -> Arc<dyn Bus> { Arc::new(Self { inner: bus, faults: Arc::clone(&faults) }) };
        let handler = Arc::new(Within { inner: handler, wrap });
        self.inner.subscribe(subscribe, Arc::new(FaultyHandler { inner: handler, faults: Arc::clone(&self.faults) }))
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        self.inner.delete_group(group)
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        self.inner.start()
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        self.faults.check_connection("dead_letters")?;
        self.inner.dead_letters()
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        self.faults.check_connection("request")?;
        self.inner.replies()
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        self.inner.flush()
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        match self.faults.check_connection("health") {
            Ok(()) => self.inner.health(),
            Err(error) => BusFuture::ready(Err(error)),
        }
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

impl fmt::Debug for FaultyBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBus").field("inner", &self.inner).finish_non_exhaustive()
    }
}
