//! Lines 1 to 5: publishing.

use super::{
    run::Outcome,
    story::{
        Story, all, bus, holds_what_it_promised, needs, numbered, numbers, publish_numbers, queued, quiet, remembers_ids, sorted, subscribe,
    },
};
use crate::{Gate, Probe};
use eventbus_core::{Error, ErrorKind, Event, EventType, Handler, HandlerError, Overflow, Pattern, Payload, Retry, Subscribe};
use std::{sync::Arc, time::Duration};

pub(super) async fn an_accepted_event_is_delivered(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a.b", &probe).await;
    bus.publish(numbered("a.b", 1)).await.unwrap();
    assert_eq!(all(&*bus, &probe, 1).await[0].number(), 1);
    Outcome::Done
}

pub(super) async fn every_event_of_a_batch_has_a_result(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let mut events: Vec<Event> = (0..100).map(|number| numbered("a", number)).collect();
    events[50] = numbered("a", 50).with_source("");
    let results = bus.publish_all(events).await;
    assert_eq!(results.len(), 100);
    for (position, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), position != 50, "result {position}: {result:?}");
    }
    let seen = all(&*bus, &probe, 99).await;
    let expected: Vec<u64> = (0..100).filter(|number| *number != 50).collect();
    assert_eq!(seen.iter().map(crate::Seen::number).collect::<Vec<_>>(), expected, "in their order, and the bad one alone is missing");
    assert!(bus.publish_all(Vec::new()).await.is_empty());
    Outcome::Done
}

pub(super) async fn an_enqueued_event_is_acknowledged_and_delivered(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let mut receipts = Vec::new();
    for number in 0..50 {
        receipts.push(bus.enqueue(numbered("a", number)).await.unwrap());
    }
    // Some receipts are awaited, the others dropped; flush waits for those.
    for receipt in receipts.drain(..25) {
        receipt.await.unwrap();
    }
    drop(receipts);
    bus.flush().await.unwrap();
    all(&*bus, &probe, 50).await;
    assert_eq!(sorted(probe.numbers()), numbers(0..50));
    Outcome::Done
}

pub(super) async fn an_id_is_kept_on_every_delivery_and_in_the_dead_letter(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|_, _| async { Err(HandlerError::retry("always")) });
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(super::story::SOON).max_attempts(3)), &probe).await;
    let id = "order 7/ä#?%\"x\"";
    bus.publish(numbered("a", 1).with_id(id).with_source("/shop")).await.unwrap();
    for seen in all(&*bus, &probe, 3).await {
        assert_eq!((seen.id(), seen.event.source()), (id, "/shop"));
    }
    let letters = bus.dead_letters().unwrap().list(Default::default()).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.event.id()).collect::<Vec<_>>(), [id]);
    Outcome::Done
}

pub(super) async fn an_id_that_was_not_given_is_unique_and_stable(story: Story) -> Outcome {
    let bus = bus!(story);
    let (a, b) = (Probe::new(), Probe::new());
    subscribe(&*bus, "a", &a).await;
    subscribe(&*bus, "a", &b).await;
    publish_numbers(&*bus, "a", 0..200).await;
    all(&*bus, &a, 200).await;
    all(&*bus, &b, 200).await;
    let (mut of_a, mut of_b) = (a.ids(), b.ids());
    of_a.sort();
    of_b.sort();
    assert_eq!(of_a, of_b, "two subscriptions see an event under one id");
    of_a.dedup();
    assert_eq!(of_a.len(), 200, "no two events have one id");
    Outcome::Done
}

pub(super) async fn the_same_source_and_id_is_stored_once(story: Story) -> Outcome {
    let bus = bus!(story);
    if !remembers_ids(bus.capabilities()) {
        return Outcome::Skipped("the bus claims no dedup_window".to_owned());
    }
    let probe = Probe::new();
    subscribe(&*bus, ">", &probe).await;
    // The same event, an equal one, and one that differs in everything but source and id.
    let event = numbered("a", 1).with_source("/s").with_id("1");
    bus.publish(event.clone()).await.unwrap();
    bus.publish(event).await.unwrap();
    bus.publish(numbered("a", 1).with_source("/s").with_id("1")).await.unwrap();
    bus.publish(numbered("b.c", 2).with_source("/s").with_id("1").with_subject("x")).await.unwrap();
    // An id that nobody gave counts, too.
    let minted = numbered("a", 3);
    bus.publish(minted.clone()).await.unwrap();
    bus.publish(minted.clone()).await.unwrap();
    bus.publish(numbered("a", 4).with_id(minted.id())).await.unwrap();
    assert_eq!(all(&*bus, &probe, 2).await.iter().map(crate::Seen::number).collect::<Vec<_>>(), [1, 3]);
    Outcome::Done
}

pub(super) async fn the_same_id_of_another_source_is_another_event(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    // Joined carelessly, the pairs of the second line are one.
    for (source, id) in [("/a", "1"), ("/b", "1"), ("/x#y", "z"), ("/x", "y#z")] {
        bus.publish(numbered("a", 1).with_source(source).with_id(id)).await.unwrap();
    }
    all(&*bus, &probe, 4).await;
    Outcome::Done
}

pub(super) async fn after_the_window_an_id_is_accepted_again(story: Story) -> Outcome {
    let window = Duration::from_millis(300);
    let bus = bus!(story, dedup_window: Some(window));
    if bus.capabilities().dedup_window != Some(window) {
        return Outcome::Skipped("the bus has another dedup_window than was asked for".to_owned());
    }
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let event = numbered("a", 1).with_id("1");
    // At once, so that both are within the window on a busy machine, too.
    for result in bus.publish_all(vec![event.clone(), event.clone()]).await {
        result.unwrap();
    }
    // Time has to pass for a window to end; there is nothing else to wait for.
    tokio::time::sleep(window * 2).await;
    bus.publish(event).await.unwrap();
    all(&*bus, &probe, 2).await;
    Outcome::Done
}

pub(super) async fn without_a_window_the_same_event_is_delivered_twice(story: Story) -> Outcome {
    let bus = bus!(story);
    if remembers_ids(bus.capabilities()) {
        return Outcome::Skipped("the bus claims a dedup_window".to_owned());
    }
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let event = numbered("a", 1).with_id("1");
    bus.publish(event.clone()).await.unwrap();
    bus.publish(event).await.unwrap();
    all(&*bus, &probe, 2).await;
    Outcome::Done
}

pub(super) async fn a_payload_over_the_limit_is_refused_and_the_next_publish_works(story: Story) -> Outcome {
    let bus = bus!(story);
    let limit = bus.capabilities().max_payload;
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let error = bus.publish(sized("a", limit + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge { limit, size: limit + 1 });
    assert!(!error.is_retryable() && error.to_string().contains(&limit.to_string()), "{error}");
    bus.publish(numbered("a", 2)).await.unwrap();
    assert_eq!(all(&*bus, &probe, 1).await[0].number(), 2);
    Outcome::Done
}

pub(super) async fn a_payload_at_the_limit_passes(story: Story) -> Outcome {
    let bus = bus!(story);
    let limit = bus.capabilities().max_payload;
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let event = sized("a", limit);
    bus.publish(event.clone()).await.unwrap();
    let seen = all(&*bus, &probe, 1).await;
    assert_eq!(seen[0].event.data().to_bytes().unwrap(), event.data().to_bytes().unwrap());
    Outcome::Done
}

fn sized(event_type: &str, bytes: usize) -> Event {
    let data: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    Event::builder(event_type).payload(Payload::opaque(data)).build().expect("bytes are data")
}

pub(super) async fn an_invalid_event_is_refused_by_name(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, ">", &probe).await;
    for (event, name) in [
        (numbered("a", 1).with_source(""), "source"),
        (numbered("a", 1).with_source("not a uri"), "source"),
        (numbered("a", 1).with_id(""), "id"),
        (numbered("a", 1).with_id("a\r\nNats-Msg-Id: x"), "id"),
        (numbered("a", 1).with_subject("a\r\nb"), "subject"),
        (numbered("a", 1).with_subject("\0"), "subject"),
        (numbered("a", 1).with_user("\u{7f}"), "userid"),
        (numbered("a", 1).with_schema_version(0), "schemaversion"),
        (numbered("a", 1).with_extension("Not-Valid", 1), "Not-Valid"),
    ] {
        let error: Error = bus.publish(event.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(name), "{error} does not name {name}");
        let queued = match bus.enqueue(event.clone()).await {
            Ok(receipt) => receipt.await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(queued.kind(), ErrorKind::Invalid);
        assert_eq!(bus.publish_all(vec![event]).await[0].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
    }
    bus.publish(numbered("a", 2)).await.unwrap();
    assert_eq!(all(&*bus, &probe, 1).await[0].number(), 2);
    Outcome::Done
}

pub(super) async fn names_are_judged_the_same_everywhere(story: Story) -> Outcome {
    let bus = bus!(story);
    let long = "a".repeat(10_000);
    for name in ["", " ", "*", ">", "a.*", "a.>", ".a", "a.", "a..b", "a b", "a\0b", "a\r\nb", "größe", "🙂", &long, &["a"; 17].join(".")]
    {
        assert_eq!(EventType::new(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    for name in ["", " ", ".a", "a.", "a..b", "a b", "a.>.b", ">.a", "a*", "a>", "a\0b", "🙂", &long] {
        assert_eq!(Pattern::new(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        let refused = bus.subscribe(Subscribe::to(name), Arc::new(Probe::new())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{name:?}");
    }
    // What is valid passes everywhere, however odd.
    let probe = Probe::new();
    subscribe(&*bus, ">", &probe).await;
    let longest = "a".repeat(255);
    let odd = ["A-Z_0", "a:b/c@d+e~f", "CON", "_", "-", &longest, &["x"; 16].join(".")];
    for name in odd {
        bus.publish(numbered(name, 1)).await.unwrap();
    }
    let seen = all(&*bus, &probe, odd.len()).await;
    assert_eq!(seen.iter().map(|seen| seen.event.event_type().as_str()).collect::<Vec<_>>(), odd);
    Outcome::Done
}

pub(super) async fn a_closed_bus_refuses_everything(story: Story) -> Outcome {
    let bus = bus!(story);
    bus.close().await.unwrap();
    let closed = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(!error.is_retryable());
    };
    closed(bus.publish(numbered("a", 1)).await.unwrap_err());
    closed(bus.enqueue(numbered("a", 1)).await.map(|_| ()).unwrap_err());
    closed(bus.publish_all(vec![numbered("a", 1)]).await.remove(0).unwrap_err());
    closed(bus.subscribe(Subscribe::to("a"), Arc::new(Probe::new())).await.map(|_| ()).unwrap_err());
    closed(bus.flush().await.unwrap_err());
    closed(bus.stats().await.map(|_| ()).unwrap_err());
    closed(bus.health().await.map(|_| ()).unwrap_err());
    closed(bus.start().await.unwrap_err());
    if bus.capabilities().dead_letters {
        let letters = bus.dead_letters().unwrap();
        closed(letters.list(Default::default()).await.map(|_| ()).unwrap_err());
        closed(letters.redrive(Default::default()).await.map(|_| ()).unwrap_err());
        closed(letters.remove(Default::default()).await.map(|_| ()).unwrap_err());
    }
    assert!(bus.errors().next().await.is_none(), "the stream of errors ends");
    Outcome::Done
}

/// A handler behind a gate, and a subscription with room for two.
fn narrow(gate: &Gate) -> (Subscribe, impl Handler + Clone + use<>) {
    let gate = gate.clone();
    let probe = Probe::with(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    (Subscribe::to("a").buffer(2).overflow(Overflow::Block), probe)
}

pub(super) async fn publishing_waits_for_room_and_then_fails(story: Story) -> Outcome {
    queued!(story);
    let timeout = Duration::from_millis(300);
    let bus = bus!(story, publish_timeout: timeout);
    if !holds_what_it_promised(&*bus) {
        return Outcome::Skipped("a full subscription of a server stops fetching, or drops, instead".to_owned());
    }
    let gate = Gate::new();
    let (subscription, handler) = narrow(&gate);
    subscribe(&*bus, subscription, &handler).await;
    // One is being handled and two wait, at the most.
    let mut accepted = 0;
    let refused = loop {
        let begun = tokio::time::Instant::now();
        match bus.publish(numbered("a", accepted)).await {
            Ok(()) => accepted += 1,
            Err(error) => break (error, begun.elapsed()),
        }
        assert!(accepted <= 3, "{accepted} events went into a buffer of 2 with one handler");
    };
    assert_eq!(refused.0.kind(), ErrorKind::Timeout);
    assert!(refused.0.is_retryable() && refused.1 >= timeout, "{:?} after {:?}", refused.0, refused.1);
    gate.open();
    quiet(&*bus).await;
    let stats = bus.stats().await.unwrap();
    assert_eq!(stats.subscriptions[0].acked, accepted, "what was accepted was handled, what was refused was not");
    bus.publish(numbered("a", 99)).await.unwrap();
    Outcome::Done
}

pub(super) async fn a_publish_that_waits_goes_on_when_there_is_room(story: Story) -> Outcome {
    let bus = bus!(story);
    if !holds_what_it_promised(&*bus) {
        return Outcome::Skipped("a full subscription of a server stops fetching, or drops, instead".to_owned());
    }
    let gate = Gate::new();
    let (subscription, handler) = narrow(&gate);
    subscribe(&*bus, subscription, &handler).await;
    let publisher = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { publish_numbers(&*bus, "a", 0..20).await }
    });
    // Each one that is let through makes room for one more.
    for passed in 1..=20 {
        gate.let_through(1);
        while bus.stats().await.unwrap().subscriptions[0].acked < passed {
            tokio::task::yield_now().await;
        }
        let stats = bus.stats().await.unwrap();
        assert!(stats.published <= passed + 3, "{} published, {passed} handled", stats.published);
    }
    publisher.await.unwrap();
    quiet(&*bus).await;
    assert_eq!(bus.stats().await.unwrap().subscriptions[0].acked, 20);
    Outcome::Done
}
