//! What the scripts of groups promise: leases are fenced, searches get on, records of members go when they may, and what retention takes is
//! told.

mod common;

use common::{PATIENCE, ask, client, config, numbered, prefix, until, words};
use eventbus_core::{Bus, ErrorKind, Event, Ordering, Start, Subscribe};
use eventbus_redis::{RedisBus, RedisConfig};
use eventbus_testing::{Gate, Probe, servers::RedisServer, settle};
use redis::{aio::MultiplexedConnection, cmd};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const LEASE: Duration = Duration::from_millis(600);

/// A bus, its stream, and a plain client beside it.
async fn begin() -> (RedisBus, String, MultiplexedConnection) {
    let name = prefix();
    let bus = config().await.prefix(&name).lease(LEASE).connect().await.unwrap();
    (bus, format!("{name}:0"), client(&common::address().await).await)
}

async fn publish(bus: &RedisBus, numbers: std::ops::Range<u64>) {
    for result in bus.publish_all(numbers.map(numbered).collect()).await {
        result.unwrap();
    }
}

/// The members of group `g` that the server has records of, with how many deliveries each has.
async fn records(client: &mut MultiplexedConnection, stream: &str) -> BTreeMap<String, i64> {
    let consumers: Vec<BTreeMap<String, redis::Value>> = ask(client, cmd("XINFO").arg("CONSUMERS").arg(stream).arg("g")).await;
    let read = |mut consumer: BTreeMap<String, redis::Value>| {
        let mut take = |name: &str| consumer.remove(name).unwrap();
        (redis::from_redis_value(take("name")).unwrap(), redis::from_redis_value(take("pending")).unwrap())
    };
    consumers.into_iter().map(read).collect()
}

/// A member that dies with so many deliveries, as far as the server can tell.
async fn dead_member(client: &mut MultiplexedConnection, stream: &str, name: &str, count: usize) {
    let command = format!("XREADGROUP GROUP g {name} COUNT {count} STREAMS {stream} >");
    let _: redis::Value = ask(client, &words(&command)).await;
}

fn member() -> Subscribe {
    Subscribe::to("a").group("g").from(Start::Earliest)
}

#[tokio::test]
async fn what_a_dead_member_had_is_taken_over_and_its_record_goes() {
    let (bus, stream, mut client) = begin().await;
    bus.subscribe(member(), Arc::new(Probe::new())).await.unwrap().close().await.unwrap();
    publish(&bus, 0..10).await;
    dead_member(&mut client, &stream, "dead", 10).await;
    let probe = Probe::new();
    bus.subscribe(member(), Arc::new(probe.clone())).await.unwrap();
    let seen = probe.wait(10).await;
    assert!(seen.iter().all(|seen| seen.attempt == 2), "{seen:?}");
    settle(&bus, PATIENCE).await.unwrap();
    // While it had something its record was kept; now nobody needs it.
    until("the end of the record", async || !records(&mut client, &stream).await.contains_key("dead")).await;
    bus.close().await.unwrap();
    assert!(records(&mut client, &stream).await.keys().all(|name| name == ":waiting"), "who leaves takes its own record along");
}

#[tokio::test]
async fn a_record_with_something_pending_stays() {
    let (bus, stream, mut client) = begin().await;
    let gate = Gate::new();
    let held = Probe::held(&gate);
    bus.subscribe(member(), Arc::new(held.clone())).await.unwrap();
    publish(&bus, 0..1).await;
    held.wait(1).await;
    let holder = records(&mut client, &stream).await.into_iter().find(|(_, pending)| *pending == 1).unwrap().0;
    let looking = config().await.prefix(stream.trim_end_matches(":0")).lease(LEASE).connect().await.unwrap();
    looking.subscribe(member(), Arc::new(Probe::new())).await.unwrap();
    // Long enough that the other member has looked several times.
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(records(&mut client, &stream).await.get(&holder), Some(&1));
    gate.open();
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(held.count(), 1);
    bus.close().await.unwrap();
    looking.close().await.unwrap();
}

#[tokio::test]
async fn a_search_gets_on_past_pages_of_what_is_gone_and_counts_it() {
    const GONE: u64 = 450;
    let (bus, stream, mut client) = begin().await;
    bus.subscribe(member(), Arc::new(Probe::new())).await.unwrap().close().await.unwrap();
    publish(&bus, 0..500).await;
    dead_member(&mut client, &stream, "dead", 500).await;
    let removed: u64 = ask(&mut client, cmd("XTRIM").arg(&stream).arg("MAXLEN").arg(500 - GONE)).await;
    assert_eq!(removed, GONE);
    let probe = Probe::new();
    let mut errors = bus.errors();
    let subscription = bus.subscribe(member(), Arc::new(probe.clone())).await.unwrap();
    assert_eq!(probe.wait(50).await[0].number(), GONE);
    settle(&bus, PATIENCE).await.unwrap();
    until("the count of what is gone", async || subscription.stats().lost_to_retention == GONE).await;
    let told = errors.next().await.unwrap();
    assert!(told.to_string().contains("retention"), "{told}");
    assert_eq!(probe.count(), 50);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_retention_takes_before_it_was_given_is_counted() {
    let name = prefix();
    let bus = config().await.prefix(&name).max_msgs(100).connect().await.unwrap();
    let gate = Gate::new();
    let (grouped, alone) = (Probe::held(&gate), Probe::held(&gate));
    let grouped_stats = bus.subscribe(member().buffer(10), Arc::new(grouped.clone())).await.unwrap();
    let alone_stats = bus.subscribe(Subscribe::to("a").buffer(10), Arc::new(alone.clone())).await.unwrap();
    publish(&bus, 0..1).await;
    grouped.wait(1).await;
    alone.wait(1).await;
    for round in 0..20 {
        publish(&bus, 1 + round * 200..1 + (round + 1) * 200).await;
    }
    until("the trim", async || bus.stats().await.unwrap().retained.unwrap() < 1000).await;
    gate.open();
    settle(&bus, PATIENCE).await.unwrap();
    for (stats, probe) in [(grouped_stats, grouped), (alone_stats, alone)] {
        // Without a group it is told by servers from 7.0 on.
        if stats.stats().group.is_none() && common::is_before_7(&mut client(&common::address().await).await).await {
            continue;
        }
        let sum = async || {
            bus.stats().await.unwrap();
            (probe.count() as u64, stats.stats().lost_to_retention)
        };
        let mut last = (0, 0);
        let all = async {
            while last.0 + last.1 != 4001 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                last = sum().await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert!(done.is_ok(), "{:?}: {} handled and {} lost are not 4001", stats, last.0, last.1);
        assert!(last.1 > 1000, "{last:?}");
    }
    bus.close().await.unwrap();
}

/// As Redis 7.0 does after a restart.
#[tokio::test]
async fn a_server_that_forgot_how_much_a_group_was_given_causes_no_alarm() {
    let name = prefix();
    let (bus, stream) = (config().await.prefix(&name).max_msgs(100).connect().await.unwrap(), format!("{name}:0"));
    let mut client = client(&common::address().await).await;
    if common::is_before_7(&mut client).await {
        return;
    }
    let probe = Probe::new();
    let subscription = bus.subscribe(member(), Arc::new(probe.clone())).await.unwrap();
    let handle = async |numbers: std::ops::Range<u64>| {
        // So few at once that none is trimmed before it was given.
        for first in numbers.step_by(50) {
            publish(&bus, first..first + 50).await;
            probe.wait(first as usize + 50).await;
        }
    };
    for hundred in 0..20 {
        handle(hundred * 100..(hundred + 1) * 100).await;
        let newest: Vec<redis::Value> = ask(&mut client, &words(&format!("XREVRANGE {stream} + - COUNT 1"))).await;
        let (newest, _): (String, redis::Value) = redis::from_redis_value(newest[0].clone()).unwrap();
        let _: String = ask(&mut client, &words(&format!("XGROUP SETID {stream} g {newest} ENTRIESREAD 1"))).await;
    }
    until("the trim", async || bus.stats().await.unwrap().retained.unwrap() < 500).await;
    settle(&bus, PATIENCE).await.unwrap();
    let lost: Option<u64> = ask(&mut client, &words(&format!("HGET {{{stream}}}:group:g lost"))).await;
    assert_eq!(lost, None, "as lost to retention");
    subscription.close().await.unwrap();
    publish(&bus, 2000..2003).await;
    let groups = bus.stats().await.unwrap().groups;
    assert_eq!(groups[0].lag, 3, "{groups:?}");
}

#[tokio::test]
async fn a_late_acknowledgement_of_a_lost_lease_settles_nothing() {
    let (bus, stream, mut client) = begin().await;
    let gate = Gate::new();
    let slow = Probe::held(&gate);
    bus.subscribe(member().timeout(PATIENCE), Arc::new(slow.clone())).await.unwrap();
    publish(&bus, 0..1).await;
    slow.wait(1).await;
    // Another member takes it over, as if this one had been silent for longer than its lease.
    let pending: Vec<(String, String, i64, i64)> = ask(&mut client, &words(&format!("XPENDING {stream} g - + 10"))).await;
    let id = &pending[0].0;
    let taken: redis::Value = ask(&mut client, &words(&format!("XCLAIM {stream} g other 0 {id}"))).await;
    assert!(matches!(taken, redis::Value::Array(entries) if entries.len() == 1));
    // The lease of what is held is looked after soon, and what is lost is stopped.
    tokio::time::sleep(LEASE).await;
    gate.open();
    tokio::time::sleep(LEASE / 2).await;
    let pending: Vec<(String, String, i64, i64)> = ask(&mut client, &words(&format!("XPENDING {stream} g - + 10"))).await;
    assert_eq!(pending.len(), 1, "it is still to be settled by whoever has it: {pending:?}");
    // Which is silent, and so the first member gets it once more.
    slow.wait(2).await;
    settle(&bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_retention_takes_under_a_handler_is_handled_to_its_end() {
    let (bus, stream, mut client) = begin().await;
    let gate = Gate::new();
    let slow = Probe::held(&gate);
    let subscription = bus.subscribe(member().timeout(PATIENCE), Arc::new(slow.clone())).await.unwrap();
    publish(&bus, 0..1).await;
    slow.wait(1).await;
    let looking = config().await.prefix(stream.trim_end_matches(":0")).lease(LEASE).connect().await.unwrap();
    let other = looking.subscribe(member(), Arc::new(Probe::new())).await.unwrap();
    let removed: u64 = ask(&mut client, cmd("XTRIM").arg(&stream).arg("MAXLEN").arg(0)).await;
    assert_eq!(removed, 1);
    // The lease is looked after several times, and the other member looks for what is left behind.
    tokio::time::sleep(LEASE * 4).await;
    gate.open();
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!((subscription.stats().acked, slow.count()), (1, 1));
    assert_eq!(subscription.stats().lost_to_retention + other.stats().lost_to_retention, 0, "it was handled");
    assert!(records(&mut client, &stream).await.values().all(|pending| *pending == 0), "it was settled");
    looking.close().await.unwrap();
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_group_that_is_gone_is_told_of_once() {
    let (bus, stream, mut client) = begin().await;
    let probe = Probe::new();
    for _ in 0..2 {
        bus.subscribe(member(), Arc::new(probe.clone())).await.unwrap();
    }
    publish(&bus, 0..1).await;
    settle(&bus, PATIENCE).await.unwrap();
    let before: BTreeMap<_, _> = records(&mut client, &stream).await;
    let mut errors = bus.errors();
    let destroyed: u64 = ask(&mut client, cmd("XGROUP").arg("DESTROY").arg(&stream).arg("g")).await;
    assert_eq!((destroyed, before.len()), (1, 2));
    let groups = async |client: &mut MultiplexedConnection| -> usize {
        let groups: Vec<redis::Value> = ask(client, cmd("XINFO").arg("GROUPS").arg(&stream)).await;
        groups.len()
    };
    until("the group", async || groups(&mut client).await == 1).await;
    until("both members", async || records(&mut client, &stream).await == before).await;
    publish(&bus, 1..2).await;
    probe.wait(2).await;
    bus.close().await.unwrap();
    let mut told = 0;
    while let Some(error) = errors.next().await {
        told += usize::from(error.to_string().contains("made again"));
    }
    assert_eq!(told, 1);
}

#[tokio::test]
async fn scripts_that_the_server_forgets_are_loaded_again() {
    // A server of its own: what is forgotten is forgotten for everybody.
    let server = RedisServer::builder().in_memory().start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).connect().await.unwrap();
    let mut client = client(&server.address().to_string()).await;
    let probe = Probe::with(|ctx, _| async move {
        if ctx.attempt() == 1 { Err(eventbus_core::HandlerError::retry_after("again", Duration::from_millis(50))) } else { Ok(()) }
    });
    bus.subscribe(member().concurrency(4).ordering(Ordering::Unordered), Arc::new(probe.clone())).await.unwrap();
    for number in 0..20 {
        let _: String = ask(&mut client, &words("SCRIPT FLUSH")).await;
        bus.publish(numbered(number)).await.unwrap();
    }
    probe.wait(40).await;
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(probe.count(), 40);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_retry_survives_the_process_that_asked_for_it() {
    let (bus, _, _) = begin().await;
    let delay = Duration::from_millis(700);
    let failing = Probe::with(move |_, _| async move { Err(eventbus_core::HandlerError::retry_after("later", delay)) });
    let first = bus.subscribe(member(), Arc::new(failing.clone())).await.unwrap();
    publish(&bus, 0..1).await;
    let begun = failing.wait(1).await[0].at;
    until("the retry to be put back", async || first.stats().retried == 1).await;
    first.close().await.unwrap();
    let second = Probe::new();
    bus.subscribe(member(), Arc::new(second.clone())).await.unwrap();
    let seen = second.wait(1).await;
    assert_eq!(seen[0].attempt, 2);
    assert!(seen[0].at - begun >= delay, "{:?}", seen[0].at - begun);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_group_that_wants_little_passes_over_the_rest_quickly() {
    let (bus, stream, mut client) = begin().await;
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("rare").group("g"), Arc::new(probe.clone())).await.unwrap();
    for lot in 0..20 {
        let mut events: Vec<Event> = (0..500).map(numbered).collect();
        events.push(Event::json("rare", lot).unwrap());
        for result in bus.publish_all(events).await {
            result.unwrap();
        }
    }
    assert_eq!(probe.wait(20).await.len(), 20);
    settle(&bus, PATIENCE).await.unwrap();
    let pending: (i64, redis::Value, redis::Value, redis::Value) = ask(&mut client, &words(&format!("XPENDING {stream} g"))).await;
    assert_eq!(pending.0, 0, "what is not wanted is acknowledged, too");
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_full_server_says_so_and_takes_events_again_when_there_is_room() {
    let server = RedisServer::builder().in_memory().config("maxmemory 6mb\nmaxmemory-policy noeviction").start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).connect().await.unwrap();
    let probe = Probe::new();
    bus.subscribe(member(), Arc::new(probe.clone())).await.unwrap();
    let large = || Event::builder("a").bytes("application/octet-stream", vec![7; 100_000]).build().unwrap();
    let mut accepted = 0;
    let refused = loop {
        match bus.publish(large()).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "a server with 6 MB took {accepted} events of 100 kB");
    };
    assert!(matches!(refused.kind(), ErrorKind::Full { .. }) && refused.is_retryable(), "{refused}");
    probe.wait(accepted).await;
    let mut client = client(&server.address().to_string()).await;
    let _: String = ask(&mut client, &words("CONFIG SET maxmemory 100mb")).await;
    bus.publish(large()).await.unwrap();
    probe.wait(accepted + 1).await;
    settle(&bus, PATIENCE).await.unwrap();
    assert_eq!(probe.count(), accepted + 1, "nothing was dropped, and nothing was stored that was refused");
    bus.close().await.unwrap();
}

/// Publishes until the server has no room for more, not even for little. Returns how many it took.
async fn fill(bus: &RedisBus, server: &RedisServer) -> usize {
    let mut accepted = 0;
    while bus.publish(Event::builder("a").bytes("application/octet-stream", vec![7; 100_000]).build().unwrap()).await.is_ok() {
        accepted += 1;
        assert!(accepted < 1000, "a server with 6 MB took {accepted} events of 100 kB");
    }
    let _: String = ask(&mut client(&server.address().to_string()).await, &words("CONFIG SET maxmemory 4mb")).await;
    accepted
}

#[tokio::test]
async fn a_full_server_still_hands_over_retries_and_renews_leases() {
    let server = RedisServer::builder().in_memory().config("maxmemory 6mb\nmaxmemory-policy noeviction").start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).lease(LEASE).connect().await.unwrap();
    let gate = Gate::new();
    let failing = Probe::with({
        let gate = gate.clone();
        move |ctx, _| {
            let (gate, attempt) = (gate.clone(), ctx.attempt());
            async move {
                gate.pass().await;
                if attempt == 1 { Err(eventbus_core::HandlerError::retry_after("again", Duration::from_millis(50))) } else { Ok(()) }
            }
        }
    });
    let subscription = bus.subscribe(member().timeout(PATIENCE), Arc::new(failing.clone())).await.unwrap();
    let accepted = fill(&bus, &server).await;
    failing.wait(1).await;
    // Leases are renewed several times, or others would be given what is held.
    tokio::time::sleep(LEASE * 2).await;
    gate.open();
    failing.wait(2 * accepted).await;
    until("the end of all", async || subscription.stats().acked == accepted as u64).await;
    assert_eq!(failing.count(), 2 * accepted);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_full_server_is_trimmed_of_what_is_too_old() {
    let server = RedisServer::builder().in_memory().config("maxmemory 6mb\nmaxmemory-policy noeviction").start().await;
    // Longer than a stream is looked after when nothing more is stored.
    let config = RedisConfig::new().address(server.address().to_string()).max_age(Duration::from_secs(7));
    let bus = config.connect().await.unwrap();
    fill(&bus, &server).await;
    until("room for one more", async || bus.publish(numbered(1)).await.is_ok()).await;
    bus.close().await.unwrap();
}
