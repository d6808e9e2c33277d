//! Changing an event that is still yours: every value is checked when it is given, and the first that breaks a rule is remembered.

use super::{Event, ExtensionValue, Inner, Metadata, Rare, Timestamp, extension, identity, rules};
use crate::{Error, EventType, Result};
use serde::Serialize;
use std::sync::Arc;

/// What can still be changed. Each method changes this handle's event alone; clones made before keep theirs, under the same id.
impl Event {
    /// Sets the id. Together with the source it must be unique to the event.
    #[must_use]
    pub fn with_id(mut self, id: impl AsRef<str>) -> Self {
        self.edit().set_id(id.as_ref());
        self
    }

    /// Sets the source: a URI-reference such as `/shop`.
    #[must_use]
    pub fn with_source(mut self, source: impl AsRef<str>) -> Self {
        self.edit().set_source(source.as_ref());
        self
    }

    /// Sets the subject.
    #[must_use]
    pub fn with_subject(mut self, subject: impl AsRef<str>) -> Self {
        self.edit().set_subject(subject.as_ref());
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn with_time(mut self, time: impl Into<Timestamp>) -> Self {
        self.edit().identity.time = identity::Time::Given(time.into());
        self
    }

    /// Sets the version of the data's schema, from 1.
    #[must_use]
    pub fn with_schema_version(mut self, version: u32) -> Self {
        self.edit().set_schema_version(version);
        self
    }

    /// Sets the schema of the data: an absolute URI.
    #[must_use]
    pub fn with_data_schema(mut self, schema: impl AsRef<str>) -> Self {
        self.edit().set_data_schema(schema.as_ref());
        self
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn with_correlation(mut self, id: impl Into<String>) -> Self {
        self.edit().correlation_id = Some(id.into().into());
        self
    }

    /// Sets the causation id. [`caused_by`](Self::caused_by) does this and more.
    #[must_use]
    pub fn with_causation(mut self, id: impl Into<String>) -> Self {
        self.edit().causation_id = Some(id.into().into());
        self
    }

    /// Marks this event as caused by another: sets the causation id, and where this event has none of its own takes over the trace
    /// context and the correlation id. A cause without a correlation id starts one: its own id.
    #[must_use]
    pub fn caused_by(mut self, cause: &Event) -> Self {
        let inner = self.edit();
        inner.causation_id = Some(cause.id().into());
        if inner.correlation_id.is_none() {
            inner.correlation_id = Some(cause.correlation_id().unwrap_or(cause.id()).into());
        }
        if let Some(from) = cause.rare() {
            inner.inherit_trace(from);
        }
        self
    }

    /// Sets the key within which order is kept.
    #[must_use]
    pub fn with_partition_key(mut self, key: impl AsRef<str>) -> Self {
        self.edit().set_partition_key(key.as_ref());
        self
    }

    /// Sets the user in the metadata.
    #[must_use]
    pub fn with_user(mut self, id: impl Into<String>) -> Self {
        self.edit().set_metadata_text("userid", id.into(), |metadata| &mut metadata.user_id);
        self
    }

    /// Sets the tenant in the metadata.
    #[must_use]
    pub fn with_tenant(mut self, id: impl Into<String>) -> Self {
        self.edit().set_metadata_text("tenantid", id.into(), |metadata| &mut metadata.tenant_id);
        self
    }

    /// Sets the request in the metadata.
    #[must_use]
    pub fn with_request(mut self, id: impl Into<String>) -> Self {
        self.edit().set_metadata_text("requestid", id.into(), |metadata| &mut metadata.request_id);
        self
    }

    /// Sets the trace id in the metadata. For W3C trace context see [`with_trace_context`](Self::with_trace_context).
    #[must_use]
    pub fn with_trace(mut self, id: impl Into<String>) -> Self {
        self.edit().set_metadata_text("traceid", id.into(), |metadata| &mut metadata.trace_id);
        self
    }

    /// Sets a custom metadata value: any key, any JSON value.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        let inner = self.edit();
        let outcome = inner.rare_mut().metadata.insert(key, value);
        inner.note(outcome);
        self
    }

    /// Sets all of the metadata, in place of what there was.
    #[must_use]
    pub fn with_all_metadata(mut self, metadata: Metadata) -> Self {
        let inner = self.edit();
        let ids = [
            ("userid", &metadata.user_id),
            ("tenantid", &metadata.tenant_id),
            ("requestid", &metadata.request_id),
            ("traceid", &metadata.trace_id),
        ];
        for (attribute, id) in ids {
            inner.note(id.as_deref().map_or(Ok(()), |id| rules::text(attribute, id)));
        }
        inner.rare_mut().metadata = metadata;
        self
    }

    /// Sets the W3C trace context. It is carried as it is; a malformed one never keeps an event from being delivered.
    #[must_use]
    pub fn with_trace_context(mut self, traceparent: impl Into<String>, tracestate: Option<String>) -> Self {
        let rare = self.edit().rare_mut();
        rare.traceparent = Some(traceparent.into().into());
        rare.tracestate = tracestate.map(Into::into);
        self
    }

    /// Sets an extension attribute: a name of 1 to 20 characters of `[a-z0-9]`.
    #[must_use]
    pub fn with_extension(mut self, name: impl AsRef<str>, value: impl Into<ExtensionValue>) -> Self {
        self.edit().set_extension(name.as_ref(), value.into());
        self
    }

    /// Removes an extension attribute.
    #[must_use]
    pub fn without_extension(mut self, name: &str) -> Self {
        if self.extension(name).is_some() {
            self.edit().rare_mut().extensions.remove(name);
        }
        self
    }

    /// Sets the event type, as a dead letter published under another type needs.
    #[must_use]
    pub fn with_type(mut self, event_type: EventType) -> Self {
        self.edit().event_type = event_type;
        self
    }

    pub(crate) fn edit(&mut self) -> &mut Inner {
        if Arc::get_mut(&mut self.0).is_none() {
            // A shared event settles its id and time before it is copied, so that both copies have the same.
            self.0.identity.settle();
        }
        Arc::make_mut(&mut self.0)
    }
}

impl Inner {
    /// Remembers the first fault.
    fn note(&mut self, outcome: Result<()>) {
        if let Err(fault) = outcome
            && self.fault.is_none()
        {
            self.fault = Some(fault);
        }
    }

    fn set_id(&mut self, id: &str) {
        self.note(rules::non_empty("id", id));
        self.identity.set_id(id);
    }

    fn set_source(&mut self, source: &str) {
        self.note(rules::uri_reference("source", source));
        self.source = Some(source.into());
    }

    pub(super) fn set_subject(&mut self, subject: &str) {
        self.note(rules::non_empty("subject", subject));
        self.subject = Some(subject.into());
    }

    pub(super) fn set_partition_key(&mut self, key: &str) {
        self.note(rules::non_empty("partitionkey", key));
        self.partition_key = Some(key.into());
    }

    fn set_schema_version(&mut self, version: u32) {
        if version == 0 || i32::try_from(version).is_err() {
            self.note(Err(Error::invalid(format!("attribute 'schemaversion' {version}: it must be 1 to {}", i32::MAX))));
        }
        self.schema_version = version;
    }

    fn set_data_schema(&mut self, schema: &str) {
        self.note(rules::absolute_uri("dataschema", schema));
        self.rare_mut().data_schema = Some(schema.into());
    }

    fn set_metadata_text(&mut self, attribute: &str, value: String, field: impl FnOnce(&mut Metadata) -> &mut Option<String>) {
        self.note(rules::text(attribute, &value));
        *field(&mut self.rare_mut().metadata) = Some(value);
    }

    fn set_extension(&mut self, name: &str, value: ExtensionValue) {
        self.note(extension::check_own_name(name).and_then(|()| value.check(name)));
        self.rare_mut().extensions.insert(name.into(), value);
    }

    fn inherit_trace(&mut self, from: &Rare) {
        let has_trace = |rare: &Rare| rare.traceparent.is_some() || rare.metadata.trace_id.is_some();
        if !has_trace(from) || self.rare.as_deref().is_some_and(has_trace) {
            return;
        }
        let rare = self.rare_mut();
        rare.traceparent.clone_from(&from.traceparent);
        rare.tracestate.clone_from(&from.tracestate);
        rare.metadata.trace_id.clone_from(&from.metadata.trace_id);
    }
}
