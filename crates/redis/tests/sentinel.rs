//! A master that dies and a replica that Sentinels promote: what is lost is stated, and no more than that is.
#![cfg(feature = "sentinel")]

mod common;

use common::{PATIENCE, ask, client, until, words};
use eventbus_core::{Bus, Error, ErrorKind, Event, Ordering, Subscribe};
use eventbus_redis::{RedisBus, RedisConfig};
use eventbus_testing::{
    History,
    servers::{Proxy, RedisServer},
    settle,
};
use redis::cmd;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// A master with a replica, and Sentinels that watch them.
struct Deployment {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Deployment {
    /// One with three Sentinels.
    async fn start() -> Self {
        let master = RedisServer::start().await;
        let replica = RedisServer::builder().replica_of(&master).start().await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::builder().sentinel("main", &master, 2).start().await);
        }
        Self { master, replica, sentinels }.ready().await
    }

    /// One whose replica follows its master through a proxy, so that it can be held back. Its one Sentinel needs nobody's vote, and would
    /// have the replica follow the master itself only after a minute.
    async fn with_a_proxy(settings_of_master: &str) -> (Self, Proxy) {
        let master = RedisServer::builder().config(settings_of_master).start().await;
        let proxy = Proxy::to(master.address()).await;
        let follows = format!("replicaof {} {}\nrepl-diskless-sync-delay 0", proxy.address().ip(), proxy.address().port());
        let replica = RedisServer::builder().config(&follows).start().await;
        let sentinel = RedisServer::builder().sentinel("main", &master, 1).config("sentinel failover-timeout main 60000");
        let sentinels = vec![sentinel.start().await];
        (Self { master, replica, sentinels }.ready().await, proxy)
    }

    /// Returns when the Sentinels know of everybody and the replica follows.
    async fn ready(self) -> Self {
        let others = (self.sentinels.len() - 1).to_string();
        for sentinel in &self.sentinels {
            let mut sentinel = client(&sentinel.address().to_string()).await;
            until("Sentinels that know each other and the replica", async || {
                let info: Vec<String> = ask(&mut sentinel, &words("SENTINEL MASTER main")).await;
                let is = |name: &str, value: &str| info.chunks(2).any(|pair| pair[0] == name && pair[1] == value);
                is("num-other-sentinels", &others) && is("num-slaves", "1")
            })
            .await;
        }
        until("a replica that follows", async || {
            said(&self.master, "slave0").await.is_some_and(|replica| replica.contains("state=online"))
        })
        .await;
        self
    }

    /// Returns when the replica has all that the master has now.
    async fn replica_has_everything(&self) {
        let offset = async |server, name| said(server, name).await.and_then(|offset| offset.parse::<u64>().ok()).unwrap();
        let sent = offset(&self.master, "master_repl_offset").await;
        until("a replica that has everything", async || offset(&self.replica, "slave_repl_offset").await >= sent).await;
    }

    async fn replica_is_master(&self) -> bool {
        said(&self.replica, "role").await.as_deref() == Some("master")
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

/// What a server says of itself under this name.
async fn said(server: &RedisServer, name: &str) -> Option<String> {
    let info: String = ask(&mut client(&server.address().to_string()).await, &words("INFO all")).await;
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
}

fn per_key() -> Subscribe {
    Subscribe::to("a").concurrency(2).ordering(Ordering::PerKey)
}

/// Makes groups that nobody is a member of.
async fn groups(bus: &RedisBus, names: &[&str]) {
    for name in names {
        bus.subscribe(per_key().group(*name), Arc::new(History::new())).await.unwrap().close().await.unwrap();
    }
}

/// Publishes an event that histories are to judge.
async fn publish(bus: &RedisBus, histories: &[&History], event: &Event) -> Result<(), Error> {
    histories.iter().for_each(|history| history.publishing(event));
    bus.publish(event.clone()).await?;
    histories.iter().for_each(|history| history.published(event));
    Ok(())
}

/// Publishes one after the other, and returns their ids.
async fn publish_all(bus: &RedisBus, histories: &[&History], numbers: std::ops::Range<u64>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for event in numbers.map(keyed) {
        publish(bus, histories, &event).await.unwrap();
        ids.insert(event.id().to_owned());
    }
    ids
}

fn lost(history: &History) -> BTreeSet<String> {
    history.judge().lost.into_iter().collect()
}

fn keyed(number: u64) -> Event {
    Event::json("a", number).unwrap().with_partition_key(format!("k{}", number % 5))
}

/// Publishes one after the other while the master dies in the middle, and returns what became of it.
async fn fail_over(deployment: &Deployment) -> (History, History) {
    let bus = deployment.config().database(3).connect().await.unwrap();
    let (group, all) = (History::new(), History::new());
    bus.subscribe(per_key().group("g"), Arc::new(group.clone())).await.unwrap();
    bus.subscribe(per_key(), Arc::new(all.clone())).await.unwrap();
    for number in 0..600 {
        if number == 300 {
            deployment.master.kill().await;
        }
        publish(&bus, &[&group, &all], &keyed(number)).await.unwrap();
    }
    assert!(deployment.replica_is_master().await);
    assert!(said(&deployment.replica, "db3").await.is_some(), "the database is the same there");
    // What is lost does not come: the end is when nothing is left.
    until("the events after the failover", async || [&group, &all].iter().all(|history| history.judge().handled >= 590)).await;
    settle(&bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
    (group, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_goes_on_and_loses_no_more_than_what_it_had_not_got() {
    let deployment = Deployment::start().await;
    let (group, all) = fail_over(&deployment).await;
    common::lost_little(&group, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_that_was_held_back_had_not_got_is_lost_and_nothing_else() {
    let (deployment, proxy) = Deployment::with_a_proxy("").await;
    let bus = deployment.config().connect().await.unwrap();
    let [away, waking, all] = [(); 3].map(|()| History::new());
    let histories = [&away, &waking, &all];
    groups(&bus, &["away", "waking"]).await;
    bus.subscribe(per_key(), Arc::new(all.clone())).await.unwrap();
    let before = publish_all(&bus, &histories, 0..300).await;
    deployment.replica_has_everything().await;
    proxy.stall();
    let window = publish_all(&bus, &histories, 300..500).await;
    // One group and the subscription without one handle all of it while the master lives; the other group is away.
    bus.subscribe(per_key().group("waking"), Arc::new(waking.clone())).await.unwrap();
    waking.until_handled().await;
    all.until_handled().await;
    settle(&bus, PATIENCE).await.unwrap();
    deployment.master.kill().await;
    proxy.cut();
    let after = publish_all(&bus, &histories, 500..600).await;
    assert!(deployment.replica_is_master().await);
    bus.subscribe(per_key().group("away"), Arc::new(away.clone())).await.unwrap();
    let rest = before.len() + after.len();
    until("what is left", async || {
        waking.deliveries() >= 2 * before.len() + window.len() + after.len() && all.judge().lost.is_empty() && away.judge().handled >= rest
    })
    .await;
    settle(&bus, PATIENCE).await.unwrap();
    let kept: usize = ask(&mut client(&deployment.replica.address().to_string()).await, cmd("XLEN").arg("events:0")).await;
    assert_eq!(kept, rest, "the window is gone from the server: nothing of it comes any more");
    bus.close().await.unwrap();
    eprintln!("of {} events acknowledged while the replica was held back, a group that was away lost {}", window.len(), lost(&away).len());
    assert_eq!(lost(&away), window, "what was acknowledged while the replica was held back, and all of that");
    away.judge().nothing_came_twice().every_key_is_in_order();
    // What this group had done is lost with the master, too: what the replica has comes again, once.
    waking.judge().nothing_is_lost().came_twice_at_most(before.len()).every_key_is_in_order();
    assert_eq!(waking.judge().duplicates, before.len());
    all.judge().nothing_is_lost().nothing_came_twice().every_key_is_in_order();
}

/// How long the master of the next test goes on without a replica, in seconds.
const LAG: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_wants_a_replica_acknowledges_nothing_beyond_the_lag() {
    let settings = format!("min-replicas-to-write 1\nmin-replicas-max-lag {LAG}");
    let (deployment, proxy) = Deployment::with_a_proxy(&settings).await;
    let bus = Arc::new(deployment.config().connect().await.unwrap());
    let hasty = deployment.config().publish_timeout(Duration::from_secs(2)).connect().await.unwrap();
    let [away, there] = [(); 2].map(|()| History::new());
    let histories = [&away, &there];
    groups(&bus, &["away"]).await;
    bus.subscribe(per_key().group("there"), Arc::new(there.clone())).await.unwrap();
    let before = publish_all(&bus, &histories, 0..300).await;
    there.until_handled().await;
    settle(&*bus, PATIENCE).await.unwrap();
    deployment.replica_has_everything().await;
    proxy.stall();
    let (cut, mut last, mut window) = (Instant::now(), Duration::ZERO, BTreeSet::new());
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let refused = loop {
        pace.tick().await;
        let event = keyed(300 + window.len() as u64);
        match publish(&hasty, &histories, &event).await {
            Ok(()) => last = cut.elapsed(),
            Err(error) => break error,
        }
        window.insert(event.id().to_owned());
        assert!(cut.elapsed() < PATIENCE, "it never stops acknowledging");
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    // Who has more patience waits for the replica that takes over.
    let refusals = said(&deployment.master, "errorstat_NOREPLICAS").await;
    let waiting = keyed(10_000);
    let publishing = tokio::spawn({
        let (bus, event, [away, there]) = (Arc::clone(&bus), waiting.clone(), histories.map(Clone::clone));
        async move { publish(&bus, &[&away, &there], &event).await }
    });
    until("a publish that was refused", async || said(&deployment.master, "errorstat_NOREPLICAS").await != refusals).await;
    assert!(!publishing.is_finished());
    deployment.master.kill().await;
    proxy.cut();
    publishing.await.unwrap().unwrap();
    assert!(deployment.replica_is_master().await);
    let mut after = publish_all(&bus, &histories, 20_000..20_100).await;
    after.insert(waiting.id().to_owned());
    bus.subscribe(per_key().group("away"), Arc::new(away.clone())).await.unwrap();
    let rest = before.len() + after.len();
    until("what is left", async || [&away, &there].iter().all(|history| history.judge().handled >= rest)).await;
    settle(&*bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
    hasty.close().await.unwrap();
    eprintln!("the master acknowledged {} events, for {last:?} without its replica; {} were lost", window.len(), lost(&away).len());
    assert_eq!(lost(&away), window);
    assert!(!window.is_empty() && lost(&there).is_subset(&window), "{:?}", lost(&there));
    // The replica answers each second, the master looks each second and counts whole ones.
    assert!(last < Duration::from_secs(LAG + 3), "{last:?}");
    for history in histories {
        history.judge().every_key_is_in_order();
    }
}

#[tokio::test]
async fn an_unknown_master_is_named() {
    let deployment = Deployment::start().await;
    let config = RedisConfig::new().sentinel("other").address(deployment.sentinels[0].address().to_string());
    let error = config.connect_timeout(Duration::from_secs(2)).connect().await.unwrap_err();
    assert!(error.is_retryable(), "Sentinels may learn of it: {error}");
}
