//! Lines 14 and 15: events that are given up, and what cannot be read.

use super::{
    run::Outcome,
    story::{
        Story, all, bus, event_type, hopeless, letters, needs, numbered, numbers, pattern, publish_numbers, queued, quick, quiet, soon,
        sorted, subscribe, until,
    },
};
use crate::{Probe, Seen};
use eventbus_core::{
    Data, DeadLetter, DeadLetterFilter, DeadLetterReason, Event, EventData, HandlerError, IntoHandler, Ordering, Payload, Subscribe,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

pub(super) async fn after_the_last_attempt_the_event_is_a_dead_letter(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    for attempts in [1, 3] {
        let event_type = format!("after.n{attempts}");
        let probe = hopeless();
        let subscription = subscribe(&*bus, Subscribe::to(event_type.as_str()).retry(quick(attempts)), &probe).await;
        publish_numbers(&*bus, &event_type, 0..3).await;
        all(&*bus, &probe, 3 * attempts as usize).await;
        let found = bus.dead_letters().unwrap().list(DeadLetterFilter::all().of_type(pattern(&event_type))).await.unwrap();
        assert_eq!(found.len(), 3, "each event is one dead letter");
        assert!(found.iter().all(|letter| letter.attempts == attempts && letter.reason == DeadLetterReason::Exhausted), "{found:?}");
        assert_eq!(subscription.stats().dead_lettered, 3);
    }
    Outcome::Done
}

pub(super) async fn a_rejected_event_is_a_dead_letter_at_once(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, dead_letters);
    let probe = Probe::with(|_, _| async { Err(HandlerError::reject("not for me")) });
    subscribe(&*bus, Subscribe::to("a").retry(quick(10)), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    all(&*bus, &probe, 1).await;
    let letters = letters(&*bus).await;
    assert_eq!((letters.len(), letters[0].reason, letters[0].attempts), (1, DeadLetterReason::Rejected, 1));
    Outcome::Done
}

pub(super) async fn a_dead_letter_tells_its_story(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|ctx, _| async move { Err(HandlerError::retry(format!("failure {}", ctx.attempt()))) });
    subscribe(&*bus, Subscribe::to("a").name("the one").retry(quick(2)), &probe).await;
    let event = Event::builder("a")
        .id("e-1")
        .source("/shop")
        .subject("s")
        .bytes("application/x-odd", vec![0, 1, 2, 255])
        .correlation("c")
        .user("u")
        .metadata("k", 1)
        .extension("ext", "x")
        .build()
        .unwrap();
    let before = std::time::SystemTime::now();
    bus.publish(event.clone()).await.unwrap();
    all(&*bus, &probe, 2).await;
    let letters = letters(&*bus).await;
    let [letter] = &letters[..] else { panic!("one dead letter, not {letters:?}") };
    assert_eq!(letter.event, event, "the event is as it was published");
    assert_eq!(letter.event.data().to_bytes().unwrap(), event.data().to_bytes().unwrap());
    assert_eq!((letter.reason, letter.attempts, letter.subscription.as_str()), (DeadLetterReason::Exhausted, 2, "the one"));
    assert!(letter.error.contains("failure 2"), "the last error: {}", letter.error);
    // Brokers may keep fewer digits than this clock has.
    assert!(
        letter.time.to_system_time() + Duration::from_millis(5) >= before
            && letter.time.to_system_time() <= std::time::SystemTime::now() + Duration::from_millis(5)
    );
    Outcome::Done
}

pub(super) async fn a_dead_letter_is_filtered_and_removed(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, dead_letters);
    let probe = Probe::with(|_, _| async { Err(HandlerError::reject("no")) });
    subscribe(&*bus, Subscribe::to("a.*").name("one"), &probe).await;
    subscribe(&*bus, Subscribe::to("b").name("two"), &probe).await;
    publish_numbers(&*bus, "a.x", 0..3).await;
    publish_numbers(&*bus, "a.y", 3..5).await;
    bus.publish(numbered("b", 5).with_id("the-b")).await.unwrap();
    all(&*bus, &probe, 6).await;
    let store = bus.dead_letters().unwrap();
    let list = async |filter: DeadLetterFilter| {
        let letters = store.list(filter).await.unwrap();
        letters.iter().map(|letter| *letter.event.decode::<u64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list(DeadLetterFilter::all()).await.len(), 6);
    assert_eq!(list(DeadLetterFilter::all().of_type(pattern("a.*"))).await, [0, 1, 2, 3, 4], "the oldest first");
    assert_eq!(list(DeadLetterFilter::all().of_type(pattern("a.y"))).await, [3, 4]);
    assert_eq!(list(DeadLetterFilter::all().of_subscription("two")).await, [5]);
    assert_eq!(list(DeadLetterFilter::all().of_event("the-b")).await, [5]);
    assert_eq!(list(DeadLetterFilter::all().of_type(pattern("a.*")).limit(2)).await, [0, 1]);
    assert!(list(DeadLetterFilter::all().of_subscription("nobody")).await.is_empty());
    assert_eq!(store.remove(DeadLetterFilter::all().of_type(pattern("a.x")).limit(2)).await.unwrap(), 2);
    assert_eq!(list(DeadLetterFilter::all()).await.len(), 4);
    assert_eq!(store.remove(DeadLetterFilter::all()).await.unwrap(), 4);
    assert_eq!(store.remove(DeadLetterFilter::all()).await.unwrap(), 0);
    assert!(list(DeadLetterFilter::all()).await.is_empty());
    Outcome::Done
}

pub(super) async fn redriving_delivers_again_under_the_same_id(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let mended = Arc::new(AtomicUsize::new(0));
    let probe = Probe::with({
        let mended = Arc::clone(&mended);
        move |_, _| {
            let broken = mended.load(SeqCst) == 0;
            async move { if broken { Err(HandlerError::retry("broken")) } else { Ok(()) } }
        }
    });
    subscribe(&*bus, Subscribe::to("a").retry(quick(2)), &probe).await;
    let event = numbered("a", 7).with_id("e-7").with_user("u");
    bus.publish(event.clone()).await.unwrap();
    publish_numbers(&*bus, "a", 8..10).await;
    all(&*bus, &probe, 6).await;
    let store = bus.dead_letters().unwrap();
    // Still broken: it comes back as one letter again, not as two.
    assert_eq!(store.redrive(DeadLetterFilter::all().of_event("e-7")).await.unwrap(), 1);
    all(&*bus, &probe, 8).await;
    assert_eq!(letters(&*bus).await.len(), 3);
    mended.store(1, SeqCst);
    assert_eq!(store.redrive(DeadLetterFilter::all()).await.unwrap(), 3);
    let seen = all(&*bus, &probe, 11).await;
    let again = seen[8..].iter().find(|seen| seen.id() == "e-7").expect("the letter's event is delivered");
    assert_eq!((again.attempt, &again.event), (1, &event), "attempts begin anew, and the event is as it was");
    assert!(letters(&*bus).await.is_empty(), "what was redriven is no longer a dead letter");
    Outcome::Done
}

pub(super) async fn two_redrives_at_once_deliver_once(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let mended = Arc::new(AtomicUsize::new(0));
    let probe = Probe::with({
        let mended = Arc::clone(&mended);
        move |_, _| {
            let broken = mended.load(SeqCst) == 0;
            async move { if broken { Err(HandlerError::reject("broken")) } else { Ok(()) } }
        }
    });
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..50).await;
    all(&*bus, &probe, 50).await;
    mended.store(1, SeqCst);
    let redriving = (0..4).map(|_| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move { bus.dead_letters().unwrap().redrive(DeadLetterFilter::all()).await.unwrap() })
    });
    let mut redriven = 0;
    for task in redriving.collect::<Vec<_>>() {
        redriven += task.await.unwrap();
    }
    assert_eq!(redriven, 50);
    let seen = all(&*bus, &probe, 100).await;
    assert_eq!(sorted(seen[50..].iter().map(Seen::number).collect()), numbers(0..50));
    Outcome::Done
}

pub(super) async fn a_redrive_of_what_fails_again_ends(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let broken = Probe::with(|_, _| async { Err(HandlerError::reject("broken")) });
    subscribe(&*bus, "a", &broken).await;
    publish_numbers(&*bus, "a", 0..5).await;
    all(&*bus, &broken, 5).await;
    let redrive = bus.dead_letters().unwrap().redrive(DeadLetterFilter::all());
    assert_eq!(soon("the end of the redrive", redrive).await.unwrap(), 5, "what becomes a letter meanwhile is not meant");
    all(&*bus, &broken, 10).await;
    assert_eq!(letters(&*bus).await.len(), 5);
    Outcome::Done
}

pub(super) async fn no_pattern_matches_dead_letters(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, dead_letters);
    let everything = Probe::new();
    let rejecting = Probe::with(|_, _| async { Err(HandlerError::reject("no")) });
    subscribe(&*bus, ">", &everything).await;
    subscribe(&*bus, "a", &rejecting).await;
    publish_numbers(&*bus, "a", 0..5).await;
    all(&*bus, &rejecting, 5).await;
    all(&*bus, &everything, 5).await;
    assert_eq!(letters(&*bus).await.len(), 5);
    Outcome::Done
}

pub(super) async fn a_dead_letter_can_be_published_under_a_type(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let target = event_type("order.dead");
    let undertaker = Probe::new();
    let probe = hopeless();
    subscribe(&*bus, "order.dead", &undertaker).await;
    subscribe(&*bus, Subscribe::to("order.placed").name("billing").retry(quick(2)).dead_letter(DeadLetter::publish(target)), &probe).await;
    let event = numbered("order.placed", 1).with_id("o-1").with_user("u");
    bus.publish(event.clone()).await.unwrap();
    all(&*bus, &probe, 2).await;
    let seen = all(&*bus, &undertaker, 1).await;
    assert_eq!(seen[0].id(), "o-1", "the id stays, though it was published within the dedup window");
    let letter = DeadLetter::from_event(&seen[0].event).unwrap();
    assert_eq!(
        (letter.event, letter.attempts, letter.subscription.as_str(), letter.reason),
        (event, 2, "billing", DeadLetterReason::Exhausted)
    );
    if bus.capabilities().dead_letters {
        assert!(letters(&*bus).await.is_empty(), "it is published instead of being stored");
    }
    Outcome::Done
}

pub(super) async fn a_discarded_event_is_counted_and_gone(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = hopeless();
    let subscription = subscribe(&*bus, Subscribe::to("a").retry(quick(2)).dead_letter(DeadLetter::discard()), &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    all(&*bus, &probe, 6).await;
    assert_eq!(subscription.stats().dead_lettered, 3);
    if bus.capabilities().dead_letters {
        assert!(letters(&*bus).await.is_empty());
    }
    Outcome::Done
}

pub(super) async fn a_dead_letter_that_cannot_be_stored_keeps_its_event(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story, max_dead_letters: Some(2));
    needs!(bus, redelivery, dead_letters);
    let probe =
        Probe::with(|_, event| async move { if *event.decode::<u64>().unwrap() < 3 { Err(HandlerError::reject("no")) } else { Ok(()) } });
    let subscription = subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered), &probe).await;
    let mut errors = bus.errors();
    publish_numbers(&*bus, "a", 0..5).await;
    // Two letters fit; the third event stays, is counted, is reported, and holds up nobody.
    until("the failure to store the third", || {
        let stats = subscription.stats();
        // It is tried again and again, and counted while it is.
        stats.dead_letter_failures > 0 && (stats.acked, stats.dead_lettered, stats.lag) == (2, 2, Some(1))
    })
    .await;
    loop {
        let error = soon("a report of the failure", errors.next()).await.expect("the failure is reported");
        if error.operation() == "dead_letter" {
            break;
        }
    }
    // When there is room, it is stored, once.
    assert_eq!(bus.dead_letters().unwrap().remove(DeadLetterFilter::all()).await.unwrap(), 2);
    quiet(&*bus).await;
    assert_eq!(letters(&*bus).await.len(), 1);
    assert_eq!(probe.count(), 5, "its handler did not run again");
    Outcome::Done
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u64,
}

impl EventData for Order {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 2;
}

pub(super) async fn poison_goes_to_the_dead_letters_and_its_neighbours_are_delivered(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, dead_letters);
    let handled = Arc::new(AtomicUsize::new(0));
    let handler = {
        let handled = Arc::clone(&handled);
        move |Data(_): Data<Order>| {
            handled.fetch_add(1, SeqCst);
            async {}
        }
    };
    let subscription = bus.subscribe(Subscribe::to("order.*").retry(quick(5)), Arc::new(handler.into_handler())).await.unwrap();
    let raw = |event_type: &str, content_type: &str, data: &'static [u8]| {
        Event::builder(event_type).payload(Payload::bytes(content_type, data).unwrap()).build().unwrap()
    };
    let poison = [
        raw("order.placed", "application/json", b"{\"number\":"),
        raw("order.placed", "application/json", b"{\"number\":\"seven\"}"),
        raw("order.placed", "application/json", b"\xff\xfe"),
        raw("order.placed", "application/octet-stream", b"\0\x01"),
        Event::builder("order.placed").build().unwrap(),
        Event::json("order.cancelled", Order { number: 1 }).unwrap(),
        Event::new(Order { number: 1 }).with_schema_version(3),
    ];
    for event in &poison {
        bus.publish(Event::new(Order { number: 1 })).await.unwrap();
        bus.publish(event.clone()).await.unwrap();
        bus.publish(Event::new(Order { number: 1 }).with_schema_version(1)).await.unwrap();
    }
    quiet(&*bus).await;
    assert_eq!(handled.load(SeqCst), poison.len() * 2, "every good one is handled");
    let letters = letters(&*bus).await;
    assert_eq!(letters.len(), poison.len(), "every bad one is a dead letter, once: {letters:?}");
    for (letter, event) in letters.iter().zip(&poison) {
        assert_eq!(letter.event, *event);
        assert_eq!(letter.event.data().to_bytes().unwrap(), event.data().to_bytes().unwrap(), "as it was received");
        assert_eq!((letter.attempts, letter.reason), (1, DeadLetterReason::Rejected), "trying again cannot help");
    }
    assert_eq!(subscription.stats().retried, 0);
    Outcome::Done
}
