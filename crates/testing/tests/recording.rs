//! The bus that remembers what was published.

use eventbus_core::{Bus, Context, ErrorKind, Event, HandlerError, Retry, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_runtime::BusExt;
use eventbus_testing::{FaultyBus, RecordingBus, settle};
use std::{sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(20);

fn event(event_type: &str) -> Event {
    Event::json(event_type, 1).unwrap()
}

fn types(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.event_type().to_string()).collect()
}

#[tokio::test]
async fn what_was_published_is_found_by_type_and_by_pattern_in_its_order() {
    let bus = RecordingBus::new();
    for event_type in ["order.placed", "invoice.sent", "order.cancelled", "order.placed"] {
        bus.publish(event(event_type)).await.unwrap();
    }
    assert_eq!(types(&bus.events()), ["order.placed", "invoice.sent", "order.cancelled", "order.placed"]);
    assert_eq!(bus.events_of_type("order.placed").len(), 2);
    assert_eq!(types(&bus.events_of_type("order.*")), ["order.placed", "order.cancelled", "order.placed"]);
    assert!(bus.has_event("invoice.sent") && bus.has_event(">") && !bus.has_event("invoice.paid"));
    bus.clear();
    assert!(bus.events().is_empty());
}

#[tokio::test]
async fn batches_and_enqueued_events_are_remembered() {
    let bus = RecordingBus::new();
    let results = bus.publish_all(vec![event("a"), event("b").with_source(""), event("c")]).await;
    assert!(results[1].is_err());
    drop(bus.enqueue(event("d")).await.unwrap());
    bus.enqueue(event("e").with_source("")).await.unwrap_err();
    assert_eq!(types(&bus.events()), ["a", "c", "d"], "only what the bus accepted");
}

#[tokio::test]
async fn what_failed_is_not_remembered() {
    let inner = FaultyBus::around(Arc::new(MemoryBus::new()));
    inner.fail_publish(2);
    let bus = RecordingBus::around(Arc::new(inner));
    bus.publish(event("a")).await.unwrap();
    bus.publish(event("b")).await.unwrap_err();
    bus.publish(event("c")).await.unwrap();
    assert_eq!(types(&bus.events()), ["a", "c"]);
}

#[tokio::test]
async fn a_publish_that_was_abandoned_is_not_remembered() {
    let inner = FaultyBus::around(Arc::new(MemoryBus::new()));
    inner.delay_publish(1, LONG);
    let bus = RecordingBus::around(Arc::new(inner));
    let publishing = bus.publish(event("a"));
    assert!(tokio::time::timeout(Duration::ZERO, publishing).await.is_err());
    bus.publish(event("b")).await.unwrap();
    assert_eq!(types(&bus.events()), ["b"]);
}

/// Also where the effect is published before the cause's own publish has returned.
#[tokio::test]
async fn what_a_handler_publishes_is_remembered_after_its_cause() {
    for inner in [MemoryBus::new(), MemoryBus::inline()] {
        let bus = RecordingBus::around(Arc::new(inner));
        bus.on("order.placed", |ctx: Context| async move { ctx.publish(event("invoice.sent")).await }).await.unwrap();
        bus.publish(event("order.placed")).await.unwrap();
        settle(&bus, LONG).await.unwrap();
        assert_eq!(types(&bus.events()), ["order.placed", "invoice.sent"]);
        assert_eq!(bus.events()[1].causation_id(), Some(bus.events()[0].id()));
    }
}

#[tokio::test]
async fn waiting_ends_when_enough_was_published() {
    let bus = RecordingBus::new();
    bus.publish(event("order.placed")).await.unwrap();
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.wait_for("order.*", 3, LONG).await }
    });
    tokio::task::yield_now().await;
    bus.publish(event("invoice.sent")).await.unwrap();
    bus.publish(event("order.cancelled")).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    bus.publish(event("order.placed")).await.unwrap();
    assert_eq!(types(&waiting.await.unwrap().unwrap()), ["order.placed", "order.cancelled", "order.placed"]);
    // What is there already is not waited for.
    assert_eq!(bus.wait_for("invoice.sent", 1, Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_says_what_came_instead() {
    let bus = RecordingBus::new();
    for event_type in ["order.placed", "order.failed", "order.failed"] {
        bus.publish(event(event_type)).await.unwrap();
    }
    let error = bus.wait_for("order.placed", 2, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(r#"1 of 2 events of type "order.placed" within 20s"#), "{error}");
    assert_eq!(error.context_value("published"), Some("order.failed,order.placed"));
}

#[tokio::test]
async fn what_is_delivered_again_is_remembered_once() {
    let bus = RecordingBus::new();
    let failing = |ctx: Context| async move { if ctx.attempt() < 3 { Err(HandlerError::retry("not yet")) } else { Ok(()) } };
    bus.on(Subscribe::to("a").retry(Retry::fixed(Duration::from_millis(1))), failing).await.unwrap();
    bus.publish(event("a")).await.unwrap();
    settle(&bus, LONG).await.unwrap();
    assert_eq!(bus.events().len(), 1);
}

#[test]
#[should_panic(expected = "pattern")]
fn a_pattern_that_is_none_is_a_mistake_of_the_test() {
    let _ = RecordingBus::new().has_event("order..placed");
}
