//! Subscriptions without a group: on streams that lose entries at either end, and where much fails.

mod common;

use common::{ask, client, numbered, words};
use eventbus_core::{Bus, Event, HandlerError, Ordering, Start, Subscribe};
use eventbus_redis::RedisConfig;
use eventbus_testing::{Gate, Probe, servers::RedisServer};
use redis::aio::MultiplexedConnection;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// How often a server was asked for a range of a stream.
async fn ranges(client: &mut MultiplexedConnection) -> u64 {
    let info: String = ask(client, &words("INFO commandstats")).await;
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// How many bytes a server has sent.
async fn sent(client: &mut MultiplexedConnection) -> usize {
    let info: String = ask(client, &words("INFO stats")).await;
    info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_replay_of_an_emptied_stream_waits_for_what_is_new() {
    let server = RedisServer::builder().in_memory().start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).connect().await.unwrap();
    for number in 0..3 {
        bus.publish(numbered(number)).await.unwrap();
    }
    let mut client = client(&server.address().to_string()).await;
    let _: u64 = ask(&mut client, &words("XTRIM events:0 MAXLEN 0")).await;
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a").from(Start::Earliest), Arc::new(probe.clone())).await.unwrap();
    let before = ranges(&mut client).await;
    // Time enough to ask thousands of times.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = ranges(&mut client).await - before;
    assert!(asked < 50, "an empty stream was asked {asked} times");
    bus.publish(numbered(3)).await.unwrap();
    assert_eq!(probe.wait(1).await[0].number(), 3);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_replay_reads_no_more_than_its_buffer_has_bytes_for() {
    const EVENTS: usize = 400;
    const SIZE: usize = 64 * 1024;
    let server = RedisServer::builder().in_memory().start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).connect().await.unwrap();
    let large = || Event::builder("a").bytes("application/octet-stream", vec![7; SIZE]).build().unwrap();
    for result in bus.publish_all((0..EVENTS).map(|_| large()).collect()).await {
        result.unwrap();
    }
    let mut client = client(&server.address().to_string()).await;
    let (before, gate) = (sent(&mut client).await, Gate::new());
    let probe = Probe::held(&gate);
    let subscribe = Subscribe::to("a").from(Start::Earliest).buffer_bytes(16 * SIZE);
    bus.subscribe(subscribe, Arc::new(probe.clone())).await.unwrap();
    probe.wait(1).await;
    let read = sent(&mut client).await - before;
    assert!(read < EVENTS * SIZE / 3, "{read} bytes were read into a buffer of {}", 16 * SIZE);
    gate.open();
    probe.wait(EVENTS).await;
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_lost_its_newest_entries_is_not_delivered_again() {
    let server = RedisServer::builder().in_memory().start().await;
    let bus = RedisConfig::new().address(server.address().to_string()).connect().await.unwrap();
    let (new, all) = (Probe::new(), Probe::new());
    bus.subscribe(Subscribe::to("a"), Arc::new(new.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("a").from(Start::Earliest), Arc::new(all.clone())).await.unwrap();
    let mut client = client(&server.address().to_string()).await;
    let mut replica: Vec<u8> = Vec::new();
    for number in 0..5 {
        // As on a replica that is promoted and does not have the last two yet.
        if number == 3 {
            replica = ask(&mut client, &words("DUMP events:0")).await;
        }
        bus.publish(numbered(number)).await.unwrap();
    }
    new.wait(5).await;
    all.wait(5).await;
    let mut errors = bus.errors();
    let _: String = ask(&mut client, words("RESTORE events:0 0").arg(replica).arg("REPLACE")).await;
    let told = errors.next().await.unwrap();
    assert!(told.to_string().contains("newest"), "{told}");
    bus.publish(numbered(5)).await.unwrap();
    for probe in [new, all] {
        probe.wait(6).await;
        assert_eq!(probe.numbers(), [0, 1, 2, 3, 4, 5]);
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_failed_fills_the_buffer_until_it_is_tried_again() {
    const EVENTS: usize = 100;
    const BUFFER: usize = 10;
    let bus = common::config().await.connect().await.unwrap();
    let (failed, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let probe = Probe::with({
        let (failed, most) = (Arc::clone(&failed), Arc::clone(&most));
        move |ctx, _| {
            let outcome = if ctx.attempt() == 1 {
                most.fetch_max(failed.fetch_add(1, SeqCst) + 1, SeqCst);
                Err(HandlerError::retry_after("later", Duration::from_millis(100)))
            } else {
                failed.fetch_sub(1, SeqCst);
                Ok(())
            };
            async { outcome }
        }
    });
    let subscribe = Subscribe::to("a").buffer(BUFFER).concurrency(4).ordering(Ordering::Unordered);
    bus.subscribe(subscribe, Arc::new(probe.clone())).await.unwrap();
    for outcome in bus.publish_all((0..EVENTS as u64).map(numbered).collect()).await {
        outcome.unwrap();
    }
    probe.wait(2 * EVENTS).await;
    let most = most.load(SeqCst);
    // What waits to be tried again, and as much that waits for a handler or has one.
    assert!(most <= 3 * BUFFER, "{most} failed events were kept beside a buffer of {BUFFER}");
    bus.close().await.unwrap();
}
