//! What an event carries: a typed value, encoded bytes, or nothing.

use crate::{Error, ErrorKind, Result, event::rules};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

pub(crate) const JSON: &str = "application/json";

/// The data of an event, typed or encoded.
///
/// A typed value stays the value it is: in process a handler gets the publisher's own `Arc<T>`. Where bytes are needed, it is
/// encoded as JSON once, and the bytes are kept. Encoded data is kept byte for byte, so JSON numbers keep their text.
#[derive(Clone)]
pub struct Payload {
    format: Format,
    repr: Repr,
}

/// How the bytes are to be read.
#[derive(Clone, PartialEq, Eq)]
enum Format {
    /// `application/json`, said or implied.
    Json,
    /// Any other media type.
    Media(Arc<str>),
    /// Bytes of which nothing is known.
    Opaque,
}

#[derive(Clone)]
enum Repr {
    Empty,
    Bytes(Bytes),
    /// Bytes that are known to be one JSON value.
    Json(Bytes),
    Typed(Typed),
}

#[derive(Clone)]
struct Typed {
    value: Arc<dyn Value>,
    /// The JSON form, once somebody has asked for it.
    bytes: OnceLock<Result<Bytes>>,
}

/// A typed payload without its type.
trait Value: Any + Send + Sync {
    fn encode(&self) -> serde_json::Result<Vec<u8>>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn is(&self, wanted: std::any::TypeId) -> bool;
    fn size(&self) -> usize;
    fn type_name(&self) -> &'static str;
}

impl<T: Serialize + Send + Sync + 'static> Value for T {
    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn is(&self, wanted: std::any::TypeId) -> bool {
        std::any::TypeId::of::<T>() == wanted
    }

    fn size(&self) -> usize {
        size_of::<T>()
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}

impl Payload {
    /// No data at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self { format: Format::Opaque, repr: Repr::Empty }
    }

    /// A value that stays typed until somebody asks for bytes; then it becomes JSON.
    #[must_use]
    pub fn typed<T: Serialize + Send + Sync + 'static>(value: Arc<T>) -> Self {
        Self { format: Format::Json, repr: Repr::Typed(Typed { value, bytes: OnceLock::new() }) }
    }

    /// A value, written as JSON now.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] where the value has no JSON form.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value).map_err(|fault| encode_error(std::any::type_name_of_val(value), fault))?;
        Ok(Self::trusted_json(bytes.into()))
    }

    /// JSON text, kept as it is but for white space around it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the text is not one JSON value.
    pub fn json_text(text: impl Into<Bytes>) -> Result<Self> {
        let bytes = text.into();
        check_json(&bytes).map_err(|fault| Error::invalid("data must be one JSON value").caused_by(fault))?;
        let value = bytes.slice_ref(bytes.trim_ascii());
        Ok(Self::trusted_json(value))
    }

    /// Bytes of a media type, kept as they are. Bytes of a JSON type are not parsed here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `content_type` is not a media type.
    pub fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Result<Self> {
        let format = if content_type == JSON {
            Format::Json
        } else {
            rules::media_type("datacontenttype", content_type)?;
            Format::Media(Arc::from(content_type))
        };
        Ok(Self { format, repr: Repr::from_bytes(bytes.into()) })
    }

    /// Bytes without a media type.
    #[must_use]
    pub fn opaque(bytes: impl Into<Bytes>) -> Self {
        Self { format: Format::Opaque, repr: Repr::from_bytes(bytes.into()) }
    }

    /// JSON text that a parser has already seen.
    pub(crate) fn trusted_json(bytes: Bytes) -> Self {
        Self { format: Format::Json, repr: Repr::Json(bytes) }
    }

    /// JSON text that a parser has already seen, of a media type that says JSON.
    pub(crate) fn trusted_json_of(content_type: &str, bytes: Bytes) -> Result<Self> {
        let mut payload = Self::bytes(content_type, bytes)?;
        if let Repr::Bytes(bytes) = payload.repr {
            payload.repr = Repr::Json(bytes);
        }
        Ok(payload)
    }

    /// The bytes, if they are known or found to be one JSON value, with nothing around it, and the media type says so. White space
    /// around a value would not survive as a member of a JSON object.
    pub(crate) fn to_json(&self) -> Result<Option<Bytes>> {
        if !self.is_json() {
            return Ok(None);
        }
        match &self.repr {
            Repr::Empty => Ok(None),
            Repr::Bytes(bytes) => Ok((bytes.trim_ascii().len() == bytes.len() && check_json(bytes).is_ok()).then(|| bytes.clone())),
            Repr::Json(_) | Repr::Typed(_) => self.to_bytes().map(Some),
        }
    }

    /// The media type: `application/json` for typed and JSON data, `None` where nothing is known.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        match &self.format {
            Format::Json => Some(JSON),
            Format::Media(media) => Some(media),
            Format::Opaque => None,
        }
    }

    /// Whether the data is JSON: the subtype is `json` or ends in `+json` (CloudEvents JSON format 1.0.2, section 3.1).
    #[must_use]
    pub fn is_json(&self) -> bool {
        match &self.format {
            Format::Json => true,
            Format::Media(media) => is_json(media),
            Format::Opaque => false,
        }
    }

    /// Whether the data is text of a `text/…` media type.
    pub(crate) fn is_text(&self) -> bool {
        matches!(&self.format, Format::Media(media) if media.as_bytes().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/")))
    }

    /// Whether there is no data. Zero bytes are no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.repr, Repr::Empty)
    }

    /// The data as bytes; a typed value is encoded by the first call and the bytes are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] where a typed value has no JSON form, such as a map with keys that are not strings.
    pub fn to_bytes(&self) -> Result<Bytes> {
        match &self.repr {
            Repr::Empty => Ok(Bytes::new()),
            Repr::Bytes(bytes) | Repr::Json(bytes) => Ok(bytes.clone()),
            Repr::Typed(typed) => {
                let encoded = typed
                    .bytes
                    .get_or_init(|| typed.value.encode().map(Bytes::from).map_err(|fault| encode_error(typed.value.type_name(), fault)));
                encoded.clone()
            }
        }
    }

    /// The data as bytes, which are all that is kept of it: a typed value is let go.
    pub(crate) fn encode(&mut self) -> Result<Bytes> {
        let bytes = self.to_bytes()?;
        if matches!(self.repr, Repr::Typed(_)) {
            self.repr = Repr::Json(bytes.clone());
        }
        Ok(bytes)
    }

    /// The size in bytes, as far as it is known without encoding: for a typed value that nobody has encoded yet it is the size of
    /// the Rust value, without what that value points to.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        match &self.repr {
            Repr::Empty => 0,
            Repr::Bytes(bytes) | Repr::Json(bytes) => bytes.len(),
            Repr::Typed(typed) => match typed.bytes.get() {
                Some(Ok(bytes)) => bytes.len(),
                _ => typed.value.size(),
            },
        }
    }

    /// The data as a `T`: the publisher's own value where it is one, otherwise read from JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] where the data is not JSON, not a `T`, or absent; [`ErrorKind::Encode`] where a typed value of another
    /// type has no JSON form.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        if let Repr::Typed(typed) = &self.repr
            && typed.value.is(std::any::TypeId::of::<T>())
            && let Ok(value) = Arc::clone(&typed.value).into_any().downcast::<T>()
        {
            return Ok(value);
        }
        if self.is_empty() {
            // `()` and `Option` have a value for "nothing"; other types say what they miss.
            return serde_json::from_str("null")
                .map(Arc::new)
                .map_err(|_| Error::new(ErrorKind::Decode, format!("there is no data to read a {} from", std::any::type_name::<T>())));
        }
        if !self.is_json() {
            let found = self.content_type().unwrap_or("bytes of an unknown type");
            return Err(Error::new(
                ErrorKind::Decode,
                format!("cannot read a {} from {found}; only JSON is decoded", std::any::type_name::<T>()),
            ));
        }
        serde_json::from_slice(&self.to_bytes()?)
            .map(Arc::new)
            .map_err(|fault| Error::new(ErrorKind::Decode, format!("the data is not a {}", std::any::type_name::<T>())).caused_by(fault))
    }
}

impl Repr {
    fn from_bytes(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}

fn check_json(bytes: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).map(|_| ())
}

fn encode_error(type_name: &str, fault: serde_json::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("{type_name} has no JSON form")).caused_by(fault)
}

pub(crate) fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim();
    essence.split_once('/').is_some_and(|(_, subtype)| {
        let subtype = subtype.as_bytes();
        subtype.eq_ignore_ascii_case(b"json") || subtype.len() > 5 && subtype[subtype.len() - 5..].eq_ignore_ascii_case(b"+json")
    })
}

/// Payloads are equal when their media types and their bytes are; what cannot be encoded equals nothing.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (&self.repr, &other.repr) {
            (Repr::Empty, Repr::Empty) => self.format == other.format,
            (Repr::Empty, _) | (_, Repr::Empty) => false,
            _ => self.format == other.format && matches!((self.to_bytes(), other.to_bytes()), (Ok(a), Ok(b)) if a == b),
        }
    }
}

impl fmt::Debug for Payload {
    /// The size and the type, not the content: logs are no place for customers' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repr {
            Repr::Empty => f.write_str("no data"),
            Repr::Bytes(bytes) | Repr::Json(bytes) => {
                write!(f, "{} bytes of {}", bytes.len(), self.content_type().unwrap_or("unknown type"))
            }
            Repr::Typed(typed) => f.write_str(typed.value.type_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order {
        id: u32,
    }

    #[test]
    fn a_typed_value_is_handed_over_without_a_copy() {
        let order = Arc::new(Order { id: 7 });
        let payload = Payload::typed(order.clone());
        assert!(Arc::ptr_eq(&payload.decode::<Order>().unwrap(), &order));
    }

    #[test]
    fn white_space_around_json_is_kept_in_bytes_and_dropped_from_text() {
        let spaced = Payload::bytes("application/json", " 1\n").unwrap();
        assert_eq!(spaced.to_bytes().unwrap(), " 1\n");
        assert_eq!(spaced.to_json().unwrap(), None, "it is no member of a JSON object");
        assert_eq!(Payload::json_text(" 1\n").unwrap().to_bytes().unwrap(), "1");
    }

    #[test]
    fn a_typed_value_is_read_as_another_type_through_json() {
        let payload = Payload::typed(Arc::new(Order { id: 7 }));
        assert_eq!(payload.decode::<serde_json::Value>().unwrap()["id"], 7);
    }

    #[test]
    fn a_value_is_encoded_at_most_once() {
        struct Counted(std::sync::atomic::AtomicU32);
        impl Serialize for Counted {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
            }
        }
        let payload = Payload::typed(Arc::new(Counted(0.into())));
        assert_eq!(payload.to_bytes().unwrap(), "0");
        assert_eq!(payload.to_bytes().unwrap(), "0");
    }

    #[test]
    fn numbers_keep_their_text() {
        let payload = Payload::json_text(r#"{"price":1.10,"big":1152921504606846976123}"#).unwrap();
        assert_eq!(payload.to_bytes().unwrap(), r#"{"price":1.10,"big":1152921504606846976123}"#);
    }

    #[test]
    fn a_value_without_a_json_form_is_an_encode_error() {
        let map = BTreeMap::from([((1, 2), 3)]);
        assert_eq!(Payload::json(&map).unwrap_err().kind(), ErrorKind::Encode);
        let payload = Payload::typed(Arc::new(map));
        assert_eq!(payload.to_bytes().unwrap_err().kind(), ErrorKind::Encode);
        assert_eq!(payload.decode::<Order>().unwrap_err().kind(), ErrorKind::Encode);
    }

    #[test]
    fn what_is_not_the_wanted_type_is_a_decode_error_that_names_it() {
        for payload in
            [Payload::json_text("\"x\"").unwrap(), Payload::opaque("x"), Payload::bytes("text/plain", "x").unwrap(), Payload::empty()]
        {
            let error = payload.decode::<Order>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains("Order"), "{error}");
        }
        assert!(Payload::json_text("{").is_err());
        assert!(Payload::json_text("1 2").is_err());
    }

    #[test]
    fn nothing_can_be_read_as_unit_or_none() {
        assert!(Payload::empty().decode::<()>().is_ok());
        assert_eq!(*Payload::empty().decode::<Option<u8>>().unwrap(), None);
    }

    #[test]
    fn json_is_recognised_as_cloudevents_says() {
        for json in ["application/json", "APPLICATION/JSON", "text/json; charset=utf-8", "application/vnd.x+json", "foo/json"] {
            assert!(Payload::bytes(json, "1").unwrap().is_json(), "{json}");
        }
        for other in ["application/json-seq", "text/plain", "application/xml", "json/x"] {
            assert!(!Payload::bytes(other, "1").unwrap().is_json(), "{other}");
        }
    }
}
