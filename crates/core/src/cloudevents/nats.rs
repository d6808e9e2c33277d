//! Events as NATS messages (CloudEvents NATS binding, working draft 1.0.3: binary and structured mode).
//!
//! Binary mode is written: one `ce-` header for each attribute, among them `ce-datacontenttype`, values percent-encoded; the data is the
//! payload as it is. Both modes are read. These are pure functions: they know header names and values, not a client library.

use super::{
    JSON_MEDIA_TYPE,
    assemble::{Assembler, Data, Read, refused, twice},
    attributes::{self, Written},
    header, json,
};
use crate::{Error, ErrorKind, Event, EventType, Result};
use bytes::Bytes;
use std::borrow::Cow;

/// The header that JetStream deduplicates by.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";

const CONTENT_TYPE: &str = "Content-Type";
const PREFIX: &str = "ce-";
/// Room for the names of nearly all attributes.
const MOST_NAMES: usize = 20;
/// Room for the attributes of nearly all events.
const MOST_ATTRIBUTES: usize = 12;

/// The subject of an event type: `{prefix}.{type}`.
#[must_use]
pub fn subject(prefix: &str, event_type: &EventType) -> String {
    [prefix, ".", event_type.as_str()].concat()
}

/// The value of [`MESSAGE_ID`]: `{source}#{id}`, percent-encoded as header values are, and so is a `#` in the id. Two sources may use the same
/// id.
#[must_use]
pub fn message_id(event: &Event) -> String {
    let (source, id) = (header::encode(event.source()), header::encode(event.id()));
    let mut message_id = String::with_capacity(source.len() + 1 + id.len());
    message_id.push_str(&source);
    message_id.push('#');
    message_id.push_str(&if id.as_bytes().contains(&b'#') { Cow::Owned(id.replace('#', "%23")) } else { id });
    message_id
}

/// Writes an event in binary mode: calls `set` for each header and returns the payload.
///
/// # Errors
/// As [`json::encode`].
pub fn encode(event: &Event, mut set: impl FnMut(&str, &str)) -> Result<Bytes> {
    event.check()?;
    let mut name = String::with_capacity(PREFIX.len() + MOST_NAMES);
    name.push_str(PREFIX);
    attributes::each(event, |attribute, value| {
        name.truncate(PREFIX.len());
        name.push_str(attribute);
        match &value {
            Written::Text(text) => set(&name, &header::encode(text)),
            other => set(&name, &header::encode(&other.to_string())),
        }
    });
    event.data().to_bytes()
}

/// Reads a message in either mode.
///
/// A `Content-Type` of `application/cloudevents` says structured, a `ce-specversion` binary. A message with neither is read as structured
/// JSON, since other SDKs publish it so. Header names compare without regard to case.
///
/// # Errors
/// [`ErrorKind::Decode`], naming the attribute and the rule, or saying that the message is no event.
pub fn decode<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>, payload: &Bytes) -> Result<Event> {
    let (mut structured, mut binary) = (false, false);
    let mut attributes = Vec::with_capacity(MOST_ATTRIBUTES);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            structured |= starts_with_ignoring_case(value.trim_start(), "application/cloudevents");
        } else if starts_with_ignoring_case(name, PREFIX) {
            let name = &name[PREFIX.len()..];
            binary |= name.eq_ignore_ascii_case("specversion");
            attributes.push((name, value));
        }
    }
    if structured {
        return json::decode(payload);
    }
    if binary {
        return decode_binary(&attributes, payload);
    }
    json::decode(payload).map_err(|fault| {
        Error::new(
            ErrorKind::Decode,
            format!("not an event: neither a ce-specversion header, nor {JSON_MEDIA_TYPE}, nor a CloudEvent in JSON"),
        )
        .caused_by(fault)
    })
}

fn decode_binary(attributes: &[(&str, &str)], payload: &Bytes) -> Result<Event> {
    let mut assembler = Assembler::default();
    for (position, (name, value)) in attributes.iter().enumerate() {
        if attributes[..position].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            return Err(twice(name));
        }
        let value = header::decode(value).map_err(|error| refused(name, error.message()))?;
        assembler.set(&lower(name), Read::Untyped(value))?;
    }
    assembler.finish(if payload.is_empty() { Data::None } else { Data::Bytes(payload.clone()) })
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.as_bytes().get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(event: &Event) -> (Vec<(String, String)>, Bytes) {
        let mut headers = Vec::new();
        let payload = encode(event, |name, value| headers.push((name.to_owned(), value.to_owned()))).unwrap();
        (headers, payload)
    }

    fn read(headers: &[(&str, &str)], payload: &str) -> Result<Event> {
        decode(headers.iter().copied(), &Bytes::copy_from_slice(payload.as_bytes()))
    }

    fn full() -> Event {
        Event::builder("order.placed")
            .id("e 1")
            .source("/shop")
            .subject("größe")
            .json_text(r#"{"price":1.10}"#)
            .user("u\"%")
            .metadata("region", "eu")
            .extension("n", 5)
            .build()
            .unwrap()
    }

    #[test]
    fn binary_mode_has_a_header_for_each_attribute_and_the_data_as_it_is() {
        let (headers, payload) = headers(&full());
        let value = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("ce-specversion"), Some("1.0"));
        assert_eq!(value("ce-id"), Some("e%201"));
        assert_eq!(value("ce-subject"), Some("gr%C3%B6%C3%9Fe"));
        assert_eq!(value("ce-userid"), Some("u%22%25"));
        assert_eq!(value("ce-datacontenttype"), Some("application/json"));
        assert_eq!(value("ce-n"), Some("5"));
        assert_eq!(value("Content-Type"), None);
        assert_eq!(payload, r#"{"price":1.10}"#);
    }

    #[test]
    fn binary_and_structured_forms_decode_to_equal_events() {
        let event = full();
        let (headers, payload) = headers(&event);
        let binary = decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), &payload).unwrap();
        let structured = decode([("content-type", "APPLICATION/CloudEvents+json; charset=utf-8")], &json::encode(&event).unwrap()).unwrap();
        assert_eq!(binary, structured);
        assert_eq!(binary, event);
    }

    #[test]
    fn a_structured_event_without_its_header_is_read() {
        let json = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a"}"#;
        assert_eq!(read(&[], json).unwrap().id(), "1");
        assert_eq!(read(&[("Traceparent", "x")], json).unwrap().id(), "1");
    }

    #[test]
    fn header_names_are_read_in_any_case_but_once() {
        let good = [("CE-SpecVersion", "1.0"), ("Ce-Id", "1"), ("ce-Source", "/s"), ("CE-TYPE", "a")];
        assert_eq!(read(&good, "").unwrap().id(), "1");
        let twice = [("ce-specversion", "1.0"), ("ce-id", "1"), ("CE-ID", "2"), ("ce-source", "/s"), ("ce-type", "a")];
        assert!(read(&twice, "").unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn what_is_no_event_says_so() {
        for payload in ["", "hello", "{}", "[]", "{\"id\":1}"] {
            let error = read(&[("x", "y")], payload).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains("not an event"), "{error}");
        }
    }

    #[test]
    fn the_message_id_joins_source_and_id() {
        assert_eq!(message_id(&Event::builder("a").id("1").source("/s").build().unwrap()), "/s#1");
        assert_eq!(message_id(&full()), "/shop#e%201");
        let of = |source: &str, id: &str| message_id(&Event::builder("a").id(id).source(source).build().unwrap());
        assert_ne!(of("/x#y", "z"), of("/x", "y#z"), "two pairs are never one");
    }
}
