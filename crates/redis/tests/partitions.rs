//! Events spread over several streams: in order within a key, and in no order beyond that.

mod common;

use async_trait::async_trait;
use common::{PATIENCE, ask, client, config, numbered, prefix, words};
use eventbus_core::{Bus, ErrorKind, Ordering, Result, Start, Subscribe};
use eventbus_redis::RedisConfig;
use eventbus_runtime::url::BusUrl;
use eventbus_testing::{
    Gate, History, Probe,
    conformance::{self, Fixture, Setup},
    servers, settle,
};
use std::sync::Arc;

#[tokio::test]
async fn the_number_of_partitions_is_fixed_when_a_prefix_is_used_first() {
    let name = prefix();
    let first = config().await.prefix(&name).partitions(4).connect().await.unwrap();
    let error = config().await.prefix(&name).partitions(2).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("partitions 2") && error.to_string().contains('4'), "{error}");
    config().await.prefix(&name).partitions(4).connect().await.unwrap().close().await.unwrap();
    first.close().await.unwrap();
}

#[tokio::test]
async fn one_order_of_all_events_is_refused_where_there_is_none() {
    let bus = config().await.partitions(4).connect().await.unwrap();
    for subscribe in [Subscribe::to("a"), Subscribe::to("a").group("g"), Subscribe::to("a").ordering(Ordering::Strict)] {
        let error = bus.subscribe(subscribe, Arc::new(Probe::new())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("Ordering::Strict") && error.to_string().contains("PerKey"), "{error}");
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn every_key_is_in_order_over_all_partitions() {
    let bus = config().await.partitions(4).connect().await.unwrap();
    let (group, all) = (History::new(), History::new());
    let keyed = || Subscribe::to("a").concurrency(4).ordering(Ordering::PerKey);
    bus.subscribe(keyed().group("g"), Arc::new(group.clone())).await.unwrap();
    bus.subscribe(keyed(), Arc::new(all.clone())).await.unwrap();
    for number in 0..400 {
        let event = numbered(number).with_partition_key(format!("k{}", number % 7));
        all.publishing(&event);
        group.publish(&bus, event.clone()).await.unwrap();
        all.published(&event);
    }
    for history in [&group, &all] {
        history.until_handled().await;
        history.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
    }
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(bus.stats().await.unwrap().retained, Some(400));
    let replay = Probe::new();
    bus.subscribe(keyed().from(Start::Earliest), Arc::new(replay.clone())).await.unwrap();
    replay.wait(400).await;
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_buffer_is_shared_by_the_partitions() {
    let name = prefix();
    let bus = config().await.prefix(&name).partitions(8).connect().await.unwrap();
    let events = (0..400).map(|number| numbered(number).with_partition_key(number.to_string()));
    for result in bus.publish_all(events.collect()).await {
        result.unwrap();
    }
    let (gate, mut client) = (Gate::new(), client(&common::address().await).await);
    let probe = Probe::held(&gate);
    let member = Subscribe::to("a").group("g").from(Start::Earliest).ordering(Ordering::Unordered).concurrency(16).buffer(16);
    bus.subscribe(member, Arc::new(probe.clone())).await.unwrap();
    probe.wait(16).await;
    let mut held = 0;
    for partition in 0..8 {
        let pending: (u64, redis::Value, redis::Value, redis::Value) =
            ask(&mut client, &words(&format!("XPENDING {name}:{partition} g"))).await;
        held += pending.0;
    }
    // One buffer in hand, and one that was asked for before that was known.
    assert!(held <= 32, "{held} events are held with a buffer of 16");
    gate.open();
    probe.wait(400).await;
    settle(&bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
}

/// A bus with four partitions, for the part of the suite that asks for no order of all events.
struct Four;

#[async_trait]
impl Fixture for Four {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let config = RedisConfig::from_url(BusUrl::parse(&servers::redis().await)?)?.prefix(&setup.name).partitions(4);
        let config = config.publish_timeout(setup.publish_timeout).close_timeout(setup.close_timeout);
        Ok(Arc::new(config.connect().await?))
    }
}

macro_rules! cases {
    ($($chapter:ident::$case:ident)+) => {
        $(#[test]
        fn $case() {
            conformance::run_case(Four, concat!(stringify!($chapter), "::", stringify!($case)));
        })+
    };
}

cases! {
    order::per_key_keeps_the_order_of_each_key
    order::per_key_falls_back_to_the_subject
    order::keys_run_beside_each_other
    order::unordered_runs_handlers_at_once_up_to_the_concurrency
    order::a_backlog_keeps_every_handler_busy
    order::a_retry_holds_back_only_its_key
    settlement::a_slow_handler_within_its_time_gets_one_delivery
    retries::many_failures_do_not_starve_the_rest
    observability::the_figures_of_failures_add_up
    lifecycle::closing_lets_handlers_finish
    observability::health_answers
    publish::a_closed_bus_refuses_everything
}
