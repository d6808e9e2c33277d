//! The vocabulary and the delivery contract of Eventbus.
//!
//! This crate has no runtime and no broker. It holds what applications and backends talk about: [`Event`] and [`EventType`],
//! [`Pattern`], [`Handler`] and [`Context`], [`Subscribe`], the [`Bus`] trait with its [`Capabilities`], [`Error`], and the
//! [CloudEvents codec](cloudevents). Applications depend on the crate `eventbus`, which re-exports all of it.

mod bus;
mod capabilities;
pub mod cloudevents;
mod data;
mod dead_letter;
mod error;
mod event;
mod event_type;
mod handler;
mod pattern;
mod payload;
mod stats;
mod subscribe;

pub use self::{
    bus::{Bus, BusFuture, ErrorStream, Inbox, Receipt, ReplyTransport, Subscription, SubscriptionControl, SubscriptionGuard},
    capabilities::Capabilities,
    data::EventData,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterPolicy, DeadLetterReason, DeadLetters},
    error::{Error, ErrorKind, Result},
    event::{DEFAULT_SOURCE, Event, EventBuilder, ExtensionValue, Metadata, Timestamp},
    event_type::{EventType, MAX_LENGTH, MAX_TOKENS, is_valid_event_type},
    handler::{
        BatchFn, Context, Data, EventBatch, FnHandler, FromDelivery, Handler, HandlerError, IntoBatchHandler, IntoBatchOutcome,
        IntoHandler, IntoOutcome, Scope, Verdict,
    },
    pattern::{Pattern, PatternToken},
    payload::Payload,
    stats::{BusStats, GroupStats, Health, HealthState, SubscriptionStats},
    subscribe::{Batch, IntoPatterns, MAX_DURATION, MIN_BACKOFF, Ordering, Overflow, Plan, Retry, Start, Subscribe},
};

pub use async_trait::async_trait;
