//! Line 18: what happens when a subscription cannot keep up.

use super::{
    run::Outcome,
    story::{Story, a_while, all, bus, holds_what_it_promised, needs, numbered, numbers, publish_numbers, queued, quiet, subscribe},
};
use crate::{Gate, Probe, Seen};
use eventbus_core::{Bus, Event, Overflow, Payload, Subscribe};
use std::{sync::Arc, time::Duration};

pub(super) async fn a_full_buffer_holds_publishers(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    if !holds_what_it_promised(&*bus) {
        return Outcome::Skipped("a full subscription of a server stops fetching, or drops, instead".to_owned());
    }
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    subscribe(&*bus, Subscribe::to("a").buffer(4), &probe).await;
    let publisher = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { publish_numbers(&*bus, "a", 0..100).await }
    });
    // One is being handled and four wait; then the publisher does.
    probe.wait(1).await;
    while bus.stats().await.unwrap().published < 5 {
        tokio::task::yield_now().await;
    }
    a_while().await;
    assert_eq!(bus.stats().await.unwrap().published, 5, "the buffer is full at 4");
    assert!(!publisher.is_finished());
    gate.open();
    publisher.await.unwrap();
    assert_eq!(all(&*bus, &probe, 100).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..100));
    Outcome::Done
}

/// Publishes 0 while nothing else is there, waits until its handler has begun, and publishes 1 to 9.
async fn crowd(bus: &dyn Bus, probe: &Probe) {
    publish_numbers(bus, "a", 0..1).await;
    probe.wait(1).await;
    publish_numbers(bus, "a", 1..10).await;
    arrived(bus).await;
}

/// Waits until what a server passes on has come to the subscriptions, as it has when the bus knows its figures.
async fn arrived(bus: &dyn Bus) {
    bus.stats().await.expect("figures can be asked for");
}

pub(super) async fn a_full_buffer_drops_the_newest(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, drops);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = subscribe(&*bus, Subscribe::to("a").buffer(3).overflow(Overflow::DropNewest), &probe).await;
    crowd(&*bus, &probe).await;
    gate.open();
    assert_eq!(all(&*bus, &probe, 4).await.iter().map(Seen::number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(subscription.stats().dropped, 6, "what was dropped is counted");
    Outcome::Done
}

pub(super) async fn a_full_buffer_drops_the_oldest(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, drops);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = subscribe(&*bus, Subscribe::to("a").buffer(3).overflow(Overflow::DropOldest), &probe).await;
    crowd(&*bus, &probe).await;
    gate.open();
    let seen: Vec<_> = all(&*bus, &probe, 4).await.iter().map(Seen::number).collect();
    // One event may be on its way to the handler already; it is no longer there to be dropped.
    assert!(seen[0] == 0 && (1..=7).contains(&seen[1]) && seen[2..] == [8, 9], "{seen:?}");
    assert_eq!(subscription.stats().dropped, 6, "what was dropped is counted");
    Outcome::Done
}

pub(super) async fn a_buffer_is_bounded_in_bytes(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, drops);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = Subscribe::to("a").buffer(1000).buffer_bytes(10_000).overflow(Overflow::DropNewest);
    let subscription = subscribe(&*bus, subscription, &probe).await;
    let large = || Event::builder("a").payload(Payload::opaque(vec![7; 4000])).build().unwrap();
    bus.publish(large()).await.unwrap();
    probe.wait(1).await;
    for _ in 0..20 {
        bus.publish(large()).await.unwrap();
    }
    arrived(&*bus).await;
    let waiting = subscription.stats().lag.unwrap_or_default() - 1;
    assert!((1..=3).contains(&waiting), "{waiting} events of 4000 bytes wait in a buffer of 10,000");
    gate.open();
    quiet(&*bus).await;
    // One event is always let in, however large.
    let huge = Event::builder("a").payload(Payload::opaque(vec![7; 50_000])).build().unwrap();
    let before = probe.count();
    bus.publish(huge).await.unwrap();
    probe.wait(before + 1).await;
    Outcome::Done
}

pub(super) async fn a_slow_subscription_delays_no_other(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let (slow, fast) = (Probe::held(&gate), Probe::new());
    let overflow = if bus.capabilities().drops { Overflow::DropNewest } else { Overflow::Block };
    // Its handler waits for all of the others, which may take long where much else is going on.
    let held = Subscribe::to("a").buffer(500).overflow(overflow).timeout(Duration::from_secs(600));
    subscribe(&*bus, held, &slow).await;
    subscribe(&*bus, Subscribe::to("a").buffer(500), &fast).await;
    publish_numbers(&*bus, "a", 0..1).await;
    slow.wait(1).await;
    // All of the others arrive while the first handler of the slow one still waits.
    publish_numbers(&*bus, "a", 1..400).await;
    fast.wait(400).await;
    assert_eq!(slow.count(), 1);
    gate.open();
    all(&*bus, &slow, 400).await;
    Outcome::Done
}

pub(super) async fn a_paused_subscription_gets_nothing_until_it_is_resumed(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let (probe, other) = (Probe::new(), Probe::new());
    let subscription = subscribe(&*bus, "a", &probe).await;
    subscribe(&*bus, "a", &other).await;
    publish_numbers(&*bus, "a", 0..10).await;
    probe.wait(10).await;
    quiet(&*bus).await;
    subscription.pause();
    assert!(subscription.stats().paused);
    publish_numbers(&*bus, "a", 10..60).await;
    other.wait(60).await;
    a_while().await;
    assert!(probe.count() <= 11, "one may have been on its way, not {}", probe.count() - 10);
    subscription.resume();
    assert!(!subscription.stats().paused);
    assert_eq!(all(&*bus, &probe, 60).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..60));
    bus.publish(numbered("a", 60)).await.unwrap();
    all(&*bus, &probe, 61).await;
    Outcome::Done
}
