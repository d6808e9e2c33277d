//! Events as entries of a Redis stream: one field for each attribute, named as the attribute, and `data` with the bytes as they are.
//!
//! An entry with the single field `event` holds a structured event in JSON. These are pure functions over names and bytes.

use super::{
    assemble::{Assembler, Data, Read, refused, twice},
    attributes::{self, Written},
    json,
};
use crate::{Error, ErrorKind, Event, EventType, Result};
use bytes::Bytes;
use std::borrow::Cow;

/// The field that holds the data.
pub const DATA: &str = "data";
/// The only field of an entry that holds a structured event.
pub const STRUCTURED: &str = "event";

/// The channel of an event type in Pub/Sub mode: `{prefix}:{type}`.
#[must_use]
pub fn channel(prefix: &str, event_type: &EventType) -> String {
    [prefix, ":", event_type.as_str()].concat()
}

/// Writes an event: calls `set` for each field, with its value as bytes.
///
/// # Errors
/// As [`json::encode`].
pub fn encode(event: &Event, mut set: impl FnMut(&str, &[u8])) -> Result<()> {
    event.check()?;
    attributes::each(event, |name, value| match &value {
        Written::Text(text) => set(name, text.as_bytes()),
        other => set(name, other.to_string().as_bytes()),
    });
    if !event.data().is_empty() {
        set(DATA, &event.data().to_bytes()?);
    }
    Ok(())
}

/// Reads an entry. Names and values are bytes, as Redis gives them.
///
/// # Errors
/// [`ErrorKind::Decode`], naming the field and the rule, or saying that the entry is no event.
pub fn decode<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a Bytes)>) -> Result<Event> {
    let fields: Vec<_> = fields.into_iter().collect();
    if let [(name, value)] = fields[..]
        && name == STRUCTURED.as_bytes()
    {
        return json::decode(value);
    }
    if !fields.iter().any(|(name, _)| *name == b"specversion") {
        return Err(Error::new(
            ErrorKind::Decode,
            "not an event: the entry has neither a field 'specversion' nor the single field 'event'",
        ));
    }
    let mut assembler = Assembler::default();
    let mut data = None;
    for (name, value) in fields {
        let name = str::from_utf8(name)
            .map_err(|_| Error::new(ErrorKind::Decode, format!("field {:?}: its name must be UTF-8", String::from_utf8_lossy(name))))?;
        if name == DATA {
            if data.replace(value).is_some() {
                return Err(twice(name));
            }
            continue;
        }
        let value = str::from_utf8(value).map_err(|_| refused(name, "it must be UTF-8"))?;
        assembler.set(name, Read::Untyped(Cow::Borrowed(value)))?;
    }
    assembler.finish(data.filter(|data| !data.is_empty()).map_or(Data::None, |data| Data::Bytes(data.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(event: &Event) -> Vec<(String, Bytes)> {
        let mut fields = Vec::new();
        encode(event, |name, value| fields.push((name.to_owned(), Bytes::copy_from_slice(value)))).unwrap();
        fields
    }

    fn read(fields: &[(String, Bytes)]) -> Result<Event> {
        decode(fields.iter().map(|(name, value)| (name.as_bytes(), value)))
    }

    fn entry(fields: &[(&str, &[u8])]) -> Vec<(String, Bytes)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value))).collect()
    }

    #[test]
    fn an_event_survives_as_fields_and_equals_its_structured_form() {
        let event = Event::builder("a.b")
            .id("1")
            .source("/s")
            .bytes("application/octet-stream", vec![0, 255])
            .user("größe\"")
            .extension("flag", true)
            .build()
            .unwrap();
        let binary = read(&fields(&event)).unwrap();
        assert_eq!(binary, event);
        let structured = read(&[(STRUCTURED.to_owned(), json::encode(&event).unwrap())]).unwrap();
        assert_eq!(structured, binary);
    }

    #[test]
    fn what_is_no_event_says_so() {
        let error = read(&entry(&[("hello", b"world")])).unwrap_err();
        assert!(error.to_string().contains("not an event"), "{error}");
        assert!(read(&entry(&[])).is_err());
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_outside_of_the_data() {
        let error = read(&entry(&[("specversion", b"1.0"), ("id", &[255])])).unwrap_err();
        assert!(error.to_string().contains("'id'"), "{error}");
    }

    #[test]
    fn a_field_may_stand_once() {
        let error = read(&entry(&[("specversion", b"1.0"), ("id", b"1"), ("id", b"1")])).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
}
