//! More members than a consumer lets wait at once: whoever is turned away asks again after a while.

mod common;

use async_nats::jetstream::consumer::{FromConsumer as _, pull};
use common::{config, jetstream, plain, publish_numbers, stream, unique, until};
use eventbus_core::{Bus, Subscribe};
use eventbus_testing::Probe;
use futures_core::Stream as _;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

const MEMBERS: usize = 6;
/// For how long requests are counted.
const WATCHED: Duration = Duration::from_secs(3);
/// The most that all members may ask in that time: one waits at the server, where it asks twice a second, and the others less and less often.
const REQUESTS: usize = 100;

/// Makes the consumer of a group anew, so that it lets only one request wait.
async fn let_only_one_wait(stream: &str) -> String {
    let stream = jetstream().await.get_stream(stream).await.unwrap();
    let mut names = stream.consumer_names();
    let name = poll_fn(|cx| Pin::new(&mut names).poll_next(cx)).await.unwrap().unwrap();
    let made = stream.consumer_info(&name).await.unwrap().config;
    stream.delete_consumer(&name).await.unwrap();
    let same = pull::Config::try_from_consumer_config(made).unwrap();
    stream.create_consumer(pull::Config { max_waiting: 1, ..same }).await.unwrap();
    name
}

/// Counts the requests that are made of a consumer.
async fn count_requests(stream: &str, consumer: &str) -> Arc<AtomicUsize> {
    let watcher = plain().await;
    let mut requests = watcher.subscribe(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")).await.unwrap();
    watcher.flush().await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while poll_fn(|cx| Pin::new(&mut requests).poll_next(cx)).await.is_some() {
            counted.fetch_add(1, Relaxed);
        }
    });
    count
}

#[tokio::test]
async fn members_that_the_server_turns_away_ask_again_after_a_while_and_miss_nothing() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    let group = || Subscribe::to("a").group("g");
    bus.subscribe(group(), Arc::new(Probe::new())).await.unwrap().close().await.unwrap();
    let consumer = let_only_one_wait(&stream(&prefix)).await;
    let requests = count_requests(&stream(&prefix), &consumer).await;

    let probe = Probe::new();
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(bus.subscribe(group(), Arc::new(probe.clone())).await.unwrap());
    }
    publish_numbers(&bus, "a", 0..50).await;
    until("all events", async || probe.count() == 50).await;
    let before = requests.load(Relaxed);
    assert!(before > 0, "requests are seen");
    tokio::time::sleep(WATCHED).await;
    let asked = requests.load(Relaxed) - before;
    assert!(asked < REQUESTS, "{asked} requests within {WATCHED:?}");

    // Those that were turned away are there when the one that is served leaves.
    let last = members.pop().unwrap();
    for member in members {
        member.close().await.unwrap();
    }
    publish_numbers(&bus, "a", 50..60).await;
    until("the rest", async || probe.count() == 60).await;
    last.close().await.unwrap();
}
