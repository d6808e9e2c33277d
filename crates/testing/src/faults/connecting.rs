//! Servers that are away, and connections that are dead without a word.

use super::run::{Story, numbered, publish, soon, subscribe, until};
use crate::{History, servers::Proxy};
use eventbus_core::{ErrorKind, HealthState, Subscribe};
use std::time::Duration;
use tokio::time::Instant;

pub(super) async fn a_server_that_is_down_is_an_error_in_time(story: Story) {
    let server = story.server().await;
    server.kill().await;
    let begun = Instant::now();
    let error = story.connect(server.address()).await.expect_err("nobody listens there");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(error.is_retryable());
    let limit = story.terms.connect_timeout * 2;
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
}

pub(super) async fn a_server_that_comes_later_is_waited_for(story: Story) {
    let story = story.on(|terms| terms.retry_on_connect = true);
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    proxy.cut();
    let connecting = tokio::spawn({
        let (story, address) = (story.clone(), proxy.address());
        async move { story.bus(address).await }
    });
    until("a second attempt", async || proxy.refused() >= 2).await;
    let attempts = proxy.refused();
    assert!(attempts < 50, "{attempts} attempts at once are no backoff");
    proxy.heal();
    let bus = soon("the connection", connecting).await.unwrap();
    let history = History::new();
    subscribe(&*bus, Subscribe::to("a"), &history).await;
    publish(&*bus, &history, 10).await;
    history.until_handled().await;
    history.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    bus.close().await.unwrap();
}

/// What the bus says goes out, and nothing comes back.
pub(super) async fn a_half_open_connection_is_noticed(story: Story) {
    dead_connection(story, Proxy::half_open).await;
}

/// Nothing goes either way, and no connection is closed.
pub(super) async fn a_stalled_connection_gets_going_again(story: Story) {
    dead_connection(story, Proxy::stall).await;
}

async fn dead_connection(story: Story, kill: fn(&Proxy)) {
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (bus, beside) = (story.bus(proxy.address()).await, story.bus(server.address()).await);
    let (group, all) = (History::new(), History::new());
    subscribe(&*bus, Subscribe::to("a").group("g"), &group).await;
    subscribe(&*bus, Subscribe::to("a"), &all).await;
    for number in 0..5 {
        let event = numbered(number, "k");
        all.publishing(&event);
        group.publish(&*beside, event.clone()).await.unwrap();
        all.published(&event);
    }
    group.until_handled().await;
    all.until_handled().await;
    let accepted = proxy.accepted();
    kill(&proxy);
    for number in 5..10 {
        let event = numbered(number, "k");
        all.publishing(&event);
        group.publish(&*beside, event.clone()).await.unwrap();
        all.published(&event);
    }
    // Nobody closes the connection: the bus has to find out by itself, and try another.
    until("another connection", async || proxy.accepted() > accepted).await;
    proxy.heal();
    group.until_handled_within(super::run::PATIENCE).await;
    all.until_handled_within(super::run::PATIENCE).await;
    // Acknowledgements may have been lost with the connection.
    group.judge().nothing_is_lost().every_key_is_in_order();
    all.judge().nothing_is_lost().every_key_is_in_order();
    until("a healthy bus", async || bus.health().await.is_ok_and(|health| health.state == HealthState::Connected)).await;
    history_goes_on(&*bus, &group).await;
    bus.close().await.unwrap();
    beside.close().await.unwrap();
}

async fn history_goes_on(bus: &dyn eventbus_core::Bus, history: &History) {
    publish(bus, history, 5).await;
    history.until_handled().await;
    history.judge().nothing_is_lost();
}

pub(super) async fn an_idle_subscription_survives_restarts(story: Story) {
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let (group, all) = (History::new(), History::new());
    subscribe(&*bus, Subscribe::to("a").group("g"), &group).await;
    subscribe(&*bus, Subscribe::to("a"), &all).await;
    for round in 0..20 {
        server.kill().await;
        server.start_again().await;
        // From elsewhere, so that nothing that this bus does wakes its subscriptions.
        let beside = story.bus(server.address()).await;
        let event = numbered(round, "k");
        all.publishing(&event);
        group.publish(&*beside, event.clone()).await.unwrap();
        all.published(&event);
        let begun = Instant::now();
        group.until_handled_within(super::run::PATIENCE).await;
        all.until_handled_within(super::run::PATIENCE).await;
        group.judge().nothing_is_lost().every_key_is_in_order();
        all.judge().nothing_is_lost().every_key_is_in_order();
        assert!(begun.elapsed() < Duration::from_secs(30), "restart {round}: {:?}", begun.elapsed());
        beside.close().await.unwrap();
    }
    bus.close().await.unwrap();
}
