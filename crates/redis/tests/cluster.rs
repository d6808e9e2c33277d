//! A cluster of three: partitions on different nodes, slots that move while events flow, and a master that dies under them.
#![cfg(feature = "cluster")]

mod common;

use common::{PATIENCE, ask, client, until, words};
use eventbus_core::{Bus, DeadLetterFilter, Error, Event, HandlerError, Ordering, Subscribe};
use eventbus_redis::RedisConfig;
use eventbus_runtime::{BusExt as _, Gather};
use eventbus_testing::{History, Probe, servers::RedisServer, settle};
use redis::cmd;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const SLOTS: u16 = 16384;
const NODE: &str = "cluster-enabled yes\ncluster-node-timeout 2000";

struct Cluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
}

impl Cluster {
    /// Three masters, each with a third of the slots.
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(RedisServer::builder().config(NODE).start().await);
        }
        let mut ids = Vec::new();
        for (place, node) in (0_u16..).zip(&nodes) {
            let mut node = client(&node.address().to_string()).await;
            ids.push(ask(&mut node, &words("CLUSTER MYID")).await);
            let (first, last) = (SLOTS / 3 * place, if place == 2 { SLOTS - 1 } else { SLOTS / 3 * (place + 1) - 1 });
            // Servers before 7.0 take no ranges.
            let _: String = ask(&mut node, cmd("CLUSTER").arg("ADDSLOTS").arg((first..=last).collect::<Vec<_>>())).await;
            let _: String = ask(&mut node, cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(place + 1)).await;
        }
        // Only now: who knows of another node may not choose its epoch any more.
        let mut first = client(&nodes[0].address().to_string()).await;
        for other in nodes[1..].iter().map(RedisServer::address) {
            let _: String = ask(&mut first, cmd("CLUSTER").arg("MEET").arg(other.ip().to_string()).arg(other.port())).await;
        }
        let cluster = Self { nodes, ids };
        for node in &cluster.nodes {
            let mut node = client(&node.address().to_string()).await;
            until("a cluster that is whole", async || {
                let info: String = ask(&mut node, &words("CLUSTER INFO")).await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        cluster
    }

    fn config(&self) -> RedisConfig {
        RedisConfig::new().cluster().address(self.nodes[0].address().to_string()).partitions(6).lease(Duration::from_secs(3))
    }

    async fn node(&self, place: usize) -> redis::aio::MultiplexedConnection {
        client(&self.nodes[place].address().to_string()).await
    }

    /// A replica of a node, which takes over when that dies.
    async fn replica_of(&self, place: usize) -> RedisServer {
        let server = RedisServer::builder().config(NODE).start().await;
        let (mut replica, master) = (client(&server.address().to_string()).await, self.nodes[place].address());
        let _: String = ask(&mut replica, cmd("CLUSTER").arg("MEET").arg(master.ip().to_string()).arg(master.port())).await;
        until("a node that knows the others", async || {
            let info: String = ask(&mut replica, &words("CLUSTER INFO")).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")
        })
        .await;
        let _: String = ask(&mut replica, cmd("CLUSTER").arg("REPLICATE").arg(&self.ids[place])).await;
        until("a replica that follows", async || {
            let info: String = ask(&mut replica, &words("INFO replication")).await;
            info.contains("master_link_status:up")
        })
        .await;
        for node in &self.nodes {
            let mut node = client(&node.address().to_string()).await;
            until("a replica that everybody knows", async || {
                let replicas: Vec<String> = ask(&mut node, cmd("CLUSTER").arg("REPLICAS").arg(&self.ids[place])).await;
                replicas.len() == 1
            })
            .await;
        }
        server
    }

    /// Which node has a key.
    async fn owner(&self, key: &str) -> usize {
        let slot: u16 = ask(&mut self.node(0).await, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        usize::from((slot / (SLOTS / 3)).min(2))
    }

    /// Moves the slot of a key to another node, as resharding does.
    async fn move_slot(&self, key: &str, to: usize) {
        let from = self.owner(key).await;
        let (mut source, mut target) = (self.node(from).await, self.node(to).await);
        let slot: u16 = ask(&mut source, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        let set = |how: &str, id: &str| {
            let mut command = cmd("CLUSTER");
            command.arg("SETSLOT").arg(slot).arg(how).arg(id);
            command
        };
        let _: String = ask(&mut target, &set("IMPORTING", &self.ids[from])).await;
        let _: String = ask(&mut source, &set("MIGRATING", &self.ids[to])).await;
        let address = self.nodes[to].address();
        loop {
            let keys: Vec<String> = ask(&mut source, cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(100)).await;
            if keys.is_empty() {
                break;
            }
            let mut command = cmd("MIGRATE");
            command.arg(address.ip().to_string()).arg(address.port()).arg("").arg(0).arg(10_000).arg("KEYS").arg(keys);
            let _: String = ask(&mut source, &command).await;
        }
        for node in [&mut target, &mut source] {
            let _: String = ask(node, &set("NODE", &self.ids[to])).await;
        }
    }
}

fn keyed(number: u64) -> Event {
    Event::json("a", number).unwrap().with_partition_key(format!("k{}", number % 20))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_on_all_nodes_and_slots_move_under_events() {
    let cluster = Cluster::start().await;
    let bus = cluster.config().connect().await.unwrap();
    let mut owners = BTreeSet::new();
    for partition in 0..6 {
        owners.insert(cluster.owner(&format!("events:{partition}")).await);
    }
    assert!(owners.len() > 1, "the partitions are on several nodes");
    let (group, all) = (History::new(), History::new());
    let keys = || Subscribe::to("a").concurrency(4).ordering(Ordering::PerKey);
    bus.subscribe(keys().group("g"), Arc::new(group.clone())).await.unwrap();
    bus.subscribe(keys(), Arc::new(all.clone())).await.unwrap();
    let to = (cluster.owner("events:0").await + 1) % 3;
    for number in 0..600 {
        if number == 300 {
            cluster.move_slot("events:0", to).await;
        }
        let event = keyed(number);
        all.publishing(&event);
        group.publish(&bus, event.clone()).await.unwrap();
        all.published(&event);
    }
    // Any other node would refuse.
    let there: u64 = ask(&mut cluster.node(to).await, &words("XLEN events:0")).await;
    assert!(there > 0, "the slot was moved with what is in it");
    for history in [&group, &all] {
        history.until_handled_within(PATIENCE).await;
        history.judge().nothing_is_lost().every_key_is_in_order();
    }
    group.judge().nothing_came_twice();
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(bus.stats().await.unwrap().retained, Some(600));
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_requests_and_groups_work_whichever_node_has_them() {
    let cluster = Cluster::start().await;
    let bus = cluster.config().connect().await.unwrap();
    let rejecting = Probe::with(|_, _| async { Err(HandlerError::reject("no")) });
    bus.subscribe(Subscribe::to("a").group("g").ordering(Ordering::Unordered), Arc::new(rejecting)).await.unwrap();
    for result in bus.publish_all((0..30).map(keyed).collect()).await {
        result.unwrap();
    }
    settle(&bus, PATIENCE).await.unwrap();
    let letters = bus.dead_letters().unwrap();
    assert_eq!(letters.list(DeadLetterFilter::all()).await.unwrap().len(), 30);
    assert_eq!(letters.redrive(DeadLetterFilter::all().limit(5)).await.unwrap(), 5);
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(letters.remove(DeadLetterFilter::all()).await.unwrap(), 30);
    let question = Subscribe::to("ask").ordering(Ordering::Unordered);
    bus.respond(question, "r", |event: Event| async move { Ok::<_, Error>(*event.decode::<u64>()? * 2) }).await.unwrap();
    let replies = bus.request(Event::json("ask", 21).unwrap(), Gather::from(["r"]).timeout(PATIENCE)).await.unwrap();
    assert_eq!(*replies.of("r").unwrap().decode::<u64>().unwrap(), 42);
    bus.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_and_loses_no_more_than_what_it_had_not_got() {
    let cluster = Cluster::start().await;
    let dying = cluster.owner("events:0").await;
    let replica = cluster.replica_of(dying).await;
    let bus = cluster.config().publish_timeout(PATIENCE * 2).connect().await.unwrap();
    let (group, all) = (History::new(), History::new());
    let keys = || Subscribe::to("a").concurrency(2).ordering(Ordering::PerKey);
    bus.subscribe(keys().group("g"), Arc::new(group.clone())).await.unwrap();
    bus.subscribe(keys(), Arc::new(all.clone())).await.unwrap();
    for number in 0..600 {
        if number == 300 {
            cluster.nodes[dying].kill().await;
        }
        let event = keyed(number);
        all.publishing(&event);
        group.publish(&bus, event.clone()).await.unwrap();
        all.published(&event);
    }
    let role: Vec<redis::Value> = ask(&mut client(&replica.address().to_string()).await, &words("ROLE")).await;
    assert!(matches!(&role[0], redis::Value::BulkString(role) if role == b"master"), "the replica was promoted: {role:?}");
    until("the events after the failover", async || [&group, &all].iter().all(|history| history.judge().handled >= 590)).await;
    settle(&bus, PATIENCE).await.unwrap();
    common::lost_little(&group, &all);
    bus.close().await.unwrap();
}
