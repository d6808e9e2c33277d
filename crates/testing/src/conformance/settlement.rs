//! Lines 11 to 17: acknowledgement, attempts, retries, dead letters.

use super::{
    run::Outcome,
    story::{SOON, Story, all, bus, event_type, needs, numbered, numbers, pattern, publish_numbers, quiet, sorted, subscribe},
};
use crate::{Gate, Probe, Seen};
use eventbus_core::{
    Bus, Context, Data, DeadLetter, DeadLetterFilter, DeadLetterReason, ErrorKind, Event, EventData, HandlerError, IntoBatchHandler, IntoHandler, Ordering, Payload,
    Retry, Subscribe,
};
use eventbus_runtime::BusExt;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::Instant;

async fn letters(bus: &dyn Bus) -> Vec<DeadLetter> {
    bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap()
}

/// Fails always.
fn hopeless() -> Probe {
    Probe::with(|_, _| async { Err(HandlerError::retry("always")) })
}

fn quick(attempts: u32) -> Retry {
    Retry::fixed(SOON).max_attempts(attempts)
}

pub(super) async fn an_event_is_acknowledged_after_its_handler(story: Story) -> Outcome {
    let bus = bus!(story);
    let gate = Gate::new();
    let probe = Probe::with({
        let gate = gate.clone();
        move |_, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(())
            }
        }
    });
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    probe.wait(1).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.in_flight), (0, 1), "while its handler runs, nothing is acknowledged");
    gate.let_through(1);
    probe.wait(2).await;
    assert_eq!(subscription.stats().in_flight, 1);
    gate.open();
    quiet(&*bus).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.in_flight), (3, 0));
    Outcome::Done
}

pub(super) async fn an_acknowledged_event_does_not_come_back(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..20).await;
    all(&*bus, &probe, 20).await;
    subscription.close().await.unwrap();
    if bus.capabilities().groups {
        let group = || Subscribe::to("b").group(story.unique("g"));
        let member = subscribe(&*bus, group(), &probe).await;
        publish_numbers(&*bus, "b", 20..40).await;
        all(&*bus, &probe, 40).await;
        member.close().await.unwrap();
        subscribe(&*bus, group(), &probe).await;
    }
    quiet(&*bus).await;
    let expected = if bus.capabilities().groups { 40 } else { 20 };
    assert_eq!(probe.count(), expected, "nothing comes back after it was acknowledged");
    Outcome::Done
}

pub(super) async fn an_event_in_a_dropped_delivery_comes_back(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let mut stream = bus.stream(Subscribe::to("a").retry(Retry::fixed(SOON))).await.unwrap();
    bus.publish(numbered("a", 1)).await.unwrap();
    drop(stream.next().await.unwrap());
    let again = stream.next().await.unwrap();
    assert_eq!((again.context().attempt(), *again.event().decode::<u64>().unwrap()), (2, 1));
    again.ack().unwrap();
    quiet(&*bus).await;
    Outcome::Done
}

pub(super) async fn attempts_begin_at_one_and_grow(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    for (event_type, ordering) in [("a", Ordering::Strict), ("b", Ordering::PerKey), ("c", Ordering::Unordered)] {
        let probe = hopeless();
        subscribe(&*bus, Subscribe::to(event_type).ordering(ordering).retry(quick(4)), &probe).await;
        bus.publish(numbered(event_type, 1)).await.unwrap();
        assert_eq!(all(&*bus, &probe, 4).await.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
    Outcome::Done
}

pub(super) async fn attempts_grow_from_member_to_member(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups, redelivery);
    // Long enough that the second attempt falls to the second member.
    let group = || Subscribe::to("a").group(story.unique("g")).retry(Retry::fixed(Duration::from_millis(300)));
    let first = hopeless();
    let member = subscribe(&*bus, group(), &first).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    first.wait(1).await;
    while member.stats().retried == 0 {
        tokio::task::yield_now().await;
    }
    member.close().await.unwrap();
    let second = Probe::new();
    subscribe(&*bus, group(), &second).await;
    assert_eq!(all(&*bus, &second, 1).await[0].attempt, 2);
    assert_eq!(first.count(), 1);
    Outcome::Done
}

pub(super) async fn a_failing_handler_hurts_no_neighbour(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, event| async move {
        if event.decode::<u64>().unwrap().is_multiple_of(5) && ctx.attempt() == 1 { Err(HandlerError::retry("first time")) } else { Ok(()) }
    });
    let neighbour = Probe::new();
    subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered).concurrency(2).retry(quick(5)), &probe).await;
    subscribe(&*bus, "a", &neighbour).await;
    publish_numbers(&*bus, "a", 0..100).await;
    all(&*bus, &probe, 120).await;
    for number in 0..100 {
        let attempts = probe.numbers().iter().filter(|seen| **seen == number).count();
        assert_eq!(attempts, if number % 5 == 0 { 2 } else { 1 }, "event {number}");
    }
    assert_eq!(neighbour.numbers(), numbers(0..100), "another subscription gets each once");
    Outcome::Done
}

pub(super) async fn a_panicking_handler_is_retried_and_its_neighbours_are_not(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|ctx, event| {
        let number = *event.decode::<u64>().unwrap();
        // Before the future exists, at its first poll, and after it waited.
        assert!(number != 1 || ctx.attempt() > 1, "a panic while the handler is called");
        async move {
            assert!(number != 2 || ctx.attempt() > 1, "a panic at once");
            tokio::task::yield_now().await;
            assert!(number != 3 || ctx.attempt() > 1, "a panic after waiting");
            assert!(number != 4, "a panic each time");
            Ok(())
        }
    });
    let subscription = subscribe(&*bus, Subscribe::to("a").retry(quick(2)), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    all(&*bus, &probe, 14).await;
    for number in 0..10 {
        let attempts = probe.numbers().iter().filter(|seen| **seen == number).count();
        assert_eq!(attempts, if (1..=4).contains(&number) { 2 } else { 1 }, "event {number}");
    }
    let letters = letters(&*bus).await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].error.contains("a panic each time"), "the panic's text is kept: {}", letters[0].error);
    assert_eq!(subscription.stats().acked, 9);
    Outcome::Done
}

pub(super) async fn a_panic_while_dropping_a_handler_is_survived(story: Story) -> Outcome {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a panic in a destructor");
        }
    }
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, event| async move {
        let number = *event.decode::<u64>().unwrap();
        let bomb = (ctx.attempt() == 1 && number < 2).then(|| Bomb);
        if number == 1 {
            tokio::task::yield_now().await;
        }
        drop(bomb);
        Ok(())
    });
    // Dropped by the engine, when the time is up.
    let hanging = Probe::with(|ctx, _| async move {
        if ctx.attempt() == 1 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").retry(quick(3)), &probe).await;
    subscribe(&*bus, Subscribe::to("a").retry(quick(3)).timeout(Duration::from_millis(50)), &hanging).await;
    publish_numbers(&*bus, "a", 0..4).await;
    all(&*bus, &probe, 6).await;
    all(&*bus, &hanging, 8).await;
    Outcome::Done
}

pub(super) async fn many_failures_do_not_starve_the_rest(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|_, event| async move {
        if event.decode::<u64>().unwrap().is_multiple_of(10) { Err(HandlerError::retry("poison")) } else { Ok(()) }
    });
    let subscription = subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered).concurrency(4).retry(quick(3)), &probe).await;
    publish_numbers(&*bus, "a", 0..1000).await;
    all(&*bus, &probe, 1200).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.retried, stats.dead_lettered), (900, 200, 100));
    Outcome::Done
}

pub(super) async fn backoff_is_never_early(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = hopeless();
    let retry = Retry::exponential(Duration::from_millis(40)).max_attempts(4);
    subscribe(&*bus, Subscribe::to("a").retry(retry), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    let seen = all(&*bus, &probe, 4).await;
    for (pair, least) in seen.windows(2).zip([40, 80, 160]) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(least), "attempt {} came after {waited:?}, not after {least} ms", pair[1].attempt);
    }
    Outcome::Done
}

pub(super) async fn a_handler_may_choose_the_delay(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let chosen = Duration::from_millis(150);
    let probe = Probe::with(move |ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry_after("busy", chosen)) } else { Ok(()) } });
    // The policy's own delay is far longer, so a redelivery in time is the handler's doing.
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(Duration::from_secs(3600))), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    let seen = all(&*bus, &probe, 2).await;
    assert!(seen[1].at - seen[0].at >= chosen, "{:?}", seen[1].at - seen[0].at);
    Outcome::Done
}

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
    assert!(letter.time.to_system_time() + Duration::from_millis(5) >= before && letter.time.to_system_time() <= std::time::SystemTime::now() + Duration::from_millis(5));
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
    assert_eq!((letter.event, letter.attempts, letter.subscription.as_str(), letter.reason), (event, 2, "billing", DeadLetterReason::Exhausted));
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
    let bus = bus!(story, max_dead_letters: Some(2));
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|_, event| async move { if *event.decode::<u64>().unwrap() < 3 { Err(HandlerError::reject("no")) } else { Ok(()) } });
    let subscription = subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered), &probe).await;
    let mut errors = bus.errors();
    publish_numbers(&*bus, "a", 0..5).await;
    // Two letters fit; the third event stays, is counted, is reported, and holds up nobody.
    while subscription.stats().dead_letter_failures == 0 || subscription.stats().acked < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = subscription.stats();
    assert_eq!((stats.dead_lettered, stats.lag), (2, Some(1)), "{stats:?}");
    loop {
        let error = errors.next().await.expect("the failure is reported");
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
    let raw = |event_type: &str, content_type: &str, data: &'static [u8]| Event::builder(event_type).payload(Payload::bytes(content_type, data).unwrap()).build().unwrap();
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

pub(super) async fn a_handler_that_never_returns_runs_out_of_time(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let timeout = Duration::from_millis(60);
    let probe = Probe::with(|_, event| async move {
        if *event.decode::<u64>().unwrap() == 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").timeout(timeout).retry(quick(2)), &probe).await;
    let begun = Instant::now();
    publish_numbers(&*bus, "a", 0..3).await;
    all(&*bus, &probe, 4).await;
    assert!(begun.elapsed() >= timeout * 2, "each attempt has its time");
    let letters = letters(&*bus).await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert!(letters[0].error.contains("60ms"), "{}", letters[0].error);
    Outcome::Done
}

pub(super) async fn a_slow_handler_within_its_time_gets_one_delivery(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|_, _| async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(5).ordering(Ordering::Unordered).timeout(Duration::from_secs(20)), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    assert!(all(&*bus, &probe, 10).await.iter().all(|seen| seen.attempt == 1));
    Outcome::Done
}

pub(super) async fn a_late_result_settles_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let mut stream = bus.stream(Subscribe::to("a").timeout(Duration::from_millis(60)).retry(quick(3))).await.unwrap();
    bus.publish(numbered("a", 1)).await.unwrap();
    let late = stream.next().await.unwrap();
    // The second delivery proves that the first is over.
    let again = stream.next().await.unwrap();
    assert_eq!((late.context().attempt(), again.context().attempt()), (1, 2));
    assert_eq!(late.ack().unwrap_err().kind(), ErrorKind::Timeout, "whoever settles too late is told so");
    again.retry("once more").unwrap();
    let third = stream.next().await.unwrap();
    assert_eq!(third.context().attempt(), 3, "the late acknowledgement changed nothing");
    third.ack().unwrap();
    quiet(&*bus).await;
    Outcome::Done
}

pub(super) async fn a_delivery_that_is_over_is_cancelled(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let contexts = Arc::new(std::sync::Mutex::new(Vec::<Context>::new()));
    let probe = Probe::with({
        let contexts = Arc::clone(&contexts);
        move |ctx, event| {
            assert!(!ctx.is_cancelled() && ctx.deadline().is_some());
            contexts.lock().unwrap().push(ctx.clone());
            async move {
                if *event.decode::<u64>().unwrap() == 1 && ctx.attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        }
    });
    subscribe(&*bus, Subscribe::to("a").timeout(Duration::from_millis(60)).retry(quick(2)), &probe).await;
    publish_numbers(&*bus, "a", 0..2).await;
    all(&*bus, &probe, 3).await;
    // Whether it succeeded or ran out of time, what a handler left behind learns that the delivery is over.
    let contexts = std::mem::take(&mut *contexts.lock().unwrap());
    for ctx in contexts {
        ctx.cancelled().await;
        assert!(ctx.is_cancelled());
    }
    Outcome::Done
}

pub(super) async fn no_retry_is_hot(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, _| async move { if ctx.attempt() < 50 { Err(HandlerError::retry_after("at once", Duration::ZERO)) } else { Ok(()) } });
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(SOON).max_attempts(50)), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    for pair in all(&*bus, &probe, 50).await.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(1), "attempt {} came after {:?}", pair[1].attempt, pair[1].at - pair[0].at);
    }
    Outcome::Done
}

pub(super) async fn a_batch_is_settled_one_by_one(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handled = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let (sizes, handled) = (Arc::clone(&sizes), Arc::clone(&handled));
        move |ctx: Context, events: Vec<Event>| {
            sizes.lock().unwrap().push(events.len());
            let outcomes: Vec<Result<(), HandlerError>> = events
                .iter()
                .map(|event| match *event.decode::<u64>().unwrap() {
                    3 if ctx.attempt() == 1 => Err(HandlerError::retry("first time")),
                    7 => Err(HandlerError::reject("never")),
                    number => {
                        handled.lock().unwrap().push(number);
                        Ok(())
                    }
                })
                .collect();
            async move { outcomes }
        }
    };
    let subscription = Subscribe::to("a").batch(10, Duration::from_millis(200)).retry(quick(3));
    let subscription = bus.subscribe(subscription, Arc::new(handler.into_batch_handler())).await.unwrap();
    publish_numbers(&*bus, "a", 0..30).await;
    quiet(&*bus).await;
    let expected: Vec<u64> = (0..30).filter(|number| *number != 7).collect();
    assert_eq!(sorted(handled.lock().unwrap().clone()), expected);
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.retried, stats.dead_lettered), (29, 1, 1));
    let sizes = sizes.lock().unwrap().clone();
    assert!(sizes.iter().all(|size| *size <= 10) && sizes.iter().any(|size| *size > 1), "batches are filled, and no fuller than asked: {sizes:?}");
    assert_eq!(letters(&*bus).await.len(), 1);
    Outcome::Done
}

pub(super) async fn a_batch_with_the_wrong_number_of_outcomes_loses_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let handler = |_: Vec<Event>| async { Vec::<Result<(), HandlerError>>::new() };
    bus.subscribe(Subscribe::to("a").batch(5, Duration::ZERO).retry(quick(2)), Arc::new(handler.into_batch_handler())).await.unwrap();
    publish_numbers(&*bus, "a", 0..5).await;
    quiet(&*bus).await;
    let letters = letters(&*bus).await;
    assert_eq!(letters.len(), 5, "an event without an outcome was not handled");
    assert!(letters[0].error.contains("0 outcomes"), "{}", letters[0].error);
    Outcome::Done
}
