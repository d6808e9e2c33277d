//! Buses that break a promise of publishing.

use crate::harness::{Fault, caught, caught_beside};
use async_trait::async_trait;
use eventbus_core::{Bus, Capabilities, Error, ErrorKind, Event, Receipt, Result};
use eventbus_memory::MemoryBuilder;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

struct LosesOneOfAHundred(Mutex<u64>);

#[async_trait]
impl Fault for LosesOneOfAHundred {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        let count = {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            *count
        };
        if count.is_multiple_of(100) { Ok(()) } else { bus.publish(event).await }
    }
}

#[test]
fn a_bus_that_loses_one_event_of_a_hundred() {
    caught(
        || LosesOneOfAHundred(Mutex::default()),
        "routing::many_publishers_and_subscribers_miss_nothing",
        "for 1000 deliveries, got 990",
    );
}

struct SaysOkBeforeItHasTheEvent;

#[async_trait]
impl Fault for SaysOkBeforeItHasTheEvent {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        let bus = Arc::clone(bus);
        tokio::spawn(async move { bus.publish(event).await });
        Ok(())
    }
}

#[test]
fn a_bus_that_says_ok_before_it_has_the_event() {
    caught(|| SaysOkBeforeItHasTheEvent, "publish::publishing_waits_for_room_and_then_fails", "went into a buffer of 2");
}

struct SaysOkThoughItIsClosed;

#[async_trait]
impl Fault for SaysOkThoughItIsClosed {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        bus.publish(event).await.or_else(|error| if error.kind() == ErrorKind::Closed { Ok(()) } else { Err(error) })
    }
}

#[test]
fn a_bus_that_says_ok_though_it_is_closed() {
    caught(|| SaysOkThoughItIsClosed, "publish::a_closed_bus_refuses_everything", "`Result::unwrap_err()` on an `Ok` value");
}

struct StopsABatchAtItsFirstFailure;

#[async_trait]
impl Fault for StopsABatchAtItsFirstFailure {
    async fn publish_all(&self, bus: &Arc<dyn Bus>, events: Vec<Event>) -> Vec<Result<()>> {
        let (count, mut results) = (events.len(), Vec::new());
        for event in events {
            match bus.publish(event).await {
                Ok(()) => results.push(Ok(())),
                Err(error) => {
                    results.resize_with(count, || Err(error.clone()));
                    break;
                }
            }
        }
        results
    }
}

#[test]
fn a_bus_that_stops_a_batch_at_its_first_failure() {
    caught(|| StopsABatchAtItsFirstFailure, "publish::every_event_of_a_batch_has_a_result", "result 51: Err");
}

struct PublishesOnlyWhereTheReceiptIsAwaited;

#[async_trait]
impl Fault for PublishesOnlyWhereTheReceiptIsAwaited {
    async fn enqueue(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<Receipt> {
        let bus = Arc::clone(bus);
        Ok(Receipt::new(async move { bus.publish(event).await }))
    }
}

#[test]
fn a_bus_that_publishes_only_where_the_receipt_is_awaited() {
    let case = "publish::an_enqueued_event_is_acknowledged_and_delivered";
    caught(|| PublishesOnlyWhereTheReceiptIsAwaited, case, "for 50 deliveries, got 25");
}

struct GivesIdsOfItsOwn;

#[async_trait]
impl Fault for GivesIdsOfItsOwn {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        let minted = Event::json("minted", 0)?;
        bus.publish(event.with_id(minted.id())).await
    }
}

#[test]
fn a_bus_that_gives_ids_of_its_own() {
    caught(
        || GivesIdsOfItsOwn,
        "publish::an_id_is_kept_on_every_delivery_and_in_the_dead_letter",
        r#"right: ("order 7/ä#?%\"x\"", "/shop")"#,
    );
}

/// Remembers nothing for a window, and knows it.
struct Forgetful;

impl Fault for Forgetful {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder.dedup_window(Duration::ZERO)
    }
}

struct StoresDuplicatesThoughItClaimsAWindow;

impl Fault for StoresDuplicatesThoughItClaimsAWindow {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder.dedup_window(Duration::ZERO)
    }

    fn declare(&self, capabilities: &mut Capabilities) {
        capabilities.dedup_window = Some(Duration::from_secs(60));
    }
}

#[test]
fn a_bus_that_stores_duplicates_though_it_claims_a_window() {
    caught(|| StoresDuplicatesThoughItClaimsAWindow, "publish::the_same_source_and_id_is_stored_once", "more was delivered than expected");
}

struct RemembersForTooLong;

impl Fault for RemembersForTooLong {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder.dedup_window(Duration::from_secs(60))
    }

    fn declare(&self, capabilities: &mut Capabilities) {
        // What the case asks for.
        capabilities.dedup_window = Some(Duration::from_millis(300));
    }
}

#[test]
fn a_bus_that_remembers_ids_beyond_its_window() {
    caught(|| RemembersForTooLong, "publish::after_the_window_an_id_is_accepted_again", "for 2 deliveries, got 1");
}

struct DedupsWithoutSayingSo;

impl Fault for DedupsWithoutSayingSo {
    fn declare(&self, capabilities: &mut Capabilities) {
        capabilities.dedup_window = None;
    }
}

#[test]
fn a_bus_that_dedups_without_saying_so() {
    let case = "publish::without_a_window_the_same_event_is_delivered_twice";
    caught_beside(|| Forgetful, || DedupsWithoutSayingSo, case, "for 2 deliveries, got 1");
}

#[derive(Default)]
struct DedupsByTheIdAlone(Mutex<HashSet<String>>);

#[async_trait]
impl Fault for DedupsByTheIdAlone {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        let new = self.0.lock().unwrap().insert(event.id().to_owned());
        if new { bus.publish(event).await } else { Ok(()) }
    }
}

#[test]
fn a_bus_that_dedups_by_the_id_alone() {
    caught(DedupsByTheIdAlone::default, "publish::the_same_id_of_another_source_is_another_event", "for 4 deliveries, got 3");
}

struct DropsInvalidEventsSilently;

#[async_trait]
impl Fault for DropsInvalidEventsSilently {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        if event.check().is_err() { Ok(()) } else { bus.publish(event).await }
    }
}

#[test]
fn a_bus_that_drops_invalid_events_silently() {
    caught(|| DropsInvalidEventsSilently, "publish::an_invalid_event_is_refused_by_name", "`Result::unwrap_err()` on an `Ok` value");
}

struct ClosesOverATooLargePayload(Mutex<bool>);

#[async_trait]
impl Fault for ClosesOverATooLargePayload {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        if *self.0.lock().unwrap() {
            return Err(Error::closed("publish"));
        }
        let published = bus.publish(event).await;
        if let Err(error) = &published {
            *self.0.lock().unwrap() = matches!(error.kind(), ErrorKind::TooLarge { .. });
        }
        published
    }
}

#[test]
fn a_bus_whose_connection_does_not_survive_a_too_large_payload() {
    let case = "publish::a_payload_over_the_limit_is_refused_and_the_next_publish_works";
    caught(|| ClosesOverATooLargePayload(Mutex::default()), case, "closed");
}
