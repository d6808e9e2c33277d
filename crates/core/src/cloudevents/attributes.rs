//! The attributes of an event as a flat list of names and values, which every encoding writes.

use super::SPEC_VERSION;
use crate::{Event, ExtensionValue, Timestamp};
use std::{borrow::Cow, fmt};

/// Names that an extension cannot have: they belong to the specification or to a field of [`Event`].
const RESERVED: [&str; 26] = [
    "causationid",
    "correlationid",
    "data",
    "datacontenttype",
    "dataschema",
    "dlattempts",
    "dlerror",
    "dlreason",
    "dlsubscription",
    "dltime",
    "dltype",
    "id",
    "metadata",
    "partitionkey",
    "requestid",
    "schemaversion",
    "source",
    "specversion",
    "subject",
    "tenantid",
    "time",
    "traceid",
    "traceparent",
    "tracestate",
    "type",
    "userid",
];

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.binary_search(&name).is_ok()
}

/// The value of one attribute, to be written.
pub(super) enum Written<'a> {
    Text(Cow<'a, str>),
    Time(Timestamp),
    Integer(i64),
    Boolean(bool),
}

impl fmt::Display for Written<'_> {
    /// The canonical string form (CloudEvents 1.0.2, section 2.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Time(time) => fmt::Display::fmt(time, f),
            Self::Integer(value) => fmt::Display::fmt(value, f),
            Self::Boolean(value) => fmt::Display::fmt(value, f),
        }
    }
}

/// Calls `write` for every attribute that is set, those of the specification first.
pub(super) fn each<'a>(event: &'a Event, mut write: impl FnMut(&'a str, Written<'a>)) {
    let inner = event.inner();
    {
        let mut text = |name, value: &'a str| write(name, Written::Text(Cow::Borrowed(value)));
        text("specversion", SPEC_VERSION);
        text("id", event.id());
        text("source", event.source());
        text("type", inner.event_type.as_str());
        if let Some(subject) = &inner.subject {
            text("subject", subject);
        }
    }
    if let Some(time) = event.time() {
        write("time", Written::Time(time));
    }
    if let Some(content_type) = inner.data.content_type() {
        write("datacontenttype", Written::Text(Cow::Borrowed(content_type)));
    }
    if inner.schema_version != 1 {
        write("schemaversion", Written::Integer(inner.schema_version.into()));
    }
    let mut optional = |name, value: Option<&'a str>| {
        if let Some(value) = value {
            write(name, Written::Text(Cow::Borrowed(value)));
        }
    };
    optional("correlationid", inner.correlation_id.as_deref());
    optional("causationid", inner.causation_id.as_deref());
    optional("partitionkey", inner.partition_key.as_deref());
    let Some(rare) = inner.rare.as_deref() else { return };
    optional("dataschema", rare.data_schema.as_deref());
    optional("traceparent", rare.traceparent.as_deref());
    optional("tracestate", rare.tracestate.as_deref());
    optional("userid", rare.metadata.user_id.as_deref());
    optional("tenantid", rare.metadata.tenant_id.as_deref());
    optional("requestid", rare.metadata.request_id.as_deref());
    optional("traceid", rare.metadata.trace_id.as_deref());
    let custom = rare.metadata.custom_json();
    let has_custom = custom.is_some();
    if let Some(custom) = custom {
        write("metadata", Written::Text(Cow::Owned(custom)));
    }
    for (name, value) in &rare.extensions {
        // A foreign `metadata` that is no JSON object is kept as an extension, until the event gets metadata of its own.
        if has_custom && &**name == "metadata" {
            continue;
        }
        write(
            name,
            match value {
                ExtensionValue::Boolean(value) => Written::Boolean(*value),
                ExtensionValue::Integer(value) => Written::Integer((*value).into()),
                ExtensionValue::String(value) => Written::Text(Cow::Borrowed(value)),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_names_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
        assert!(is_reserved("id") && is_reserved("userid") && !is_reserved("region"));
    }
}
