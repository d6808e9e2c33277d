//! What is particular to core NATS: at most once, and nothing is kept.

mod common;

use common::{core_config, numbered, publish_numbers, soon, unique, until};
use eventbus_core::{Bus, ErrorKind, HealthState, Overflow, Retry, Start, Subscribe};
use eventbus_nats::{Mode, NatsBus};
use eventbus_testing::{Gate, Probe, servers::NatsServer, settle};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn what_core_nats_cannot_do_is_refused_by_name() {
    let bus = core_config(&unique()).await.connect().await.unwrap();
    let to = || Subscribe::to("a");
    for (refused, option) in [
        (to().from(Start::Earliest), "Start::Earliest"),
        (to().from(Start::Sequence(1)), "Start::Sequence"),
        (to().retry(Retry::default()), "Subscribe::retry"),
        (to().dead_letter(eventbus_core::DeadLetter::store()), "DeadLetter::store"),
    ] {
        let error = bus.subscribe(refused, Arc::new(Probe::new())).await.map(drop).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(option), "{error}");
    }
    assert_eq!(bus.dead_letters().map(drop).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(bus.health().await.unwrap().warnings[0].contains("keeps nothing"));
}

#[tokio::test]
async fn members_of_a_group_on_several_connections_share_the_events() {
    let prefix = unique();
    let probe = Probe::new();
    let mut buses = Vec::new();
    for _ in 0..3 {
        let bus = core_config(&prefix).await.connect().await.unwrap();
        bus.subscribe(Subscribe::to("a").group("größe 1"), Arc::new(probe.clone())).await.unwrap();
        buses.push(bus);
    }
    publish_numbers(&buses[0], "a", 0..300).await;
    probe.wait(300).await;
    let mut numbers = probe.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subscription_that_cannot_keep_up_drops_the_newest_and_counts_them() {
    let bus = core_config(&unique()).await.connect().await.unwrap();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    // The default: nothing can hold back publishers.
    let subscription = bus.subscribe(Subscribe::to("a").buffer(10).overflow(Overflow::Block), Arc::new(probe.clone())).await.unwrap();
    bus.publish(numbered("a", 0)).await.unwrap();
    probe.wait(1).await;
    publish_numbers(&bus, "a", 1..1001).await;
    until("the drops", async || subscription.stats().dropped == 990).await;
    gate.open();
    probe.wait(11).await;
    settle(&bus, common::PATIENCE).await.unwrap();
    assert_eq!(probe.numbers(), (0..11).collect::<Vec<_>>());
}

#[tokio::test]
async fn subscriptions_go_on_after_a_restart_and_what_was_published_meanwhile_is_refused() {
    let server = NatsServer::builder().without_jetstream().start().await;
    let bus = NatsBus::builder()
        .server(&server.url())
        .mode(Mode::Core)
        .max_reconnects(None)
        .reconnect_wait(Duration::from_millis(50))
        .publish_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    publish_numbers(&bus, "a", 0..5).await;
    probe.wait(5).await;
    server.kill().await;
    until("the loss of the connection", async || bus.health().await.unwrap().state == HealthState::Reconnecting).await;
    let error = soon("the refusal", bus.publish(numbered("a", 5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.start_again().await;
    until("the connection", async || bus.health().await.unwrap().state == HealthState::Connected).await;
    publish_numbers(&bus, "a", 6..10).await;
    probe.wait(9).await;
    assert_eq!(probe.numbers(), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
}
