//! A master that dies and a replica that Sentinels promote: what is lost is stated, and no more than that is.
#![cfg(feature = "sentinel")]

mod common;

use common::{ask, client, until, words};
use eventbus_core::{Bus, Event, Ordering, Subscribe};
use eventbus_redis::RedisConfig;
use eventbus_testing::{History, servers::RedisServer};
use std::{sync::Arc, time::Duration};

/// A master with a replica, and three Sentinels that watch them.
struct Deployment {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Deployment {
    async fn start(settings: &str) -> Self {
        let master = RedisServer::builder().config(settings).start().await;
        let replica = RedisServer::builder().replica_of(&master).config(settings).start().await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::builder().sentinel("main", &master, 2).start().await);
        }
        let deployment = Self { master, replica, sentinels };
        for sentinel in &deployment.sentinels {
            let mut sentinel = client(&sentinel.address().to_string()).await;
            until("Sentinels that know each other and the replica", async || {
                let info: Vec<String> = ask(&mut sentinel, &words("SENTINEL MASTER main")).await;
                let is = |name: &str, value: &str| info.chunks(2).any(|pair| pair[0] == name && pair[1] == value);
                is("num-other-sentinels", "2") && is("num-slaves", "1")
            })
            .await;
        }
        let mut master = client(&deployment.master.address().to_string()).await;
        until("a replica that follows", async || {
            let info: String = ask(&mut master, &words("INFO replication")).await;
            info.contains("state=online")
        })
        .await;
        deployment
    }

    fn config(&self) -> RedisConfig {
        let mut config =
            RedisConfig::new().sentinel("main").response_timeout(Duration::from_secs(2)).connect_timeout(Duration::from_secs(3));
        for sentinel in &self.sentinels {
            config = config.address(sentinel.address().to_string());
        }
        config.lease(Duration::from_secs(3)).publish_timeout(Duration::from_secs(60))
    }
}

fn keyed(number: u64) -> Event {
    Event::json("a", number).unwrap().with_partition_key(format!("k{}", number % 5))
}

/// Publishes one after the other while the master dies in the middle, and returns what became of it.
async fn fail_over(deployment: &Deployment) -> (History, History) {
    let bus = deployment.config().connect().await.unwrap();
    let (group, all) = (History::new(), History::new());
    let keys = || Subscribe::to("a").concurrency(2).ordering(Ordering::PerKey);
    bus.subscribe(keys().group("g"), Arc::new(group.clone())).await.unwrap();
    bus.subscribe(keys(), Arc::new(all.clone())).await.unwrap();
    for number in 0..600 {
        if number == 300 {
            deployment.master.kill().await;
        }
        let event = keyed(number);
        all.publishing(&event);
        group.publish(&bus, event.clone()).await.unwrap();
        all.published(&event);
    }
    let mut promoted = client(&deployment.replica.address().to_string()).await;
    let role: Vec<redis::Value> = ask(&mut promoted, &words("ROLE")).await;
    assert!(matches!(&role[0], redis::Value::BulkString(role) if role == b"master"), "the replica was promoted: {role:?}");
    // What is lost does not come: the end is when the last event has come.
    let last = async || group.judge().handled >= 590 && all.judge().handled >= 590;
    until("the events after the failover", last).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    bus.close().await.unwrap();
    (group, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_goes_on_and_loses_no_more_than_what_it_had_not_got() {
    let deployment = Deployment::start("").await;
    let (group, all) = fail_over(&deployment).await;
    common::lost_little(&group, &all);
}

#[tokio::test]
async fn an_unknown_master_is_named() {
    let deployment = Deployment::start("").await;
    let config = RedisConfig::new().sentinel("other").address(deployment.sentinels[0].address().to_string());
    let error = config.connect_timeout(Duration::from_secs(2)).connect().await.unwrap_err();
    assert!(error.is_retryable(), "Sentinels may learn of it: {error}");
}
