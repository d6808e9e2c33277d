use super::*;
use crate::ErrorKind;
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
}

impl EventData for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 2;

    fn subject(&self) -> Option<String> {
        Some(self.order_id.clone())
    }
}

fn placed() -> Event {
    Event::new(OrderPlaced { order_id: "o-1".into() })
}

#[test]
fn a_typed_event_takes_what_its_data_declares() {
    let event = placed();
    assert_eq!(event.event_type(), &"order.placed");
    assert_eq!(event.schema_version(), 2);
    assert_eq!(event.subject(), Some("o-1"));
    assert_eq!(event.ordering_key(), Some("o-1"));
    assert_eq!(event.source(), DEFAULT_SOURCE);
    assert_eq!(event.data().content_type(), Some("application/json"));
    assert_eq!(event.decode::<OrderPlaced>().unwrap().order_id, "o-1");
}

#[test]
fn ids_are_unique_and_stable() {
    let (a, b) = (placed(), placed());
    assert_ne!(a.id(), b.id());
    assert_eq!(a.id(), a.clone().id());
    assert_eq!(a.time(), a.clone().time());
}

#[test]
fn a_changed_clone_keeps_the_id_and_leaves_the_original_alone() {
    let original = placed();
    let changed = original.clone().with_subject("o-2");
    assert_eq!(original.subject(), Some("o-1"));
    assert_eq!(changed.subject(), Some("o-2"));
    assert_eq!(original.id(), changed.id());
}

#[test]
fn copies_of_a_shared_event_have_one_time() {
    let original = Event::builder("a").id("e-1").build().unwrap();
    let changed = original.clone().with_source("/s");
    assert_eq!(original.time(), changed.time());
}

#[test]
fn minting_is_new_only_for_an_event_that_nobody_shares_or_has_read() {
    assert!(placed().mint());
    assert!(!placed().with_id("x").mint());
    let mut shared = placed();
    let clone = shared.clone();
    assert!(!shared.mint());
    assert_eq!(shared.id(), clone.id());
    let mut read = placed();
    let _ = read.id();
    assert!(!read.mint());
}

#[test]
fn the_first_fault_is_remembered_and_named() {
    let faulty = placed().with_source("").with_subject("a\r\nb");
    let error = faulty.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("'source'"), "{error}");
    for (event, attribute) in [
        (placed().with_id(""), "'id'"),
        (placed().with_subject(""), "'subject'"),
        (placed().with_partition_key(""), "'partitionkey'"),
        (placed().with_user("a\0"), "'userid'"),
        (placed().with_schema_version(0), "'schemaversion'"),
        (placed().with_data_schema("x"), "'dataschema'"),
        (placed().with_extension("Bad", 1), "\"Bad\""),
        (placed().with_extension("id", 1), "\"id\""),
    ] {
        let error = event.check().unwrap_err().to_string();
        assert!(error.contains(attribute), "{error}");
    }
}

#[test]
fn the_builder_refuses_what_the_event_would() {
    assert!(Event::builder("a.*").build().is_err());
    assert!(Event::builder("a").source("").build().is_err());
    assert!(Event::builder("a").json_text("{").build().is_err());
    let event = Event::builder("a.b").id("e-1").source("/s").json_text("[1.10]").extension("region", "eu").build().unwrap();
    assert_eq!((event.id(), event.source()), ("e-1", "/s"));
    assert_eq!(event.data().to_bytes().unwrap(), "[1.10]");
    assert_eq!(event.extension("region"), Some(&"eu".into()));
    assert_eq!(event.without_extension("region").extensions().count(), 0);
}

#[test]
fn a_caused_event_inherits_correlation_and_trace() {
    let cause = placed().with_correlation("c-1").with_trace("t-1").with_trace_context("00-x-y-01", Some("v=1".into())).with_user("u-1");
    let effect = Event::json("invoice.sent", 1).unwrap().caused_by(&cause);
    assert_eq!(effect.causation_id(), Some(cause.id()));
    assert_eq!(effect.correlation_id(), Some("c-1"));
    assert_eq!(effect.traceparent(), Some("00-x-y-01"));
    assert_eq!(effect.tracestate(), Some("v=1"));
    assert_eq!(effect.metadata().trace_id.as_deref(), Some("t-1"));
    assert_eq!(effect.metadata().user_id, None);
}

#[test]
fn a_caused_event_keeps_its_own_correlation_and_trace() {
    let cause = placed().with_correlation("c-1").with_trace_context("00-x-y-01", None);
    let effect = Event::json("a", 1).unwrap().with_correlation("mine").with_trace_context("00-a-b-01", None).caused_by(&cause);
    assert_eq!(effect.correlation_id(), Some("mine"));
    assert_eq!(effect.traceparent(), Some("00-a-b-01"));
}

#[test]
fn a_cause_without_correlation_starts_one() {
    let cause = placed();
    assert_eq!(Event::json("a", 1).unwrap().caused_by(&cause).correlation_id(), Some(cause.id()));
}

#[test]
fn debug_shows_no_data() {
    let shown = format!("{:?}", Event::json("a", "the secret").unwrap());
    assert!(!shown.contains("the secret"), "{shown}");
}
