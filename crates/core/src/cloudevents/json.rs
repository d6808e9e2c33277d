//! The JSON event format (CloudEvents JSON format 1.0.2).
//!
//! JSON data is copied letter by letter in both directions, so `1.10` and numbers beyond 64 bits survive.

use super::{
    assemble::{Assembler, Data, Read, refused, twice},
    attributes::{self, Written},
};
use crate::{Error, ErrorKind, Event, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Writes one event as a JSON object.
///
/// # Errors
/// [`ErrorKind::Invalid`] where the event [breaks a rule](Event::check), [`ErrorKind::Encode`] where its data has no JSON form.
pub fn encode(event: &Event) -> Result<Bytes> {
    let mut out = Vec::with_capacity(256 + event.data().size_hint());
    write(event, &mut out)?;
    Ok(out.into())
}

/// Writes events as one JSON array.
///
/// # Errors
/// As [`encode`], for the first event that cannot be written.
pub fn encode_batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Bytes> {
    let mut out = vec![b'['];
    for event in events {
        if out.len() > 1 {
            out.push(b',');
        }
        write(event, &mut out)?;
    }
    out.push(b']');
    Ok(out.into())
}

/// Reads one event. JSON data is a slice of `bytes`, not a copy.
///
/// # Errors
/// [`ErrorKind::Decode`], naming the attribute and the rule it breaks.
pub fn decode(bytes: &Bytes) -> Result<Event> {
    parse::<Object<'_>>(text(bytes)?)?.into_event(bytes)
}

/// Reads a batch: a JSON array of events, which may be empty.
///
/// # Errors
/// As [`decode`], for the first event that is refused, with its `position` from 0 in the context.
pub fn decode_batch(bytes: &Bytes) -> Result<Vec<Event>> {
    let objects = parse::<Batch<'_>>(text(bytes)?)?.0;
    let numbered = objects.into_iter().enumerate();
    numbered
        .map(|(position, object)| object.and_then(|object| object.into_event(bytes)).map_err(|error| error.with("position", position)))
        .collect()
}

/// JSON is UTF-8 throughout (RFC 8259, section 8.1), also where nobody reads it.
fn text(bytes: &[u8]) -> Result<&str> {
    str::from_utf8(bytes).map_err(|fault| Error::new(ErrorKind::Decode, format!("not JSON: no UTF-8 at byte {}", fault.valid_up_to())))
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T> {
    serde_json::from_str(text).map_err(|fault| {
        let message = if fault.is_data() { format!("not a CloudEvent: {fault}") } else { format!("not JSON: {fault}") };
        Error::new(ErrorKind::Decode, message)
    })
}

fn write(event: &Event, out: &mut Vec<u8>) -> Result<()> {
    event.check()?;
    let mut first = true;
    let mut name_of = |out: &mut Vec<u8>, name: &str| {
        out.push(if std::mem::take(&mut first) { b'{' } else { b',' });
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    attributes::each(event, |name, value| {
        name_of(out, name);
        match value {
            Written::Integer(_) | Written::Boolean(_) => out.extend_from_slice(value.to_string().as_bytes()),
            Written::Text(text) => string(out, &text),
            Written::Time(time) => string(out, &time.to_string()),
        }
    });
    let data = event.data();
    if data.is_empty() {
        // There is no member for data that is not there.
    } else if let Some(json) = data.to_json()? {
        name_of(out, "data");
        out.extend_from_slice(&json);
    } else {
        let bytes = data.to_bytes()?;
        match str::from_utf8(&bytes) {
            Ok(text) if data.is_text() => {
                name_of(out, "data");
                string(out, text);
            }
            _ => {
                name_of(out, "data_base64");
                string(out, &BASE64.encode(&bytes));
            }
        }
    }
    out.push(b'}');
    Ok(())
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// The members of one JSON object.
#[derive(Default)]
struct Object<'de> {
    attributes: Assembler,
    json_content: Option<bool>,
    data: Option<&'de RawValue>,
    data_base64: Option<Cow<'de, str>>,
    /// Set where a member was refused; the rest was read only to find the end.
    refused: Option<Error>,
}

impl<'de> Object<'de> {
    fn take(&mut self, name: &str, value: Value<'de>) -> Result<()> {
        match value {
            Value::Data(_) if self.data.is_some() => Err(twice(name)),
            Value::Data(raw) => {
                self.data = Some(raw);
                Ok(())
            }
            Value::Scalar(read) if name == "data_base64" => match read {
                Read::Null => Ok(()),
                Read::Text(_) if self.data_base64.is_some() => Err(twice(name)),
                Read::Text(text) => {
                    self.data_base64 = Some(text);
                    Ok(())
                }
                _ => Err(refused(name, "it must be a string")),
            },
            Value::Scalar(read) => {
                if name == "datacontenttype"
                    && let Read::Text(media) = &read
                {
                    self.json_content = Some(crate::payload::is_json(media));
                }
                self.attributes.set(name, read)
            }
        }
    }

    fn into_event(self, bytes: &Bytes) -> Result<Event> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => return Err(refused("data_base64", "it cannot stand beside 'data'")),
            (None, None) => Data::None,
            (None, Some(text)) => {
                let decoded = BASE64
                    .decode(&*text)
                    .map_err(|fault| refused("data_base64", &format!("it must be base64 (RFC 4648, section 4): {fault}")))?;
                Data::Bytes(decoded.into())
            }
            (Some(raw), None) if self.json_content.unwrap_or(true) => Data::Json(bytes.slice_ref(raw.get().as_bytes())),
            (Some(raw), None) => match serde_json::from_str::<Text<'_>>(raw.get()) {
                Ok(Text(text)) => Data::Text(text.into_owned().into()),
                Err(_) => return Err(refused("data", "it must be a string, since 'datacontenttype' is not JSON")),
            },
        };
        self.attributes.finish(data)
    }
}

enum Value<'de> {
    Data(&'de RawValue),
    Scalar(Read<'de>),
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some(Text(name)) = map.next_key()? {
                    let value =
                        if name == "data" { Value::Data(map.next_value()?) } else { Value::Scalar(map.next_value::<Scalar<'de>>()?.0) };
                    // The object is read to its end in any case, so that the caller knows whether it was JSON at all.
                    if object.refused.is_none() {
                        object.refused = object.take(&name, value).err();
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The elements of a JSON array. An element that is no object is refused in its place.
struct Batch<'de>(Vec<Result<Object<'de>>>);

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Batch<'de>, A::Error> {
                let mut objects = Vec::new();
                while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                    objects.push(parse(raw.get()));
                }
                Ok(Batch(objects))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// A JSON string, borrowed where it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Letters;
        impl<'de> Visitor<'de> for Letters {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Letters)
    }
}

/// The value of a member that is an attribute.
struct Scalar<'de>(Read<'de>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Null))
            }

            fn visit_bool<E>(self, value: bool) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Boolean(value)))
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Integer(value)))
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(i64::try_from(value).map_or(Read::Other("a number beyond 64 bits"), Read::Integer)))
            }

            fn visit_f64<E>(self, _: f64) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Other("a fractional number")))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Scalar<'de>, E> {
                Ok(Scalar(Read::Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Scalar<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(Read::Other("an array")))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Scalar<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(Read::Other("an object")))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
