//! A subscription as a stream of deliveries that are settled by hand.

use eventbus_core::{Context, Error, ErrorKind, Event, Handler, HandlerError, Result, Subscription, SubscriptionGuard, async_trait};
use futures_core::Stream;
use std::{
    fmt,
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// One event of an [`EventStream`], to be settled by [`ack`](Self::ack), [`retry`](Self::retry) or [`reject`](Self::reject) within the
/// subscription's timeout. Dropped unsettled, it counts as a failed attempt.
#[must_use = "a delivery that is dropped is delivered again"]
pub struct Delivery {
    ctx: Context,
    outcome: oneshot::Sender<std::result::Result<(), HandlerError>>,
}

impl Delivery {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.ctx.event()
    }

    /// The attempt, the deadline, the bus to publish on.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// The event was handled.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] where the delivery was over before: it took too long, lost its lease, or the subscription was closed. The
    /// event is then delivered again, and this call changes nothing.
    pub fn ack(self) -> Result<()> {
        self.settle(Ok(()))
    }

    /// The event should be tried again, after the delay that the subscription's retry policy gives.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn retry(self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Result<()> {
        self.settle(Err(HandlerError::retry(reason)))
    }

    /// The event should be tried again after `delay`.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn retry_after(self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>, delay: Duration) -> Result<()> {
        self.settle(Err(HandlerError::retry_after(reason, delay)))
    }

    /// The event goes to the dead letters.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn reject(self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Result<()> {
        self.settle(Err(HandlerError::reject(reason)))
    }

    fn settle(self, outcome: std::result::Result<(), HandlerError>) -> Result<()> {
        let id = self.ctx.event().clone();
        self.outcome.send(outcome).map_err(|_| {
            Error::new(ErrorKind::Timeout, "the delivery was over before it was settled; the event is delivered again")
                .during("settle")
                .retryable(false)
                .with("id", id.id())
        })
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("event", self.event()).field("attempt", &self.ctx.attempt()).finish_non_exhaustive()
    }
}

/// The deliveries of a subscription, as they come. Dropping the stream ends the subscription.
///
/// As many are handed out unsettled as the subscription's concurrency allows.
#[must_use = "events are delivered while the stream is polled"]
pub struct EventStream {
    deliveries: mpsc::Receiver<Delivery>,
    subscription: SubscriptionGuard,
}

impl EventStream {
    pub(crate) fn new(deliveries: mpsc::Receiver<Delivery>, subscription: Subscription) -> Self {
        Self { deliveries, subscription: subscription.into_guard() }
    }

    /// The next delivery, or `None` when the subscription has ended.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// The subscription.
    #[must_use]
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

impl Stream for EventStream {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Delivery>> {
        self.deliveries.poll_recv(cx)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("subscription", &*self.subscription).finish_non_exhaustive()
    }
}

/// Hands each event to the stream and waits until it is settled there.
pub(crate) struct Hand(pub(crate) mpsc::Sender<Delivery>);

#[async_trait]
impl Handler for Hand {
    async fn handle(&self, ctx: &Context, _: &Event) -> std::result::Result<(), HandlerError> {
        let (outcome, settled) = oneshot::channel();
        if self.0.send(Delivery { ctx: ctx.clone(), outcome }).await.is_err() {
            return Err(HandlerError::retry("the stream was dropped"));
        }
        settled.await.unwrap_or_else(|_| Err(HandlerError::retry("the delivery was dropped without being settled")))
    }

    fn name(&self) -> &str {
        "stream"
    }
}
