//! Subscriptions in Pub/Sub mode beside others that are refused or given up.

mod common;

use common::{PATIENCE, ask, client, numbered, words};
use eventbus_core::{Bus, ErrorKind, Event, Subscribe};
use eventbus_redis::{Mode, RedisConfig};
use eventbus_testing::{
    Probe,
    servers::{Proxy, RedisServer},
};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn a_subscription_that_is_refused_leaves_the_others_listening() {
    let server = RedisServer::builder().in_memory().start().await;
    let mut admin = client(&server.address().to_string()).await;
    let _: String = ask(&mut admin, &words("ACL SETUSER alice on >pass ~* +@all resetchannels &events:a")).await;
    let config = RedisConfig::new().address(server.address().to_string()).user("alice").password("pass");
    let bus = config.mode(Mode::PubSub).connect().await.unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    let refused = bus.subscribe(Subscribe::to("b"), Arc::new(Probe::new())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    bus.publish(numbered(1)).await.unwrap();
    assert_eq!(probe.wait_within(1, PATIENCE).await[0].number(), 1);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_nobody_waits_for_leaves_nothing_behind() {
    let server = RedisServer::builder().in_memory().start().await;
    let proxy = Proxy::to(server.address()).await;
    let bus = RedisConfig::new().address(proxy.address().to_string()).mode(Mode::PubSub).connect().await.unwrap();
    bus.subscribe(Subscribe::to("other"), Arc::new(Probe::new())).await.unwrap();
    proxy.stall();
    // Given up between the channel and the pattern.
    let given_up = bus.subscribe(Subscribe::to("a").and("b.*"), Arc::new(Probe::new()));
    assert!(tokio::time::timeout(Duration::from_millis(100), given_up).await.is_err());
    proxy.heal();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("b.*"), Arc::new(probe.clone())).await.unwrap();
    bus.publish(Event::json("b.c", 1).unwrap()).await.unwrap();
    assert_eq!(probe.wait_within(1, Duration::from_secs(10)).await[0].number(), 1);
    bus.close().await.unwrap();
}
