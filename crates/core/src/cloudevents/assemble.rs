//! Puts an event together from attributes as they are read, in any order, and checks each.

use super::SPEC_VERSION;
use crate::{
    Error, ErrorKind, Event, EventType, ExtensionValue, Payload, Result, Timestamp,
    event::{Extensions, Identity, Inner, Rare, check_name, rules},
    event_type::Excerpt,
};
use std::borrow::Cow;

/// The value of one attribute, as it was read.
pub(super) enum Read<'a> {
    /// JSON `null`: the attribute is unset.
    Null,
    Boolean(bool),
    Integer(i64),
    Text(Cow<'a, str>),
    /// A string from an encoding that knows only strings.
    Untyped(Cow<'a, str>),
    /// Something that no attribute can be, such as an array.
    Other(&'static str),
}

/// The attributes read so far.
#[derive(Default)]
pub(super) struct Assembler {
    spec_version: bool,
    /// Whether there was a `metadata` attribute, whatever it held.
    metadata: bool,
    id: Option<Box<str>>,
    source: Option<Box<str>>,
    event_type: Option<EventType>,
    subject: Option<Box<str>>,
    time: Option<Timestamp>,
    content_type: Option<Box<str>>,
    schema_version: Option<u32>,
    correlation_id: Option<Box<str>>,
    causation_id: Option<Box<str>>,
    partition_key: Option<Box<str>>,
    rare: Option<Box<Rare>>,
}

/// The data as it was read.
pub(super) enum Data {
    None,
    /// One JSON value.
    Json(bytes::Bytes),
    /// The content of a JSON string that is not JSON by its media type.
    Text(bytes::Bytes),
    /// Bytes.
    Bytes(bytes::Bytes),
}

pub(super) fn refused(name: &str, rule: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("attribute '{}': {rule}", name.escape_debug()))
}

/// A rule of the vocabulary, broken by what was read.
fn broken(error: &Error) -> Error {
    Error::new(ErrorKind::Decode, error.message().to_owned())
}

impl Assembler {
    /// Takes one attribute.
    pub(super) fn set(&mut self, name: &str, value: Read<'_>) -> Result<()> {
        if matches!(value, Read::Null) {
            return check_name(name).map_err(|error| broken(&error));
        }
        match name {
            "specversion" => {
                let version = text(name, value)?;
                if version != SPEC_VERSION {
                    return Err(refused(name, &format!("{} is not supported; it must be \"1.0\"", Excerpt(&version))));
                }
                if std::mem::replace(&mut self.spec_version, true) {
                    return Err(twice(name));
                }
                Ok(())
            }
            "id" => once(name, &mut self.id, checked(name, value, rules::non_empty)?),
            "source" => once(name, &mut self.source, checked(name, value, rules::uri_reference)?),
            "type" => {
                let value = text(name, value)?;
                once(name, &mut self.event_type, EventType::new(&value).map_err(|error| refused(name, error.message()))?)
            }
            "subject" => once(name, &mut self.subject, checked(name, value, rules::non_empty)?),
            "time" => {
                let value = text(name, value)?;
                once(name, &mut self.time, Timestamp::parse(value).map_err(|error| refused(name, error.message()))?)
            }
            "datacontenttype" => once(name, &mut self.content_type, checked(name, value, rules::media_type)?),
            "schemaversion" => once(name, &mut self.schema_version, schema_version(name, &value)?),
            "correlationid" => once(name, &mut self.correlation_id, lenient(value)),
            "causationid" => once(name, &mut self.causation_id, lenient(value)),
            "partitionkey" => once(name, &mut self.partition_key, checked(name, value, rules::non_empty)?),
            "data" => Err(refused(name, "it is the name of the data and cannot be an attribute")),
            _ => self.set_rare(name, value),
        }
    }

    fn set_rare(&mut self, name: &str, value: Read<'_>) -> Result<()> {
        let rare = self.rare.get_or_insert_default();
        match name {
            "dataschema" => once(name, &mut rare.data_schema, checked(name, value, rules::absolute_uri)?),
            "traceparent" => once(name, &mut rare.traceparent, lenient(value)),
            "tracestate" => once(name, &mut rare.tracestate, lenient(value)),
            "userid" => once(name, &mut rare.metadata.user_id, checked(name, value, rules::text)?.into_string()),
            "tenantid" => once(name, &mut rare.metadata.tenant_id, checked(name, value, rules::text)?.into_string()),
            "requestid" => once(name, &mut rare.metadata.request_id, checked(name, value, rules::text)?.into_string()),
            "traceid" => once(name, &mut rare.metadata.trace_id, checked(name, value, rules::text)?.into_string()),
            "metadata" => {
                let value = checked(name, value, rules::text)?;
                if std::mem::replace(&mut self.metadata, true) {
                    return Err(twice(name));
                }
                if rare.metadata.set_custom_json(&value) {
                    Ok(())
                } else {
                    insert(&mut rare.extensions, name, ExtensionValue::String(value))
                }
            }
            _ => {
                check_name(name).map_err(|error| broken(&error))?;
                let value = extension(name, value)?;
                value.check(name).map_err(|error| broken(&error))?;
                insert(&mut rare.extensions, name, value)
            }
        }
    }

    /// The event, if nothing that is required is missing.
    pub(super) fn finish(self, data: Data) -> Result<Event> {
        if !self.spec_version {
            return Err(refused("specversion", "it is required"));
        }
        let id = self.id.ok_or_else(|| refused("id", "it is required"))?;
        let source = self.source.ok_or_else(|| refused("source", "it is required"))?;
        let event_type = self.event_type.ok_or_else(|| refused("type", "it is required"))?;
        let data = payload(self.content_type.as_deref(), data)?;
        let mut inner = Inner::new(event_type, data);
        inner.identity = Identity::given(&id, self.time);
        inner.source = Some(source.into());
        inner.subject = self.subject;
        inner.partition_key = self.partition_key;
        inner.correlation_id = self.correlation_id;
        inner.causation_id = self.causation_id;
        inner.schema_version = self.schema_version.unwrap_or(1);
        inner.rare = self.rare;
        Ok(Event::from_inner(inner))
    }
}

fn payload(content_type: Option<&str>, data: Data) -> Result<Payload> {
    match (content_type, data) {
        (None, Data::None) => Ok(Payload::empty()),
        (Some(media), Data::None) => Payload::bytes(media, bytes::Bytes::new()),
        (None, Data::Json(bytes)) => Ok(Payload::trusted_json(bytes)),
        (Some(media), Data::Json(bytes)) => Payload::trusted_json_of(media, bytes),
        (None, Data::Bytes(bytes) | Data::Text(bytes)) => Ok(Payload::opaque(bytes)),
        (Some(media), Data::Bytes(bytes) | Data::Text(bytes)) => Payload::bytes(media, bytes),
    }
    .map_err(|error| broken(&error))
}

fn once<T>(name: &str, slot: &mut Option<T>, value: impl Into<Option<T>>) -> Result<()> {
    if slot.is_some() {
        return Err(twice(name));
    }
    *slot = value.into();
    Ok(())
}

fn insert(extensions: &mut Extensions, name: &str, value: ExtensionValue) -> Result<()> {
    match extensions.insert(name.into(), value) {
        None => Ok(()),
        Some(_) => Err(twice(name)),
    }
}

pub(super) fn twice(name: &str) -> Error {
    refused(name, "it appears twice")
}

fn text<'a>(name: &str, value: Read<'a>) -> Result<Cow<'a, str>> {
    match value {
        Read::Text(text) | Read::Untyped(text) => Ok(text),
        Read::Null => Ok(Cow::Borrowed("")),
        Read::Boolean(_) => Err(refused(name, "it must be a string, not a boolean")),
        Read::Integer(_) => Err(refused(name, "it must be a string, not a number")),
        Read::Other(found) => Err(refused(name, &format!("it must be a string, not {found}"))),
    }
}

fn checked(name: &str, value: Read<'_>, check: fn(&str, &str) -> Result<()>) -> Result<Box<str>> {
    let value = text(name, value)?;
    check(name, &value).map_err(|error| broken(&error))?;
    Ok(value.into())
}

/// What helps to trace an event but is no reason to lose it: taken as it is, or left out where it is no scalar.
fn lenient(value: Read<'_>) -> Option<Box<str>> {
    match value {
        Read::Text(text) | Read::Untyped(text) if !text.is_empty() => Some(text.into()),
        Read::Integer(value) => Some(value.to_string().into()),
        Read::Boolean(value) => Some(value.to_string().into()),
        Read::Text(_) | Read::Untyped(_) | Read::Null | Read::Other(_) => None,
    }
}

fn schema_version(name: &str, value: &Read<'_>) -> Result<u32> {
    let number = match value {
        Read::Integer(number) => Some(*number),
        Read::Untyped(text) => text.parse().ok(),
        _ => None,
    };
    let in_range = number.filter(|number| (1..=i64::from(i32::MAX)).contains(number)).and_then(|number| u32::try_from(number).ok());
    in_range.ok_or_else(|| refused(name, "it must be an integer from 1 to 2147483647"))
}

fn extension(name: &str, value: Read<'_>) -> Result<ExtensionValue> {
    match value {
        Read::Text(text) | Read::Untyped(text) => Ok(ExtensionValue::String(text.into())),
        Read::Boolean(value) => Ok(ExtensionValue::Boolean(value)),
        Read::Integer(value) => match i32::try_from(value) {
            Ok(value) => Ok(ExtensionValue::Integer(value)),
            Err(_) => Err(refused(name, &format!("{value} is outside of the 32-bit integers"))),
        },
        Read::Null => Ok(ExtensionValue::String("".into())),
        Read::Other(found) => Err(refused(name, &format!("it must be a boolean, an integer or a string, not {found}"))),
    }
}
