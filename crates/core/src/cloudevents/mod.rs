//! CloudEvents 1.0: how an [`Event`](crate::Event) is written to and read from bytes.
//!
//! - [`json`]: the JSON event format, one event or a batch.
//! - [`nats`]: the binary and structured modes of the NATS protocol binding.
//! - [`redis`]: one stream field for each attribute. CloudEvents has no binding for Redis; this one follows the binary modes of others.
//! - [`undecodable`]: what stands for a message that is no event.
//!
//! Reading is strict: what the specification forbids is refused with [`ErrorKind::Decode`](crate::ErrorKind::Decode), naming the attribute
//! and the rule. Two things are deliberately lenient: a malformed trace context, correlation or causation id never causes an event to be
//! rejected, and the NATS reader takes structured events without the header that should announce them, because other SDKs publish those.
//!
//! # Attributes beside those of the specification
//!
//! | attribute | meaning | type |
//! |---|---|---|
//! | `schemaversion` | [`Event::schema_version`](crate::Event::schema_version), left out when 1 | integer |
//! | `correlationid`, `causationid` | correlation and causation | string |
//! | `partitionkey` | the key within which order is kept | string |
//! | `traceparent`, `tracestate` | W3C trace context | string |
//! | `userid`, `tenantid`, `requestid`, `traceid` | [`Metadata`](crate::Metadata) | string |
//! | `metadata` | custom metadata | string holding a JSON object |
//! | `dlreason`, `dlerror`, `dlattempts`, `dlsubscription`, `dltime`, `dltype` | of a [`DeadLetter`](crate::DeadLetter) | string, `dlattempts` integer |
//!
//! Everything else is an extension and is kept.

mod assemble;
mod attributes;
mod header;
pub mod json;
pub mod nats;
pub mod redis;
pub mod undecodable;

pub(crate) use attributes::is_reserved;

/// The media type of one event in the JSON format.
pub const JSON_MEDIA_TYPE: &str = "application/cloudevents+json";
/// The media type of a batch in the JSON format.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";
/// The version of the specification that is written and read.
pub const SPEC_VERSION: &str = "1.0";
