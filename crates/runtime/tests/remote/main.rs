//! The bus over a server, on a server that does what it is told.

mod script;

use self::script::{Next, Script};
use eventbus_core::{Bus, DeadLetterFilter, ErrorKind, Event, Subscribe};
use eventbus_runtime::BusExt;
use std::time::Duration;
use tokio::time::Instant;

const AWAY: ErrorKind = ErrorKind::Unavailable;

fn numbered(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_again_under_the_same_id() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.will([Next::NotSent(AWAY), Next::AnswerLost, Next::Refused(ErrorKind::Timeout)]);
    bus.publish(numbered(1)).await.unwrap();
    assert_eq!(script.numbers(), [1], "the server knew the id");
    assert_eq!(script.server().attempts, 4);
    let stats = bus.stats().await.unwrap();
    assert_eq!((stats.published, stats.duplicates, stats.refused), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_an_error_when_the_publish_timeout_is_over() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    for next in [Next::NotSent(AWAY), Next::Silence] {
        let begun = Instant::now();
        script.will([next; 1000]);
        let event = numbered(1);
        let error = bus.publish(event.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "publish"));
        assert_eq!(error.context_value("id"), Some(event.id()));
        let took = begun.elapsed();
        assert!(took <= Duration::from_secs(10) && took >= Duration::from_secs(7), "{took:?}");
        script.server().next.clear();
    }
    bus.publish(numbered(2)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_are_never_hot() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.will([Next::NotSent(AWAY); 1000]);
    bus.publish(numbered(1)).await.unwrap_err();
    assert!(script.server().attempts < 20, "{} attempts in ten seconds", script.server().attempts);
}

#[tokio::test(start_paused = true)]
async fn what_no_attempt_can_help_is_told_at_once() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    for kind in [ErrorKind::Denied, ErrorKind::Full { limit: 3 }, ErrorKind::TooLarge { limit: 1, size: 2 }] {
        let begun = Instant::now();
        script.will([Next::Refused(kind)]);
        assert_eq!(bus.publish(numbered(1)).await.unwrap_err().kind(), kind);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
    assert_eq!(bus.stats().await.unwrap().refused, 3);
}

#[tokio::test(start_paused = true)]
async fn each_event_of_many_has_its_own_outcome() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.will([Next::Refused(ErrorKind::Denied), Next::AnswerLost]);
    let events =
        vec![numbered(0), Event::builder("a").id("").build().unwrap_or_else(|_| numbered(0).with_id("")), numbered(1), numbered(2)];
    let kinds: Vec<_> = bus.publish_all(events).await.into_iter().map(|outcome| outcome.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [Some(ErrorKind::Denied), Some(ErrorKind::Invalid), None, None]);
    assert_eq!(script.numbers(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn enqueued_events_are_bounded_and_keep_their_order() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.max_in_flight = 2);
    script.hold_acks();
    let first = bus.enqueue(numbered(1)).await.unwrap();
    let second = bus.enqueue(numbered(2)).await.unwrap();
    let third = tokio::spawn({
        let bus = bus.clone();
        async move { bus.enqueue(numbered(3)).await.unwrap().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.numbers(), [1, 2], "there is no room for a third");
    script.release_acks();
    first.await.unwrap();
    second.await.unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(script.numbers(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn enqueued_events_are_bounded_in_bytes() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.max_in_flight_bytes = 4096);
    script.hold_acks();
    let large = || Event::builder("a").bytes("x/y", vec![0; 3000]).build().unwrap();
    let _first = bus.enqueue(large()).await.unwrap();
    let error = bus.enqueue(large()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    script.release_acks();
    bus.flush().await.unwrap();
    bus.enqueue(Event::builder("a").bytes("x/y", vec![0; 100_000]).build().unwrap()).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_all_and_tells_what_no_receipt_told() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.hold_acks();
    script.will([Next::Refused(ErrorKind::Denied), Next::Refused(ErrorKind::Denied), Next::AnswerLost]);
    let told = bus.enqueue(numbered(1)).await.unwrap();
    drop(bus.enqueue(numbered(2)).await.unwrap());
    drop(bus.enqueue(numbered(3)).await.unwrap());
    let flush = tokio::spawn({
        let bus = bus.clone();
        async move { bus.flush().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!flush.is_finished());
    script.release_acks();
    assert_eq!(flush.await.unwrap().unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(told.await.unwrap_err().kind(), ErrorKind::Denied);
    bus.flush().await.unwrap();
    assert_eq!(script.numbers(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_publishes_and_then_for_nothing() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.hold_acks();
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(numbered(1)).await }
    });
    let enqueued = bus.enqueue(numbered(2)).await.unwrap();
    tokio::task::yield_now().await;
    let closing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.close().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!closing.is_finished());
    assert_eq!(bus.publish(numbered(3)).await.unwrap_err().kind(), ErrorKind::Closed);
    script.release_acks();
    closing.await.unwrap().unwrap();
    publishing.await.unwrap().unwrap();
    enqueued.await.unwrap();
    bus.close().await.unwrap();
    assert_eq!(script.server().closed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_cannot_flush_says_so_at_its_deadline() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.publish_timeout = Duration::from_secs(600));
    script.hold_acks();
    let receipt = bus.enqueue(numbered(1)).await.unwrap();
    let begun = Instant::now();
    let error = bus.close().await.unwrap_err();
    assert_eq!((error.kind(), error.context_value("unpublished")), (ErrorKind::Timeout, Some("1")));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    script.release_acks();
    receipt.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_waits_for_a_server_ends_with_the_bus() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.close_timeout = Duration::from_secs(1));
    script.will([Next::NotSent(AWAY); 1000]);
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(numbered(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    bus.close().await.unwrap_err();
    assert_eq!(publishing.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_survives_a_start_that_fails() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.hold = Some(10));
    for number in 0..5 {
        bus.publish(numbered(number)).await.unwrap();
    }
    script.will([Next::AnswerLost, Next::Refused(ErrorKind::Denied), Next::NotSent(AWAY), Next::NotSent(AWAY), Next::NotSent(AWAY)]);
    script.will([Next::NotSent(AWAY); 1000]);
    assert_eq!(bus.start().await.unwrap_err().kind(), AWAY);
    script.server().next.clear();
    bus.start().await.unwrap();
    bus.publish(numbered(5)).await.unwrap();
    let mut numbers = script.numbers();
    numbers.dedup();
    assert!(numbers.ends_with(&[2, 3, 4, 5]) && numbers.starts_with(&[0]), "{numbers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_holds_back_only_what_was_not_stored() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.hold = Some(2));
    bus.publish(numbered(0)).await.unwrap();
    bus.publish(numbered(1)).await.unwrap();
    script.will([Next::NotSent(AWAY), Next::Stored]);
    script.will([Next::NotSent(AWAY); 1000]);
    assert_eq!(bus.start().await.unwrap_err().kind(), AWAY);
    bus.publish(numbered(2)).await.expect("what was stored makes room");
    script.server().next.clear();
    bus.start().await.unwrap();
    assert_eq!(script.numbers(), [1, 0, 2]);
    assert_eq!(bus.stats().await.unwrap().duplicates, 0, "nothing was published twice");
}

#[tokio::test(start_paused = true)]
async fn many_events_keep_the_publish_timeout_where_no_answer_comes() {
    let script = Script::new();
    let held = script.bus(|settings| settings.hold = Some(10));
    held.publish(numbered(0)).await.unwrap();
    let bus = script.bus(|_| {});
    script.will([Next::Silence; 1000]);
    let begun = Instant::now();
    let outcomes = tokio::time::timeout(Duration::from_secs(60), bus.publish_all(vec![numbered(1), numbered(2)])).await;
    let kinds: Vec<_> = outcomes.unwrap().into_iter().map(|outcome| outcome.unwrap_err().kind()).collect();
    assert_eq!(kinds, [AWAY; 2]);
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), held.start()).await.unwrap().unwrap_err().kind(), AWAY);
    assert!(begun.elapsed() <= Duration::from_secs(20), "{:?} for two calls of ten seconds at the most", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_many_events_none_overtakes_one_that_could_not_be_sent() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    script.will([Next::Stored, Next::NotSent(AWAY)]);
    for outcome in bus.publish_all((0..4).map(numbered).collect()).await {
        outcome.unwrap();
    }
    assert_eq!(script.numbers(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn subscriptions_end_with_the_bus_and_with_its_last_handle() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    let closed = bus.on("a", |_: Event| async {}).await.unwrap();
    closed.close().await.unwrap();
    assert!(bus.stats().await.unwrap().subscriptions.is_empty());
    let left = bus.on(Subscribe::to("a").group("g"), |_: Event| async {}).await.unwrap();
    drop(bus);
    left.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_dropped_while_its_server_is_away_ends_after_the_close_timeout() {
    let script = Script::new();
    let bus = script.bus(|settings| settings.close_timeout = Duration::from_secs(5));
    script.server().never_settles = true;
    let (handled, mut handles) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |_: Event| {
        let _ = handled.send(());
        async {}
    };
    let subscription = bus.on("a", handler).await.unwrap();
    handles.recv().await.unwrap();
    let begun = Instant::now();
    drop(bus);
    tokio::time::timeout(Duration::from_secs(600), subscription.ended()).await.unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn letters_are_read_page_by_page_as_far_as_needed() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    for place in 0..1000 {
        script.bury(place, numbered(place), if place % 100 == 7 { "rare" } else { "usual" });
    }
    let letters = bus.dead_letters().unwrap();
    assert_eq!(letters.list(DeadLetterFilter::all()).await.unwrap().len(), 1000);
    let rare = letters.list(DeadLetterFilter::all().of_subscription("rare")).await.unwrap();
    assert_eq!(
        rare.iter().map(|letter| *letter.event.decode::<u64>().unwrap()).collect::<Vec<_>>(),
        (0..10).map(|n| n * 100 + 7).collect::<Vec<_>>()
    );
    script.server().pages = 0;
    assert_eq!(letters.list(DeadLetterFilter::all().limit(3)).await.unwrap().len(), 3);
    assert_eq!(script.server().pages, 1, "no page is read for nothing");
    assert_eq!(letters.remove(DeadLetterFilter::all().of_subscription("rare").limit(2)).await.unwrap(), 2);
    assert_eq!(script.server().letters.len(), 998);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_that_fails_keeps_what_was_not_published() {
    let script = Script::new();
    let bus = script.bus(|_| {});
    for place in 0..3 {
        script.bury(place, numbered(place), "s");
    }
    script.will([Next::Silence, Next::Refused(ErrorKind::Denied)]);
    let letters = bus.dead_letters().unwrap();
    let error = letters.redrive(DeadLetterFilter::all()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation(), error.context_value("redriven")), (ErrorKind::Denied, "redrive", Some("1")));
    assert_eq!(script.server().letters.len(), 2);
    assert_eq!(letters.redrive(DeadLetterFilter::all()).await.unwrap(), 2);
    assert_eq!(script.server().republished, [0, 1, 2]);
}
