//! The event bus for Rust: publish and handle typed events through one small API, and choose by a feature flag and a URL what carries
//! them.
//!
//! ```
//! use eventbus::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, EventData)]
//! #[event(type = "order.placed", subject = "order_id")]
//! struct OrderPlaced { order_id: String, total_cents: u64 }
//!
//! async fn bill(ctx: Context, Data(order): Data<OrderPlaced>) -> Result<(), HandlerError> {
//!     if order.total_cents == 0 {
//!         return Err(HandlerError::reject("empty order"));
//!     }
//!     ctx.publish(Event::json("invoice.sent", &order.order_id)?).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = eventbus::connect("memory:").await?;
//! bus.on(Subscribe::to("order.placed").group("billing"), bill).await?;
//! bus.publish(Event::new(OrderPlaced { order_id: "o-1".into(), total_cents: 4200 })).await?;
//! bus.close().await?;
//! # Ok(()) }
//! ```
//!
//! # Where to look
//!
//! - [`Event`], [`EventData`], [`Payload`]: what is published. [`Event::builder`] sets every attribute.
//! - [`Bus`] and [`BusExt`]: publish, subscribe, request, close.
//! - [`Subscribe`]: groups, order, concurrency, retries, buffers, dead letters.
//! - [`Handler`], [`IntoHandler`], [`Context`], [`Data`], [`HandlerError`]: handling.
//! - [`DeadLetters`]: what was given up, and its redrive.
//! - [`Capabilities`]: what a backend can do; `subscribe` refuses the rest.
//! - [`cloudevents`]: events as bytes.
//! - [`metrics`]: what is counted. Spans are of target `eventbus` and level DEBUG.
//! - `testing` (feature `testing`): recording, silent and faulty buses, waits without sleeps, the conformance suite.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `memory` | yes | the in-process backend, `memory:` |
//! | `nats` | | the NATS backend, `nats://…` and `tls://…` |
//! | `redis` | | the Redis backend, `redis://…` |
//! | `redis-tls` | | `rediss://…` |
//! | `redis-sentinel`, `redis-cluster` | | Redis through Sentinel, and Redis Cluster |
//! | `derive` | yes | `#[derive(EventData)]` |
//! | `testing` | | the module `testing` |

mod connect;

pub use connect::connect;
pub use eventbus_core::{
    Batch, BatchFn, Bus, BusFuture, BusStats, Capabilities, Context, DEFAULT_SOURCE, Data, DeadLetter, DeadLetterFilter, DeadLetterPolicy,
    DeadLetterReason, DeadLetters, Error, ErrorKind, ErrorStream, Event, EventBuilder, EventData, EventType, ExtensionValue, FnHandler,
    FromDelivery, GroupStats, Handler, HandlerError, Health, HealthState, Inbox, IntoBatchHandler, IntoBatchOutcome, IntoHandler,
    IntoOutcome, IntoPatterns, MAX_DURATION, MAX_LENGTH, MAX_TOKENS, MIN_BACKOFF, Metadata, Ordering, Overflow, Pattern, PatternToken,
    Payload, Plan, Receipt, ReplyTransport, Result, Retry, Start, Subscribe, Subscription, SubscriptionControl, SubscriptionGuard,
    SubscriptionStats, Timestamp, Verdict, async_trait, cloudevents, is_valid_event_type,
};
#[cfg(feature = "derive")]
pub use eventbus_derive::EventData;
#[cfg(feature = "memory")]
pub use eventbus_memory::{MemoryBuilder, MemoryBus};
#[cfg(feature = "nats")]
pub use eventbus_nats as nats;
#[cfg(feature = "redis")]
pub use eventbus_redis as redis;
pub use eventbus_runtime::{
    BusExt, Delivery, ErrorReported, EventStream, Gather, HandlerExt, IntoReply, IntoResponder, Layer, LayerFn, Replies, Reply, Responder,
    Stack, layer_fn, metrics,
};
#[cfg(feature = "testing")]
pub use eventbus_testing as testing;

/// What most programs need: `use eventbus::prelude::*;`.
pub mod prelude {
    #[cfg(feature = "memory")]
    pub use crate::MemoryBus;
    pub use crate::{
        Bus, BusExt, Context, Data, DeadLetter, DeadLetterFilter, DeadLetters, Event, EventData, EventType, Gather, Handler, HandlerError,
        HandlerExt, Ordering, Overflow, Pattern, Retry, Start, Subscribe, Subscription, async_trait,
    };
}
