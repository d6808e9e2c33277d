//! What stands for a message that is no event, so that it can be a dead letter: the bytes and attributes as they were received.

use crate::{Error, ErrorKind, Event, EventType, Payload, Result, event::rules::is_allowed};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;

/// The type of a message that says none that could be used.
pub const TYPE: &str = "undecodable";
/// The source of every event that stands for a message.
pub const SOURCE: &str = "/eventbus/undecodable";

/// The metadata that holds what was received beside the data.
const RECEIVED: &str = "received";
const MEDIA_TYPE: &str = "application/octet-stream";

/// An event that stands for a message: its data is the message's, and its attributes (headers or fields) are in the metadata `received`.
///
/// `id` is the message's place at the broker, so that the same message is the same event on every delivery. `event_type` is what the broker
/// filed it under; where that is no event type, it is [`TYPE`]. The id must not be empty.
#[must_use]
pub fn stand_in<'a>(
    id: &str,
    event_type: Option<&str>,
    attributes: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, [u8]>)>,
    data: Bytes,
) -> Event {
    let event_type = event_type.and_then(|name| EventType::new(name).ok()).unwrap_or_else(|| EventType::from_static(TYPE));
    let received: Vec<Value> = attributes.into_iter().map(|(name, value)| Value::Array(vec![name.into(), written(&value)])).collect();
    let data = if data.is_empty() { Payload::empty() } else { Payload::bytes(MEDIA_TYPE, data).expect("the media type is one") };
    let event = Event::of(event_type, data).with_id(id).with_source(SOURCE);
    if received.is_empty() { event } else { event.with_metadata(RECEIVED, received) }
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Its headers or fields, in their order.
    pub attributes: Vec<(String, Vec<u8>)>,
    /// Its data.
    pub data: Bytes,
}

/// The message that an event stands for. `None` for any other event.
///
/// # Errors
/// [`ErrorKind::Decode`] where the metadata is not as [`stand_in`] wrote it.
pub fn as_received(event: &Event) -> Result<Option<Received>> {
    if event.source() != SOURCE {
        return Ok(None);
    }
    let attributes: Vec<(String, Value)> = event.metadata().get(RECEIVED).unwrap_or_default();
    let attributes = attributes.into_iter().map(|(name, value)| read(&value).map(|value| (name, value)));
    let attributes = attributes
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::new(ErrorKind::Decode, "metadata 'received': it must hold pairs of a name and a text or bytes in base64"))?;
    Ok(Some(Received { attributes, data: event.data().to_bytes()? }))
}

/// Text as it is, where an attribute may hold it, and other bytes in base64.
fn written(value: &[u8]) -> Value {
    match str::from_utf8(value) {
        Ok(text) if text.chars().all(is_allowed) => text.into(),
        _ => serde_json::json!({ "base64": BASE64_STANDARD.encode(value) }),
    }
}

fn read(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        other => BASE64_STANDARD.decode(other.get("base64")?.as_str()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(event_type: Option<&str>, attributes: &[(&str, &[u8])], data: &'static [u8]) -> Event {
        let attributes = attributes.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)));
        stand_in("EVENTS-7", event_type, attributes, Bytes::from_static(data))
    }

    #[test]
    fn a_message_is_kept_as_it_was_received() {
        let event = wrap(Some("order.placed"), &[("a", b"1"), ("A", b"gr\xc3\xb6\r\n"), ("a", &[255, 0])], b"{\"trunc");
        assert_eq!((event.id(), event.event_type().as_str()), ("EVENTS-7", "order.placed"));
        assert_eq!(event.data().to_bytes().unwrap(), "{\"trunc");
        // Also after a way through the codec, as a dead letter takes.
        let read = crate::cloudevents::json::decode(&crate::cloudevents::json::encode(&event).unwrap()).unwrap();
        let received = as_received(&read).unwrap().unwrap();
        let expected = [("a", b"1".to_vec()), ("A", b"gr\xc3\xb6\r\n".to_vec()), ("a", vec![255, 0])];
        assert_eq!(received.attributes, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(received.data, "{\"trunc");
    }

    #[test]
    fn what_is_filed_under_no_event_type_has_a_type_of_its_own() {
        for name in [None, Some(""), Some("a b"), Some("größe")] {
            assert_eq!(wrap(name, &[], b"").event_type().as_str(), TYPE);
        }
    }

    #[test]
    fn any_other_event_stands_for_nothing() {
        assert_eq!(as_received(&Event::json("a", 1).unwrap()).unwrap(), None);
    }
}
