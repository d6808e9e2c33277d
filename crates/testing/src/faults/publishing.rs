//! Publishing while the server dies, stands still, or is cut off.

use super::run::{Story, numbered, subscribe, until};
use crate::{History, servers::Proxy};
use eventbus_core::{ErrorKind, Event, Ordering, Subscribe};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

pub(super) async fn an_answer_that_is_lost_is_no_second_event(story: Story) {
    let server = story.server().await;
    let proxy = Proxy::to(server.address()).await;
    let (bus, beside) = (story.bus(proxy.address()).await, story.bus(server.address()).await);
    let history = History::new();
    subscribe(&*beside, Subscribe::to("a"), &history).await;
    history.publish(&*bus, numbered(0, "k")).await.unwrap();
    proxy.half_open();
    let publishing = tokio::spawn({
        let (bus, history) = (Arc::clone(&bus), history.clone());
        async move { history.publish(&*bus, numbered(1, "k")).await }
    });
    // It has been delivered already, and its publisher does not know.
    history.until_deliveries(2).await;
    assert!(!publishing.is_finished());
    proxy.reset();
    proxy.heal();
    publishing.await.unwrap().unwrap();
    assert!(proxy.resets() > 0, "the connection was cut");
    history.publish(&*bus, numbered(2, "k")).await.unwrap();
    history.until_handled().await;
    history.judge().nothing_is_lost().every_key_is_in_order();
    if bus.capabilities().dedup_window.is_some() {
        history.judge().nothing_came_twice();
        assert_eq!(beside.stats().await.unwrap().retained, Some(3), "it was sent twice and stored once");
        assert_eq!(bus.stats().await.unwrap().duplicates, 1);
    }
    bus.close().await.unwrap();
}

pub(super) async fn acknowledged_events_survive_the_death_of_the_server(story: Story) {
    const PUBLISHERS: usize = 16;
    const EACH: usize = 625;
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let history = History::new();
    let member = Subscribe::to("a").group("g").concurrency(4).ordering(Ordering::PerKey);
    subscribe(&*bus, member, &history).await;
    let mut publishing = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (bus, history) = (Arc::clone(&bus), history.clone());
        publishing.spawn(async move {
            let key = publisher.to_string();
            for number in 0..EACH {
                // Whatever happens: it is published, or this says so.
                history.publish(&*bus, numbered(number, &key)).await.unwrap_or_else(|error| panic!("{error:?}"));
            }
        });
    }
    for deaths in [2_000, 5_000, 8_000] {
        until("more acknowledgements", async || history.acknowledged() >= deaths).await;
        server.kill().await;
        server.start_again().await;
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    assert_eq!(history.acknowledged(), PUBLISHERS * EACH);
    history.until_handled_within(super::run::PATIENCE).await;
    history.judge().nothing_is_lost().every_key_is_in_order();
    bus.close().await.unwrap();
}

pub(super) async fn a_paused_server_times_publishes_out_and_keeps_their_order(story: Story) {
    let (outage, timeout) = (Duration::from_secs(30), Duration::from_secs(2));
    let story = story.on(|terms| terms.publish_timeout = timeout);
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let history = History::new();
    subscribe(&*bus, Subscribe::to("a").group("g"), &history).await;
    let mut numbers = 0..;
    let mut next = || numbered(numbers.next().unwrap_or(0), "k");
    for _ in 0..10 {
        history.publish(&*bus, next()).await.unwrap();
    }
    server.pause();
    let begun = Instant::now();
    while begun.elapsed() < outage {
        let since = Instant::now();
        let error = history.publish(&*bus, next()).await.expect_err("the server stands still");
        assert!(matches!(error.kind(), ErrorKind::Unavailable), "{error}");
        assert!(since.elapsed() < timeout * 2, "a publish that waits for {timeout:?} at most took {:?}", since.elapsed());
    }
    server.resume();
    let first = next();
    until("a publish that gets through", async || history.publish(&*bus, first.clone()).await.is_ok()).await;
    for _ in 0..6 {
        history.publish(&*bus, next()).await.unwrap();
    }
    history.until_handled().await;
    history.judge().nothing_is_lost().every_key_is_in_order();
    bus.close().await.unwrap();
}

pub(super) async fn an_outage_does_not_pile_up_what_is_enqueued(story: Story) {
    /// Far more than anything that is bounded takes in.
    const TOO_MANY: usize = 5_000;
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let history = History::new();
    subscribe(&*bus, Subscribe::to("a").group("g"), &history).await;
    server.pause();
    let payload = vec![0_u8; 64 * 1024];
    let mut receipts = Vec::new();
    while receipts.len() < TOO_MANY {
        let event = Event::builder("a").bytes("application/octet-stream", payload.clone()).build().unwrap();
        history.publishing(&event);
        // Whoever has to wait waits for the server; the future is dropped, and the event with it.
        match tokio::time::timeout(Duration::from_secs(1), bus.enqueue(event.clone())).await {
            Ok(receipt) => receipts.push((event, receipt.unwrap())),
            Err(_) => break,
        }
    }
    let taken = receipts.len();
    assert!(taken > 0 && taken < TOO_MANY, "{taken} events of 64 KiB were taken in while the server stood still");
    server.resume();
    for (event, receipt) in receipts {
        receipt.await.unwrap();
        history.published(&event);
    }
    history.until_handled().await;
    history.judge().nothing_is_lost().every_key_is_in_order();
    bus.close().await.unwrap();
}
