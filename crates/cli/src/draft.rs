//! An event on its way from text: CloudEvents JSON, or the short form `{"type","source","subject","data"}`.
//!
//! The short form is CloudEvents JSON without `specversion`; what else is missing is filled in. Both are then read by the library, so the
//! rules are the same.

use crate::{json_text, run_id};
use bytes::Bytes;
use eventbus::{DEFAULT_SOURCE, Error, Event, Timestamp, cloudevents};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// The members of a JSON object, each as its text, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    members: Vec<(String, String)>,
}

impl Draft {
    /// Adds an attribute that is a string.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.members.push((name.to_owned(), json_text::quoted(value)));
        self
    }

    /// Adds an attribute whose type its name or its value tells: what the CloudEvents integer and boolean types spell is one.
    pub(crate) fn attribute(mut self, name: &str, value: &str) -> Self {
        let is_integer = name == "schemaversion" && value.parse::<i32>().is_ok();
        let json = if is_integer { value.to_owned() } else { json_text::quoted(value) };
        self.members.push((name.to_owned(), json));
        self
    }

    /// Adds the data, as JSON text.
    pub(crate) fn data(mut self, json: &str) -> Self {
        self.members.push(("data".to_owned(), json.to_owned()));
        self
    }

    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// The event, with an id, a source and a time if it brings none.
    ///
    /// # Errors
    /// What the library refuses, naming the attribute and the rule.
    pub(crate) fn into_event(mut self) -> Result<Event, Error> {
        self = self.text("specversion", cloudevents::SPEC_VERSION);
        if !self.has("id") {
            self = self.text("id", &run_id::fresh_event_id());
        }
        if !self.has("source") {
            self = self.text("source", DEFAULT_SOURCE);
        }
        if !self.has("time") {
            self = self.text("time", &Timestamp::now().to_string());
        }
        let members: Vec<String> = self.members.iter().map(|(name, json)| format!("{}:{json}", json_text::quoted(name))).collect();
        cloudevents::json::decode(&Bytes::from(format!("{{{}}}", members.join(","))))
    }
}

/// Reads an event from one line.
///
/// # Errors
/// What is wrong with it, in words: the attribute and the rule, or where it is not JSON.
pub(crate) fn event(line: &[u8]) -> Result<Event, String> {
    let Members(members) = serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "not an event: it must be a JSON object".to_owned(),
        _ => format!("not JSON: {}", json_text::fault(&error)),
    })?;
    let read = if members.iter().any(|(name, _)| name == "specversion") {
        cloudevents::json::decode(&Bytes::copy_from_slice(line))
    } else {
        Draft { members }.into_event()
    };
    read.map_err(|error| error.message().to_owned())
}

struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_gets_what_it_lacks() {
        let event = event(br#"{"type":"a.b","source":"/s","subject":"x","data":{"price":1.10}}"#).unwrap();
        assert_eq!((event.event_type().as_str(), event.source(), event.subject()), ("a.b", "/s", Some("x")));
        assert_eq!(event.data().to_bytes().unwrap(), r#"{"price":1.10}"#);
        assert_eq!(event.id().len(), 36);
        assert!(event.time().is_some());
    }

    #[test]
    fn the_short_form_may_have_any_attribute() {
        let event = event(br#"{"type":"a","id":"e-1","correlationid":"c","region":"eu","schemaversion":2}"#).unwrap();
        assert_eq!((event.id(), event.correlation_id(), event.schema_version()), ("e-1", Some("c"), 2));
        assert_eq!(event.extension("region"), Some(&"eu".into()));
        assert_eq!(event.source(), DEFAULT_SOURCE);
    }

    #[test]
    fn a_cloud_event_is_read_as_it_is() {
        let event = event(br#"{"specversion":"1.0","id":"e-1","source":"/s","type":"a"}"#).unwrap();
        assert_eq!(event.id(), "e-1");
        assert!(event.time().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, parts) in [
            (r#"{"source":"/s"}"#, vec!["'type'", "required"]),
            (r#"{"type":"a b"}"#, vec!["'type'", "a b", "tokens"]),
            (r#"{"type":"a","source":""}"#, vec!["'source'", "empty"]),
            (r#"{"type":"a","type":"b"}"#, vec!["'type'", "twice"]),
            (r#"{"type":"a","Region":"eu"}"#, vec!["Region", "a-z"]),
            (r#"{"specversion":"1.0","id":"1","type":"a"}"#, vec!["'source'", "required"]),
            (r#"{"type":"a""#, vec!["not JSON", "column 11"]),
            ("[]", vec!["JSON object"]),
            ("7", vec!["JSON object"]),
        ] {
            let fault = event(line.as_bytes()).unwrap_err();
            assert!(parts.iter().all(|part| fault.contains(part)), "{line}: {fault}");
        }
    }

    #[test]
    fn only_an_attribute_of_integer_type_becomes_a_number() {
        let event = Draft::default().text("type", "a").attribute("schemaversion", "3").attribute("region", "7").into_event().unwrap();
        assert_eq!(event.schema_version(), 3);
        assert_eq!(event.extension("region").and_then(eventbus::ExtensionValue::as_str), Some("7"));
    }
}
