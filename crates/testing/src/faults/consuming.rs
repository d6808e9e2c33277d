//! Handlers, buffers and poison, on servers that take a delivery away from those who hold it for too long.

use super::run::{PATIENCE, Story, numbered, publish, soon, subscribe, until};
use crate::{Gate, History, Probe, servers::Proxy, settle};
use eventbus_core::{DeadLetterFilter, DeadLetterReason, Event, HandlerError, HealthState, Ordering, Retry, Subscribe};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(2);

pub(super) async fn a_handler_slower_than_its_lease_gets_one_delivery(story: Story) {
    let story = story.on(|terms| terms.lease = LEASE);
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let slow = Probe::with(|_, _| async {
        tokio::time::sleep(3 * LEASE).await;
        Ok(())
    });
    // The second member would get what the first one loses.
    for _ in 0..2 {
        let member = Subscribe::to("a").group("g").concurrency(3).ordering(Ordering::Unordered).timeout(10 * LEASE);
        subscribe(&*bus, member, &slow).await;
    }
    publish(&*bus, &History::new(), 6).await;
    slow.wait_within(6, PATIENCE).await;
    settle(&*bus, PATIENCE).await.unwrap();
    let seen = slow.seen();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.attempt == 1), "{seen:?}");
    bus.close().await.unwrap();
}

pub(super) async fn what_waits_in_a_buffer_is_not_delivered_again(story: Story) {
    const EVENTS: usize = 1_500;
    let story = story.on(|terms| terms.lease = LEASE);
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let history = History::new();
    publish(&*bus, &history, 1).await;
    let slow = Probe::with({
        let history = history.clone();
        move |ctx, event| {
            let history = history.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(4)).await;
                history.handled(event.id(), ctx.attempt());
                Ok(())
            }
        }
    });
    let member = Subscribe::to("a").group("g").from(eventbus_core::Start::Earliest).buffer(1024);
    let subscription = subscribe(&*bus, member, &slow).await;
    let begun = Instant::now();
    publish(&*bus, &history, EVENTS - 1).await;
    history.until_handled_within(2 * PATIENCE).await;
    assert!(begun.elapsed() > 2 * LEASE, "what waited would have been taken away");
    let judgement = history.judge();
    judgement.nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    assert_eq!(judgement.highest_attempt, 1);
    assert_eq!(subscription.stats().delivered, EVENTS as u64);
    bus.close().await.unwrap();
}

pub(super) async fn a_connection_that_breaks_while_events_are_read_loses_none(story: Story) {
    const EVENTS: usize = 2_000;
    let story = story.on(|terms| terms.lease = LEASE);
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (bus, beside) = (story.bus(proxy.address()).await, story.bus(server.address()).await);
    let (group, all) = (History::new(), History::new());
    subscribe(&*bus, Subscribe::to("a").group("g").concurrency(4).ordering(Ordering::PerKey), &group).await;
    subscribe(&*bus, Subscribe::to("a"), &all).await;
    for number in 0..EVENTS {
        if number % 250 == 125 {
            // In the middle of whatever is on its way then.
            proxy.reset_after(20_000);
        }
        let event = numbered(number, "k");
        all.publishing(&event);
        group.publish(&*beside, event.clone()).await.unwrap();
        all.published(&event);
    }
    group.until_handled_within(PATIENCE).await;
    all.until_handled_within(PATIENCE).await;
    assert!(proxy.resets() >= 3, "the connections were cut {} times", proxy.resets());
    group.judge().nothing_is_lost();
    all.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    bus.close().await.unwrap();
}

/// What the server had sent comes at once, and not behind what is published later when its lease is over.
pub(super) async fn what_a_broken_connection_swallowed_comes_first(story: Story) {
    let story = story.on(|terms| terms.lease = 2 * PATIENCE);
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (bus, beside) = (story.bus(proxy.address()).await, story.bus(server.address()).await);
    let history = History::new();
    subscribe(&*bus, Subscribe::to("a").group("g"), &history).await;
    for _ in 0..3 {
        publish(&*beside, &history, 20).await;
        history.until_handled().await;
        settle(&*bus, PATIENCE).await.unwrap();
        proxy.half_open();
        publish(&*beside, &history, 20).await;
        until("an event is on its way", async || beside.stats().await.unwrap().groups.iter().any(|group| group.in_flight > 0)).await;
        assert!(!history.judge().lost.is_empty(), "all of it was handled");
        proxy.reset();
        proxy.heal();
        publish(&*beside, &history, 20).await;
        history.until_handled_within(PATIENCE).await;
    }
    let judgement = history.judge();
    judgement.nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    assert_eq!(judgement.highest_attempt, 1, "nobody has tried them before");
    bus.close().await.unwrap();
}

/// Handlers that wait at a gate, and then tell a history.
fn held_back(gate: &Gate, history: &History) -> Probe {
    let (gate, history) = (gate.clone(), history.clone());
    Probe::with(move |ctx, event| {
        let (gate, history) = (gate.clone(), history.clone());
        async move {
            gate.pass().await;
            history.handled(event.id(), ctx.attempt());
            Ok(())
        }
    })
}

/// A member leaves, and what it gives back is sent to another one, whose connection breaks.
pub(super) async fn what_a_broken_connection_swallowed_of_a_member_that_left_comes_at_once(story: Story) {
    const EVENTS: usize = 200;
    /// Less than what is given back.
    const SOME_BYTES: u64 = 16 * 1024;
    let story = story.on(|terms| terms.lease = 2 * PATIENCE);
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (leaving, beside) = (story.bus(server.address()).await, story.bus(server.address()).await);
    let staying = story.bus(proxy.address()).await;
    let (gate, history) = (Gate::new(), History::new());
    let held = held_back(&gate, &history);
    subscribe(&*leaving, Subscribe::to("a").group("g"), &held).await;
    publish(&*beside, &history, EVENTS).await;
    held.wait_within(1, PATIENCE).await;
    subscribe(&*staying, Subscribe::to("a").group("g"), &history).await;
    let closing = tokio::spawn({
        let leaving = Arc::clone(&leaving);
        async move { leaving.close().await }
    });
    until("the close to begin", async || leaving.health().await.unwrap().state == HealthState::Draining).await;
    proxy.reset_after(SOME_BYTES);
    gate.open();
    closing.await.unwrap().unwrap();
    until("the break", async || proxy.resets() > 0).await;
    proxy.heal();
    publish(&*beside, &history, EVENTS).await;
    history.until_handled_within(PATIENCE).await;
    let judgement = history.judge();
    // In which order two members get what is given back nobody promises.
    judgement.nothing_is_lost().nothing_came_twice();
    assert_eq!(judgement.highest_attempt, 1, "nobody has tried them before");
    staying.close().await.unwrap();
}

/// While one event of a key waits to be tried again, the others of its key wait for it, and its delivery may be what is swallowed.
pub(super) async fn what_is_tried_again_holds_no_key_up_when_a_connection_breaks(story: Story) {
    const KEYS: usize = 20;
    let story = story.on(|terms| terms.lease = 2 * PATIENCE);
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (bus, beside) = (story.bus(proxy.address()).await, story.bus(server.address()).await);
    let history = History::new();
    let handler = Probe::with({
        let history = history.clone();
        move |ctx, event| {
            let history = history.clone();
            async move {
                match ctx.attempt() {
                    1 => Err(HandlerError::retry("the first time")),
                    attempt => {
                        history.handled(event.id(), attempt);
                        Ok(())
                    }
                }
            }
        }
    });
    let retry = Retry::fixed(Duration::from_millis(50)).max_attempts(1000);
    subscribe(&*bus, Subscribe::to("a").group("g").concurrency(KEYS).retry(retry), &handler).await;
    let publish_to_all = async |times: usize| {
        for number in 0..times * KEYS {
            history.publish(&*beside, numbered(number, &(number % KEYS).to_string())).await.expect("publishing works");
        }
    };
    for _ in 0..5 {
        let begun = handler.count();
        publish_to_all(2).await;
        handler.wait_within(begun + KEYS, PATIENCE).await;
        // What failed is on its way back.
        proxy.half_open();
        publish_to_all(2).await;
        proxy.reset();
        proxy.heal();
        publish_to_all(2).await;
        // What comes again is cut off as soon as some of it is there.
        for _ in 0..5 {
            tokio::select! {
                _ = handler.wait_within(handler.count() + 1, PATIENCE) => proxy.reset(),
                () = history.until_handled_within(PATIENCE) => break,
            }
        }
        history.until_handled_within(PATIENCE).await;
    }
    history.judge().nothing_is_lost();
    bus.close().await.unwrap();
}

pub(super) async fn poison_is_a_dead_letter_once_and_as_it_was_received(story: Story) {
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let poison: [&[u8]; 5] = [
        b"{\"specversion\":\"1.0\",\"id\":\"1\",\"sour",
        b"{\"specversion\":\"1.0\",\"id\":5,\"source\":\"/s\",\"type\":\"a\"}",
        b"hello",
        b"{\"specversion\":\"9.9\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\"}",
        &[0xff, 0x00, 0xfe],
    ];
    let history = History::new();
    subscribe(&*bus, Subscribe::to("a").group("g").name("reads"), &history).await;
    for message in poison {
        publish(&*bus, &history, 10).await;
        story.fixture().put_raw(server.address(), &story.terms, "a", message).await;
    }
    publish(&*bus, &history, 10).await;
    history.until_handled().await;
    history.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    let all = async || bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap();
    until("a letter for each", async || all().await.len() >= poison.len()).await;
    settle(&*bus, PATIENCE).await.unwrap();
    let letters = all().await;
    let received: Vec<_> = letters.iter().map(|letter| letter.event.data().to_bytes().unwrap()).collect();
    assert_eq!(received, poison, "each once, and as it was received");
    assert!(letters.iter().all(|letter| letter.reason == DeadLetterReason::Undecodable && letter.subscription == "reads"), "{letters:?}");
    bus.close().await.unwrap();
}

/// The events that fail come back again and again, and the others do not wait for them.
pub(super) async fn poison_does_not_slow_the_rest(story: Story) {
    let server = story.server().await;
    let (mut clean, mut poisoned) = (Duration::MAX, Duration::MAX);
    // A busy machine slows both, but not each time.
    for round in 0..5 {
        let story = story.clone().on(|terms| terms.name = format!("{}_{round}", terms.name));
        clean = clean.min(run_with_poison(&story, server.address(), 0).await);
        let story = story.on(|terms| terms.name.push('p'));
        poisoned = poisoned.min(run_with_poison(&story, server.address(), 200).await);
        if poisoned < clean.mul_f64(1.1) {
            return;
        }
    }
    panic!("10,000 good events took {poisoned:?} beside 200 that fail, and {clean:?} without them");
}

async fn run_with_poison(story: &Story, address: std::net::SocketAddr, poison: usize) -> Duration {
    const GOOD: usize = 10_000;
    let bus = story.bus(address).await;
    let mut events: Vec<Event> = (0..GOOD).map(|number| numbered(number, &number.to_string())).collect();
    for number in 0..poison {
        events.insert(number * 50, Event::json("a", "poison").unwrap().with_partition_key(format!("p{number}")));
    }
    let history = History::new();
    let handler = Probe::with({
        let history = history.clone();
        move |ctx, event| {
            let history = history.clone();
            async move {
                if *event.data().to_bytes()? == *b"\"poison\"" {
                    return Err(HandlerError::retry("always"));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                history.handled(event.id(), ctx.attempt());
                Ok(())
            }
        }
    });
    let retry = Retry::fixed(Duration::from_millis(50)).max_attempts(3);
    let member = Subscribe::to("a").group("g").concurrency(8).ordering(Ordering::Unordered).retry(retry);
    subscribe(&*bus, member, &handler).await;
    events.iter().for_each(|event| history.publishing(event));
    let begun = Instant::now();
    for outcome in bus.publish_all(events).await {
        outcome.unwrap();
    }
    soon("all good events", history.until_deliveries(GOOD)).await;
    let took = begun.elapsed();
    history.judge().nothing_came_twice();
    until("the letters", async || bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap().len() == poison).await;
    bus.close().await.unwrap();
    took
}

pub(super) async fn a_close_gives_back_what_had_not_started(story: Story) {
    const EVENTS: usize = 500;
    const AT_ONCE: usize = 100;
    let server = story.server().await;
    let (bus, other) = (story.bus(server.address()).await, story.bus(server.address()).await);
    let (gate, history) = (Gate::new(), History::new());
    let member = || Subscribe::to("a").group("g").concurrency(AT_ONCE).ordering(Ordering::Unordered);
    let held = held_back(&gate, &history);
    subscribe(&*bus, member(), &held).await;
    publish(&*other, &history, EVENTS).await;
    held.wait_within(AT_ONCE, PATIENCE).await;
    let closing = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.close().await }
    });
    until("the close to begin", async || bus.health().await.is_err() || bus.publish(numbered(0, "x")).await.is_err()).await;
    gate.open();
    closing.await.unwrap().unwrap();
    let before = history.judge();
    assert!(before.handled < EVENTS, "there was something left to give back");
    subscribe(&*other, member(), &history).await;
    history.until_handled_within(PATIENCE).await;
    let judgement = history.judge();
    judgement.nothing_is_lost().nothing_came_twice();
    assert_eq!(judgement.highest_attempt, 1, "what had not started counts no attempt");
    assert!(other.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap().is_empty());
    other.close().await.unwrap();
}

pub(super) async fn subscriptions_come_and_go_and_leave_nothing(story: Story) {
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let steady = History::new();
    subscribe(&*bus, Subscribe::to("a").group("steady"), &steady).await;
    let publishing = tokio::spawn({
        let (bus, steady) = (Arc::clone(&bus), steady.clone());
        async move {
            for number in 0.. {
                if steady.publish(&*bus, numbered(number, "k")).await.is_err() || number == 2_000 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let come_and_go = async |rounds: std::ops::Range<usize>| {
        for round in rounds {
            let passing = Probe::new();
            let group = format!("g{round}");
            let one = subscribe(&*bus, Subscribe::to("a").group(&group), &passing).await;
            let two = subscribe(&*bus, Subscribe::to("a"), &passing).await;
            one.close().await.unwrap();
            two.close().await.unwrap();
            assert!(bus.delete_group(&group).await.unwrap());
        }
    };
    come_and_go(0..5).await;
    let before = alive();
    come_and_go(5..100).await;
    publishing.await.unwrap();
    until("the end of what ran for them", async || alive() <= before + 2).await;
    steady.until_handled().await;
    steady.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    let stats = bus.stats().await.unwrap();
    let groups: Vec<_> = stats.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!((stats.subscriptions.len(), groups), (1, vec!["steady"]));
    bus.close().await.unwrap();
}
