//! Building an event attribute by attribute.

use super::{Event, ExtensionValue, Timestamp};
use crate::{EventType, Payload, Result};
use bytes::Bytes;
use serde::Serialize;

/// Builds an [`Event`]; [`build`](Self::build) says what was wrong with the first value that breaks a rule.
#[derive(Debug)]
#[must_use = "an event exists only after `build`"]
pub struct EventBuilder {
    event: Result<Event>,
}

impl EventBuilder {
    pub(crate) fn new(event_type: &str) -> Self {
        Self { event: EventType::new(event_type).map(|event_type| Event::of(event_type, Payload::empty())) }
    }

    fn with(mut self, change: impl FnOnce(Event) -> Event) -> Self {
        self.event = self.event.map(change);
        self
    }

    fn with_data(mut self, data: Result<Payload>) -> Self {
        self.event = self.event.and_then(|mut event| {
            event.edit().data = data?;
            Ok(event)
        });
        self
    }

    /// The id. Left out, it is a UUIDv7.
    pub fn id(self, id: impl AsRef<str>) -> Self {
        self.with(|event| event.with_id(id))
    }

    /// The source, a URI-reference.
    pub fn source(self, source: impl AsRef<str>) -> Self {
        self.with(|event| event.with_source(source))
    }

    /// The subject.
    pub fn subject(self, subject: impl AsRef<str>) -> Self {
        self.with(|event| event.with_subject(subject))
    }

    /// When it happened.
    pub fn time(self, time: impl Into<Timestamp>) -> Self {
        self.with(|event| event.with_time(time))
    }

    /// The data, written as JSON now.
    pub fn data(self, value: impl Serialize) -> Self {
        self.with_data(Payload::json(&value))
    }

    /// The data as JSON text, kept letter by letter.
    pub fn json_text(self, text: impl Into<Bytes>) -> Self {
        self.with_data(Payload::json_text(text))
    }

    /// The data as bytes of a media type.
    pub fn bytes(self, content_type: &str, bytes: impl Into<Bytes>) -> Self {
        self.with_data(Payload::bytes(content_type, bytes))
    }

    /// The data as a payload made elsewhere.
    pub fn payload(self, data: Payload) -> Self {
        self.with_data(Ok(data))
    }

    /// The version of the data's schema, from 1.
    pub fn schema_version(self, version: u32) -> Self {
        self.with(|event| event.with_schema_version(version))
    }

    /// The schema of the data, an absolute URI.
    pub fn data_schema(self, schema: impl AsRef<str>) -> Self {
        self.with(|event| event.with_data_schema(schema))
    }

    /// What links all the events of one business transaction.
    pub fn correlation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_correlation(id))
    }

    /// The id of the event that caused this one.
    pub fn causation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_causation(id))
    }

    /// The event that caused this one; see [`Event::caused_by`].
    pub fn caused_by(self, cause: &Event) -> Self {
        self.with(|event| event.caused_by(cause))
    }

    /// The key within which order is kept.
    pub fn partition_key(self, key: impl AsRef<str>) -> Self {
        self.with(|event| event.with_partition_key(key))
    }

    /// The user in the metadata.
    pub fn user(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_user(id))
    }

    /// The tenant in the metadata.
    pub fn tenant(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_tenant(id))
    }

    /// The request in the metadata.
    pub fn request(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_request(id))
    }

    /// The trace id in the metadata.
    pub fn trace(self, id: impl Into<String>) -> Self {
        self.with(|event| event.with_trace(id))
    }

    /// A custom metadata value.
    pub fn metadata(self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.with(|event| event.with_metadata(key, value))
    }

    /// The W3C trace context.
    pub fn trace_context(self, traceparent: impl Into<String>, tracestate: Option<String>) -> Self {
        self.with(|event| event.with_trace_context(traceparent, tracestate))
    }

    /// An extension attribute.
    pub fn extension(self, name: impl AsRef<str>, value: impl Into<ExtensionValue>) -> Self {
        self.with(|event| event.with_extension(name, value))
    }

    /// The event.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for the first value that breaks a rule, [`ErrorKind::Encode`](crate::ErrorKind::Encode)
    /// for data without a JSON form.
    pub fn build(self) -> Result<Event> {
        let event = self.event?;
        event.check()?;
        Ok(event)
    }
}
