//! A server that was killed and has lost what a group had done: it delivers everything again.

mod common;

use common::until;
use eventbus_core::{Bus, Event, HandlerError, Ordering, Retry, Start, Subscribe};
use eventbus_nats::NatsBus;
use eventbus_testing::{Probe, servers::NatsServer};
use std::{path::Path, sync::Arc, time::Duration};

const EVENTS: u64 = 200;
const FAILING: u64 = 150;

fn event(number: u64) -> Event {
    Event::json("a", number).unwrap().with_partition_key((number % 2).to_string())
}

/// Fails one event at its first attempt.
fn handler() -> Probe {
    Probe::with(|ctx, event| async move {
        let number = *event.decode::<u64>()?;
        if number == FAILING && ctx.attempt() == 1 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    })
}

/// Removes what a server keeps of how far its consumers have got, as a kill in the middle of writing does on some. Returns how many consumers there
/// were.
fn forget(directory: &Path) -> usize {
    let mut consumers = 0;
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            consumers += forget(&entry);
        } else if entry.ends_with("o.dat") {
            std::fs::remove_file(&entry).unwrap();
        } else if entry.ends_with("meta.inf") && directory.parent().is_some_and(|obs| obs.ends_with("obs")) {
            consumers += 1;
        }
    }
    consumers
}

#[tokio::test]
async fn a_group_goes_on_where_it_was_when_its_server_has_forgotten_that() {
    let server = NatsServer::start().await;
    let bus =
        NatsBus::builder().server(&server.url()).reconnect_wait(Duration::from_millis(50)).max_reconnects(None).connect().await.unwrap();
    let probe = handler();
    // What waits behind the failing event fills the buffer, so that there is no room for what comes again before it.
    let group = Subscribe::to("a").group("g").from(Start::Earliest).ordering(Ordering::PerKey).buffer(8);
    let member = bus.subscribe(group.retry(Retry::fixed(Duration::from_secs(2)).max_attempts(5)), Arc::new(probe.clone())).await.unwrap();
    for number in 0..EVENTS {
        bus.publish(event(number)).await.unwrap();
    }
    until("the failure", async || member.stats().retried == 1).await;
    until("all of the other key that there is room for", async || probe.count() as u64 > FAILING).await;
    server.kill().await;
    assert!(forget(server.directory()) > 0, "the consumer is kept in files under {}", server.directory().display());
    server.start_again().await;
    until("all events", async || probe.count() as u64 > EVENTS).await;
    let handled: Vec<(u64, u32)> = probe.seen().iter().map(|seen| (*seen.event.decode::<u64>().unwrap(), seen.attempt)).collect();
    for key in 0..2 {
        let of_key: Vec<_> = handled.iter().filter(|(number, _)| number % 2 == key).copied().collect();
        let expected: Vec<_> = (0..EVENTS)
            .filter(|number| number % 2 == key)
            .flat_map(|number| [Some((number, 1)), (number == FAILING).then_some((number, 2))])
            .flatten()
            .collect();
        assert_eq!(of_key, expected, "each once, in order");
    }
    bus.close().await.unwrap();
}
