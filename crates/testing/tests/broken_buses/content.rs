//! Buses that change what an event carries.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Bus, Event, Metadata, Payload, Result};
use std::sync::Arc;

/// Every event is changed on its way.
struct Changes(fn(Event) -> Event);

#[async_trait]
impl Fault for Changes {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        bus.publish((self.0)(event)).await
    }
}

fn with_data(event: &Event, data: Payload) -> Event {
    Event::builder(event.event_type()).id(event.id()).source(event.source()).payload(data).build().unwrap()
}

#[test]
fn a_bus_that_takes_all_data_for_text() {
    let as_text = |event: Event| {
        let bytes = event.data().to_bytes().unwrap();
        match event.data().content_type() {
            Some(content_type) => with_data(&event, Payload::bytes(content_type, String::from_utf8_lossy(&bytes).into_owned()).unwrap()),
            None => event,
        }
    };
    caught(move || Changes(as_text), "content::every_kind_of_data_arrives_byte_for_byte", r"\xef\xbf\xbd");
}

#[test]
fn a_bus_that_reads_and_writes_json_anew() {
    let anew = |event: Event| match serde_json::from_slice::<serde_json::Value>(&event.data().to_bytes().unwrap()) {
        Ok(value) => with_data(&event, Payload::json(&value).unwrap()),
        Err(_) => event,
    };
    caught(move || Changes(anew), "content::numbers_keep_their_text", "assertion `left == right` failed");
}

#[test]
fn a_bus_that_forgets_metadata() {
    let case = "content::odd_metadata_and_extensions_arrive";
    caught(|| Changes(|event| event.with_all_metadata(Metadata::default())), case, "assertion `left == right` failed");
}

#[test]
fn a_bus_that_forgets_an_extension() {
    caught(|| Changes(|event| event.without_extension("flag")), "content::every_attribute_arrives", "assertion `left == right` failed");
    caught(|| Changes(|event| event.without_extension("odd")), "content::odd_metadata_and_extensions_arrive", "left == right");
}

#[test]
fn a_bus_that_says_when_it_took_the_event_instead_of_when_it_happened() {
    let now = || Changes(|event| event.with_time(std::time::SystemTime::now()));
    caught(now, "content::every_attribute_arrives", "assertion `left == right` failed");
}

#[test]
fn a_bus_that_drops_an_event_with_a_malformed_trace() {
    struct Drops;
    #[async_trait]
    impl Fault for Drops {
        async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
            if event.traceparent().is_some_and(|trace| !trace.starts_with("00-")) { Ok(()) } else { bus.publish(event).await }
        }
    }
    caught(|| Drops, "observability::a_malformed_trace_never_costs_an_event", "for 7 deliveries, got");
}
