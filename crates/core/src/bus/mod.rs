//! The one trait that a backend offers.

mod future;
mod replies;
mod subscription;

pub use self::{
    future::BusFuture,
    replies::{Inbox, ReplyTransport},
    subscription::{Subscription, SubscriptionControl, SubscriptionGuard},
};

use crate::{BusStats, Capabilities, DeadLetters, Error, Event, Handler, Health, Result, Subscribe};
use futures_core::Stream;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// An event bus: publishes events and delivers them to subscriptions.
///
/// It is used as `Arc<dyn Bus>`; the sugar, such as `bus.on(…)`, is in the extension trait `BusExt`. What each method promises is the
/// same for every backend as far as its [`capabilities`](Self::capabilities) go.
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Publishes an event. `Ok` means that the backend has accepted it under its stated durability; where that is unknown, publishing is
    /// tried again under the same id and then fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    ///
    /// Waits while the backend is away or subscriptions are full, up to the publish timeout. Dropping the future may or may not
    /// publish the event.
    ///
    /// Errors: [`Invalid`](crate::ErrorKind::Invalid), [`TooLarge`](crate::ErrorKind::TooLarge), [`Encode`](crate::ErrorKind::Encode),
    /// [`Closed`](crate::ErrorKind::Closed), [`Timeout`](crate::ErrorKind::Timeout), [`Full`](crate::ErrorKind::Full) on a held bus,
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>>;

    /// Hands an event over without waiting for the acknowledgement, which the [`Receipt`] resolves to. Waits only where too many are in
    /// flight. [`flush`](Self::flush) waits for all.
    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>>;

    /// Publishes events in their order, with one result for each. A failure does not keep the others from being published, unless a
    /// setting of the backend asks for all or none, such as `atomic` of NATS.
    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>>;

    /// Begins a subscription. `Ok` means that it is in place: matching events published from now on are delivered to it.
    ///
    /// Errors: [`Invalid`](crate::ErrorKind::Invalid) for a bad value, [`Unsupported`](crate::ErrorKind::Unsupported) for what the backend
    /// cannot do, [`Conflict`](crate::ErrorKind::Conflict) where the group exists with other patterns, ordering or overflow.
    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>>;

    /// Deletes a group: its place is forgotten, and what it had not handled is nobody's any more. Joining it again makes a new one. Resolves
    /// to whether there was such a group.
    ///
    /// Errors: [`Conflict`](crate::ErrorKind::Conflict) while it has members, as far as the backend can tell;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where there are no groups.
    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>>;

    /// Releases a bus that was built held: events published before are delivered in their order, and further ones as they come. Does
    /// nothing on a bus that is not held.
    fn start(&self) -> BusFuture<'_, Result<()>>;

    /// The events that were given up.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the backend keeps none.
    fn dead_letters(&self) -> Result<&dyn DeadLetters>;

    /// The way that replies to requests take.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the backend has none.
    fn replies(&self) -> Result<&dyn ReplyTransport>;

    /// Waits until everything that was enqueued is acknowledged or has failed.
    ///
    /// Errors: the first failure of an enqueued event whose receipt nobody waited for.
    fn flush(&self) -> BusFuture<'_, Result<()>>;

    /// Asks the backend for a sign of life.
    fn health(&self) -> BusFuture<'_, Result<Health>>;

    /// The figures of the bus, its subscriptions and its groups.
    fn stats(&self) -> BusFuture<'_, Result<BusStats>>;

    /// Failures that no call returns: of handlers, of background work, of subscriptions that ended. Errors that occur while nobody
    /// listens are not kept, only counted; a listener that falls behind misses the oldest.
    fn errors(&self) -> ErrorStream;

    /// What the backend can do.
    fn capabilities(&self) -> &Capabilities;

    /// Closes the bus: stops taking events from outside, lets handlers finish, and releases or delivers what has not started, until the
    /// bus's close deadline. Handlers can publish through their [`Context`](crate::Context) until then. Closing again does nothing.
    ///
    /// Errors: [`Timeout`](crate::ErrorKind::Timeout) where the deadline passed, with how much was left `undelivered` in the context.
    fn close(&self) -> BusFuture<'_, Result<()>>;
}

/// Resolves to the acknowledgement of an [enqueued](Bus::enqueue) event. It may be dropped; the event is published all the same.
#[must_use = "await it, or drop it on purpose and `flush` later"]
pub struct Receipt(BusFuture<'static, Result<()>>);

impl Receipt {
    /// A receipt whose answer is already there.
    pub const fn ready(answer: Result<()>) -> Self {
        Self(BusFuture::ready(answer))
    }

    /// A receipt whose answer has to be waited for.
    pub fn new(answer: impl Future<Output = Result<()>> + Send + 'static) -> Self {
        Self(BusFuture::new(answer))
    }
}

impl Future for Receipt {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// Failures that no call returns, as they occur. Ends when the bus is closed.
pub struct ErrorStream(Pin<Box<dyn Stream<Item = Error> + Send>>);

impl ErrorStream {
    /// Wraps a stream of errors.
    pub fn new(errors: impl Stream<Item = Error> + Send + 'static) -> Self {
        Self(Box::pin(errors))
    }

    /// The next failure, or `None` when the bus is closed.
    pub async fn next(&mut self) -> Option<Error> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl Stream for ErrorStream {
    type Item = Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for ErrorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorStream")
    }
}
