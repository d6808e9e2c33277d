//! The sugar that every bus has.

use crate::{
    delivery::{EventStream, Hand},
    request::{self, Gather, IntoResponder, Replies},
};
use eventbus_core::{Bus, Error, Event, EventData, IntoBatchHandler, IntoHandler, Metadata, Result, Subscribe, Subscription};
use serde::{Deserialize, Serialize};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Conveniences over [`Bus`], for every bus and every `Arc<dyn Bus>`.
pub trait BusExt: Bus {
    /// Subscribes a handler: an async function or closure, or a type that implements [`Handler`](eventbus_core::Handler).
    ///
    /// ```
    /// # use eventbus_core::*; use eventbus_runtime::BusExt;
    /// # async fn example(bus: std::sync::Arc<dyn Bus>) -> Result<()> {
    /// bus.on("order.*", |event: Event| async move { println!("{}", event.id()); }).await?;
    /// bus.on(Subscribe::to("order.placed").group("billing"), |ctx: Context, event: Event| async move {
    ///     ctx.publish(Event::json("invoice.sent", event.id())?).await?;
    ///     Ok::<_, HandlerError>(())
    /// })
    /// .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Dropping the [`Subscription`] detaches it: the handler lives as long as the bus.
    ///
    /// Errors: those of [`Bus::subscribe`].
    fn on<H, Arguments>(&self, subscribe: impl Into<Subscribe>, handler: H) -> impl Future<Output = Result<Subscription>> + Send
    where
        H: IntoHandler<Arguments>,
    {
        self.subscribe(subscribe.into(), Arc::new(handler.into_handler()))
    }

    /// Subscribes a handler of batches: an async function or closure over `Vec<Event>`. Each event is settled by its own outcome.
    ///
    /// A subscription that sets no [`batch`](Subscribe::batch) takes up to 100 events that are there at once.
    ///
    /// Errors: those of [`Bus::subscribe`].
    fn on_batch<H, Arguments>(&self, subscribe: impl Into<Subscribe>, handler: H) -> impl Future<Output = Result<Subscription>> + Send
    where
        H: IntoBatchHandler<Arguments>,
    {
        let subscribe = subscribe.into();
        let subscribe = if subscribe.has_batch() { subscribe } else { subscribe.batch(100, Duration::ZERO) };
        self.subscribe(subscribe, Arc::new(handler.into_batch_handler()))
    }

    /// Subscribes with a stream of deliveries that are settled by hand.
    ///
    /// Errors: those of [`Bus::subscribe`].
    fn stream(&self, subscribe: impl Into<Subscribe>) -> impl Future<Output = Result<EventStream>> + Send {
        let subscribe = subscribe.into();
        let (sender, deliveries) = mpsc::channel(1);
        let subscribing = self.subscribe(subscribe, Arc::new(Hand(sender)));
        async move { Ok(EventStream::new(deliveries, subscribing.await?)) }
    }

    /// Publishes a request and gathers the replies of its responders.
    ///
    /// Errors: [`Timeout`](eventbus_core::ErrorKind::Timeout) where too few replied in time, naming the missing;
    /// [`Unsupported`](eventbus_core::ErrorKind::Unsupported) where the backend has no replies; those of [`Bus::publish`].
    fn request(&self, event: Event, gather: Gather) -> impl Future<Output = Result<Replies>> + Send {
        request::request(self, event, gather)
    }

    /// Replies to requests under `name`. The handler returns any `Serialize`, or a `Result` of it.
    ///
    /// ```
    /// # use eventbus_core::*; use eventbus_runtime::{BusExt, Gather};
    /// # async fn example(bus: std::sync::Arc<dyn Bus>) -> Result<()> {
    /// bus.respond("config.validate", "syntax", |event: Event| async move { event.data().is_json() }).await?;
    /// let replies = bus.request(Event::json("config.validate", 1)?, Gather::from(["syntax"])).await?;
    /// assert!(*replies.of("syntax").unwrap().decode::<bool>()?);
    /// # Ok(()) }
    /// ```
    ///
    /// Errors: those of [`Bus::subscribe`]; [`Invalid`](eventbus_core::ErrorKind::Invalid) for a name that is empty or holds control
    /// characters.
    fn respond<H, Arguments, Kind>(
        &self,
        subscribe: impl Into<Subscribe>,
        name: impl Into<String>,
        handler: H,
    ) -> impl Future<Output = Result<Subscription>> + Send
    where
        H: IntoResponder<Arguments, Kind>,
    {
        let name = name.into();
        let subscribing = if name.is_empty() || name.chars().any(char::is_control) {
            Err(Error::invalid(format!("responder {name:?}: its name must not be empty nor hold control characters")).during("respond"))
        } else {
            Ok(self.subscribe(subscribe.into(), Arc::new(handler.into_responder(name))))
        };
        async move { subscribing?.await }
    }

    /// Publishes that something failed, as an [`ErrorReported`] event: the error with its causes, under `source`.
    ///
    /// Errors: those of [`Bus::publish`].
    fn publish_error(
        &self,
        source: &str,
        error: &(dyn std::error::Error + 'static),
        metadata: Metadata,
    ) -> impl Future<Output = Result<()>> + Send {
        self.publish(Event::new(ErrorReported::of(error)).with_source(source).with_all_metadata(metadata))
    }

    /// Publishes an event without which the program must not go on.
    ///
    /// # Panics
    /// If publishing fails, with the error.
    fn must_publish(&self, event: Event) -> impl Future<Output = ()> + Send {
        let publishing = self.publish(event);
        async move {
            if let Err(error) = publishing.await {
                panic!("an event that must be published was not: {error}");
            }
        }
    }
}

impl<B: Bus + ?Sized> BusExt for B {}

/// What [`BusExt::publish_error`] publishes, of type `error.reported`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReported {
    /// The error.
    pub message: String,
    /// What caused it, the nearest first.
    #[serde(default)]
    pub causes: Vec<String>,
}

impl ErrorReported {
    /// The report of an error and its causes.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect();
        Self { message: error.to_string(), causes }
    }
}

impl EventData for ErrorReported {
    const TYPE: &'static str = "error.reported";
}
