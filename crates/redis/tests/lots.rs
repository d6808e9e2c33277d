//! Publishing many events at once, through outages.

mod common;

use common::{ask, client, numbered, words};
use eventbus_core::{Bus, ErrorKind};
use eventbus_redis::RedisConfig;
use eventbus_testing::servers::{Proxy, RedisServer};
use redis::aio::MultiplexedConnection;
use std::time::{Duration, Instant};

/// The numbers in a stream, in its order.
async fn stored(client: &mut MultiplexedConnection) -> Vec<u64> {
    let entries: Vec<(String, Vec<String>)> = ask(client, &words("XRANGE events:0 - +")).await;
    let data = |fields: Vec<String>| fields.iter().position(|name| name == "data").and_then(|at| fields.get(at + 1)?.parse().ok());
    entries.into_iter().filter_map(|(_, fields)| data(fields)).collect()
}

#[tokio::test]
async fn many_events_keep_the_publish_timeout_while_the_server_is_away() {
    let server = RedisServer::builder().in_memory().start().await;
    let config = RedisConfig::new().address(server.address().to_string()).publish_timeout(Duration::from_secs(1));
    let bus = config.connect().await.unwrap();
    bus.publish(numbered(0)).await.unwrap();
    server.kill().await;
    let begun = Instant::now();
    for outcome in bus.publish_all((0..5000).map(numbered).collect()).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?} for a publish timeout of one second", begun.elapsed());
    bus.close().await.unwrap();
}

#[tokio::test]
async fn many_events_keep_their_order_when_the_connection_breaks_under_them() {
    const EVENTS: u64 = 1000;
    let server = RedisServer::builder().in_memory().start().await;
    let mut client = client(&server.address().to_string()).await;
    // At once, and while something else is on its way, which has them gather.
    for beside in [false, true] {
        let _: String = ask(&mut client, &words("FLUSHALL")).await;
        let proxy = Proxy::to(server.address()).await;
        let bus = RedisConfig::new().address(proxy.address().to_string()).connect().await.unwrap();
        bus.publish(numbered(EVENTS)).await.unwrap();
        // What is sent now reaches nobody.
        proxy.stall();
        let other = if beside { Some(bus.enqueue(numbered(EVENTS)).await.unwrap()) } else { None };
        let breaking = async {
            // Whoever can send something before it breaks has done so.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            proxy.reset();
            proxy.heal();
        };
        let (outcomes, ()) = tokio::join!(bus.publish_all((0..EVENTS).map(numbered).collect()), breaking);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        assert!(proxy.resets() > 0, "the connection broke");
        if let Some(other) = other {
            other.await.unwrap();
        }
        let mut numbers = stored(&mut client).await;
        numbers.retain(|number| *number < EVENTS);
        assert!(numbers.is_sorted() && numbers.len() as u64 == EVENTS, "something overtook what was sent again: {numbers:?}");
        bus.close().await.unwrap();
    }
}
