//! Who and what an event belongs to, besides what it says.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The user, tenant, request and trace an event belongs to, and any further values under keys of your own.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// The user on whose behalf the event was published.
    pub user_id: Option<String>,
    /// The tenant whose data the event concerns.
    pub tenant_id: Option<String>,
    /// The request that led to the event.
    pub request_id: Option<String>,
    /// An identifier of your tracing system. For W3C trace context see [`Event::traceparent`](crate::Event::traceparent).
    pub trace_id: Option<String>,
    custom: BTreeMap<String, Box<RawValue>>,
}

impl Metadata {
    /// No metadata.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The custom value under `key`, if there is one and it is a `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.custom.get(key)?.get()).ok()
    }

    /// The custom value under `key` as its JSON text.
    #[must_use]
    pub fn get_raw(&self, key: &str) -> Option<&str> {
        self.custom.get(key).map(|value| value.get())
    }

    /// Sets a custom value. Any key and any JSON value will do.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) where `value` cannot be written as JSON.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Serialize) -> crate::Result<()> {
        let key = key.into();
        // As it will be written: a value is the same text on both sides.
        let value = serde_json::to_string(&value)
            .and_then(|json| RawValue::from_string(printable(json)))
            .map_err(|fault| crate::Error::new(crate::ErrorKind::Encode, format!("metadata {key:?} is not JSON")).caused_by(fault))?;
        self.custom.insert(key, value);
        Ok(())
    }

    /// The custom values as JSON text, by key.
    pub fn custom(&self) -> impl Iterator<Item = (&str, &str)> {
        self.custom.iter().map(|(key, value)| (key.as_str(), value.get()))
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.user_id.is_none() && self.tenant_id.is_none() && self.request_id.is_none() && self.trace_id.is_none() && self.custom.is_empty()
    }

    /// The custom values as one JSON object, or `None` where there are none.
    pub(crate) fn custom_json(&self) -> Option<String> {
        if self.custom.is_empty() {
            return None;
        }
        // A map of strings to raw JSON always serializes.
        serde_json::to_string(&self.custom).ok().map(printable)
    }

    /// Reads the custom values from a JSON object. Anything else leaves them as they were and returns false.
    pub(crate) fn set_custom_json(&mut self, json: &str) -> bool {
        match serde_json::from_str(&printable(json.to_owned())) {
            Ok(custom) => {
                self.custom = custom;
                true
            }
            Err(_) => false,
        }
    }
}

/// The same JSON without the characters that a CloudEvents string must not hold: white space between tokens becomes a space, what
/// stands raw inside of JSON strings is escaped.
fn printable(json: String) -> String {
    if crate::event::rules::text("metadata", &json).is_ok() {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if matches!(c, '\t' | '\n' | '\r') {
            out.push(' ');
        } else if crate::event::rules::is_allowed(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.user_id == other.user_id
            && self.tenant_id == other.tenant_id
            && self.request_id == other.request_id
            && self.trace_id == other.trace_id
            && self.custom().eq(other.custom())
    }
}

impl Eq for Metadata {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_values_keep_their_text_through_json() {
        let mut metadata = Metadata::new();
        assert!(metadata.set_custom_json(r#"{"price": 1.10, "big": 1152921504606846976, "any key\n": [1]}"#));
        assert_eq!(metadata.get_raw("price"), Some("1.10"));
        assert_eq!(metadata.get::<u64>("big"), Some(1 << 60));
        let mut copy = Metadata::new();
        assert!(copy.set_custom_json(&metadata.custom_json().unwrap()));
        assert_eq!(copy, metadata);
    }

    #[test]
    fn a_value_is_the_same_text_before_and_after() {
        let mut metadata = Metadata::new();
        metadata.insert("odd \u{7f}", "\0 \u{7f} \u{9f}").unwrap();
        let mut copy = Metadata::new();
        assert!(copy.set_custom_json(&metadata.custom_json().unwrap()));
        assert_eq!(copy, metadata);
        assert_eq!(copy.get::<String>("odd \u{7f}").unwrap(), "\0 \u{7f} \u{9f}");
    }

    #[test]
    fn the_json_of_custom_values_is_a_valid_attribute() {
        let mut metadata = Metadata::new();
        assert!(metadata.set_custom_json("{\"a\": [1,\n\t2], \"b\": \"\u{85}\u{1fffe}\"}"));
        let json = metadata.custom_json().unwrap();
        assert!(crate::event::rules::text("metadata", &json).is_ok(), "{json:?}");
        let mut copy = Metadata::new();
        assert!(copy.set_custom_json(&json));
        assert_eq!(copy.get::<String>("b").as_deref(), Some("\u{85}\u{1fffe}"));
        assert_eq!(copy.get::<Vec<u8>>("a"), Some(vec![1, 2]));
    }

    #[test]
    fn what_is_not_an_object_is_left_alone() {
        let mut metadata = Metadata::new();
        for json in ["", "1", "[]", "{", "\"x\""] {
            assert!(!metadata.set_custom_json(json), "{json}");
        }
        assert!(metadata.is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_not_returned() {
        let mut metadata = Metadata::new();
        metadata.insert("region", "eu").unwrap();
        assert_eq!(metadata.get::<String>("region").as_deref(), Some("eu"));
        assert_eq!(metadata.get::<u32>("region"), None);
    }
}
