//! The decoders of events. Each function returns whether the input was accepted.

use crate::fields::Fields;
use bytes::Bytes;
use eventbus_core::{
    Error, ErrorKind, Event,
    cloudevents::{json as structured, nats as message, redis as entry},
};

/// One event in the JSON format.
///
/// # Panics
/// Where a promise is broken.
pub fn json(input: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(input);
    let decoded = structured::decode(&input);
    let alone = structured::decode_batch(&[b"[", &input[..], b"]"].concat().into());
    match decoded {
        Ok(event) => {
            assert_survives(&event);
            assert_eq!(alone.expect("an event is a batch of one"), [event]);
            true
        }
        Err(error) => {
            assert!(!alone.is_ok_and(|events| events.len() == 1), "refused alone, accepted in a batch: {error}");
            refused(&error)
        }
    }
}

/// A batch in the JSON format.
///
/// # Panics
/// Where a promise is broken.
pub fn batch(input: &[u8]) -> bool {
    match structured::decode_batch(&Bytes::copy_from_slice(input)) {
        Ok(events) => {
            let written = structured::encode_batch(&events).expect("what was read can be written");
            let again = structured::decode_batch(&written).expect("what was written can be read");
            assert_eq!(again, events);
            events.iter().for_each(assert_survives);
            true
        }
        Err(error) => refused(&error),
    }
}

/// A NATS message: a header for each line, as in `ce-id: 1`, an empty line, and the payload.
///
/// # Panics
/// Where a promise is broken.
pub fn nats(input: &[u8]) -> bool {
    let fields = Fields::parse(input, b": ");
    // A client gives header names and values as text.
    let headers: Vec<_> =
        fields.pairs.iter().filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))).collect();
    let payload = Bytes::copy_from_slice(fields.body.unwrap_or_default());
    match message::decode(headers, &payload) {
        Ok(event) => {
            assert_survives(&event);
            true
        }
        Err(error) => refused(&error),
    }
}

/// An entry of a Redis stream: a field for each line, as in `id=1`, an empty line, and the field `data`.
///
/// # Panics
/// Where a promise is broken.
pub fn redis(input: &[u8]) -> bool {
    let fields = Fields::parse(input, b"=");
    let data = fields.body.map(|body| (entry::DATA.as_bytes(), body));
    let pairs: Vec<_> = fields.pairs.into_iter().chain(data).map(|(name, value)| (name, Bytes::copy_from_slice(value))).collect();
    match entry::decode(pairs.iter().map(|(name, value)| (*name, value))) {
        Ok(event) => {
            assert_survives(&event);
            true
        }
        Err(error) => refused(&error),
    }
}

/// What was read can be written in every format, and reads as the same event from each, with the same data.
fn assert_survives(event: &Event) {
    for (format, read) in [("JSON", through_json(event)), ("NATS", through_nats(event)), ("Redis", through_redis(event))] {
        let read = read.unwrap_or_else(|error| panic!("{format} does not read what it wrote: {error:?}: {event:?}"));
        assert_eq!(&read, event, "{format} changed the event");
        assert_eq!(bytes_of(&read), bytes_of(event), "{format} changed the data");
        assert_eq!(read.time().map(|time| time.to_string()), event.time().map(|time| time.to_string()), "{format} changed the time");
    }
}

fn through_json(event: &Event) -> Result<Event, Error> {
    let written = structured::encode(event)?;
    let read = structured::decode(&written)?;
    assert_eq!(structured::encode(&read)?, written, "the JSON form is not stable");
    Ok(read)
}

fn through_nats(event: &Event) -> Result<Event, Error> {
    let mut headers = Vec::new();
    let payload = message::encode(event, |name, value| headers.push((name.to_owned(), value.to_owned())))?;
    for text in headers.iter().map(|(_, value)| value).chain([&message::message_id(event)]) {
        assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "not printable in a header: {text:?}");
    }
    message::decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), &payload)
}

fn through_redis(event: &Event) -> Result<Event, Error> {
    let mut fields = Vec::new();
    entry::encode(event, |name, value| fields.push((name.to_owned(), Bytes::copy_from_slice(value))))?;
    entry::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value)))
}

fn bytes_of(event: &Event) -> Bytes {
    event.data().to_bytes().expect("what was read has bytes")
}

/// A refusal is one of decoding, and says why on one line.
fn refused(error: &Error) -> bool {
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    let text = error.to_string();
    assert!(text.len() > "cannot decode: ".len() && !text.contains('\n'), "{text:?}");
    false
}
