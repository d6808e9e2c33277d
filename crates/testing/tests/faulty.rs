//! The bus that fails where a test wants it to.

use eventbus_core::{Bus, Context, ErrorKind, Event, HandlerError, IntoBatchHandler, Retry, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_testing::{FaultyBus, Probe, Seen, settle};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn bus() -> FaultyBus {
    FaultyBus::around(Arc::new(MemoryBus::new()))
}

fn event(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

/// A probe of everything, tried again soon.
async fn probed(bus: &FaultyBus) -> Probe {
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a").retry(Retry::fixed(Duration::from_millis(1))), Arc::new(probe.clone())).await.unwrap();
    probe
}

async fn publish(bus: &FaultyBus, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bus.publish(event(number)).await.unwrap();
    }
}

fn attempts(seen: &[Seen]) -> Vec<(u64, u32)> {
    seen.iter().map(|seen| (seen.number(), seen.attempt)).collect()
}

#[tokio::test]
async fn the_nth_publish_fails_and_its_event_is_not_delivered() {
    let bus = bus();
    let probe = probed(&bus).await;
    bus.fail_publish(2);
    bus.fail_publish(4);
    bus.publish(event(1)).await.unwrap();
    let error = bus.publish(event(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation(), error.is_retryable()), (ErrorKind::Unavailable, "publish", true));
    let results = bus.publish_all(vec![event(3), event(4), event(5)]).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    settle(&bus, LONG).await.unwrap();
    assert_eq!(probe.numbers(), [1, 3, 5]);
    assert_eq!(bus.publishes(), 5);
}

#[tokio::test]
async fn what_was_enqueued_can_fail_too() {
    let bus = bus();
    bus.fail_publish(1);
    assert_eq!(bus.enqueue(event(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    bus.enqueue(event(2)).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_publish_whose_receipt_is_lost_can_be_tried_again_without_a_second_delivery() {
    let bus = bus();
    let probe = probed(&bus).await;
    bus.lose_receipt(1);
    let event = event(7);
    assert_eq!(bus.publish(event.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    bus.publish(event).await.unwrap();
    settle(&bus, LONG).await.unwrap();
    assert_eq!(probe.numbers(), [7], "the id is the same, so that the event is stored once");
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_held_up() {
    let bus = bus();
    bus.delay_publish(2, SECOND);
    let begun = Instant::now();
    bus.publish(event(1)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    bus.publish(event(2)).await.unwrap();
    assert!(begun.elapsed() >= SECOND);
}

#[tokio::test]
async fn an_event_whose_acknowledgement_is_lost_comes_again() {
    let bus = bus();
    let probe = probed(&bus).await;
    bus.drop_ack(2);
    publish(&bus, 1..4).await;
    settle(&bus, LONG).await.unwrap();
    assert_eq!(attempts(&probe.seen()), [(1, 1), (2, 1), (2, 2), (3, 1)]);
    assert_eq!(bus.deliveries(), 4);
}

#[tokio::test]
async fn an_event_is_delivered_twice() {
    let bus = bus();
    let probe = probed(&bus).await;
    bus.duplicate(1);
    publish(&bus, 1..3).await;
    settle(&bus, LONG).await.unwrap();
    assert_eq!(attempts(&probe.seen()), [(1, 1), (1, 1), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_held_up() {
    let bus = bus();
    let probe = probed(&bus).await;
    bus.delay_delivery(2, SECOND);
    let begun = Instant::now();
    publish(&bus, 1..3).await;
    let seen = probe.wait(2).await;
    assert!(seen[0].at - begun < SECOND && seen[1].at - begun >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn each_event_of_a_batch_has_its_fault() {
    let bus = bus();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |events: Vec<Event>| {
            seen.lock().unwrap().extend(events.iter().map(|event| *event.decode::<u64>().unwrap()));
            async move { events.iter().map(|_| Ok::<_, HandlerError>(())).collect::<Vec<_>>() }
        }
    };
    let subscribe = Subscribe::to("a").batch(3, SECOND).retry(Retry::fixed(Duration::from_millis(1)));
    bus.drop_ack(2);
    bus.duplicate(3);
    bus.subscribe(subscribe, Arc::new(handler.into_batch_handler())).await.unwrap();
    publish(&bus, 1..4).await;
    settle(&bus, LONG).await.unwrap();
    // All three at once, the third twice, and the second once more.
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 3, 2]);
}

#[tokio::test]
async fn without_a_connection_nothing_goes_through_until_there_is_one_again() {
    let bus = bus();
    let probe = probed(&bus).await;
    publish(&bus, 1..2).await;
    settle(&bus, LONG).await.unwrap();
    bus.disconnect();
    let unavailable = |error: eventbus_core::Error| assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    unavailable(bus.publish(event(2)).await.unwrap_err());
    unavailable(bus.enqueue(event(2)).await.unwrap_err());
    unavailable(bus.publish_all(vec![event(2)]).await.remove(0).unwrap_err());
    unavailable(bus.health().await.unwrap_err());
    unavailable(bus.dead_letters().map(|_| ()).unwrap_err());
    unavailable(bus.replies().map(|_| ()).unwrap_err());
    bus.reconnect();
    bus.health().await.unwrap();
    publish(&bus, 3..4).await;
    settle(&bus, LONG).await.unwrap();
    assert_eq!(probe.numbers(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_an_outage_is_delivered_after_it() {
    let inner: Arc<dyn Bus> = Arc::new(MemoryBus::new());
    let bus = FaultyBus::around(Arc::clone(&inner));
    let probe = probed(&bus).await;
    bus.disconnect();
    // Others still reach the broker.
    inner.publish(event(1)).await.unwrap();
    let error = settle(&bus, SECOND).await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("outstanding")), (ErrorKind::Timeout, Some("1")));
    assert_eq!(probe.count(), 0);
    bus.reconnect();
    settle(&bus, LONG).await.unwrap();
    assert_eq!(attempts(&probe.seen()), [(1, 1)]);
}

#[tokio::test]
async fn what_a_handler_publishes_fails_too() {
    let bus = bus();
    let effects = probed(&bus).await;
    let cause = Probe::with(|ctx: Context, _| async move { Ok(ctx.publish(event(9)).await?) });
    let subscribe = Subscribe::to("cause").retry(Retry::fixed(Duration::from_millis(1)));
    bus.subscribe(subscribe, Arc::new(cause.clone())).await.unwrap();
    bus.fail_publish(2);
    bus.publish(Event::json("cause", 0).unwrap()).await.unwrap();
    settle(&bus, LONG).await.unwrap();
    assert_eq!(attempts(&cause.seen()), [(0, 1), (0, 2)], "the handler's own publish was the second");
    assert_eq!(effects.numbers(), [9]);
}
