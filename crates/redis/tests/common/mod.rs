//! What the tests of this crate share: buses with names of their own, and a plain client beside them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use eventbus_core::Event;
use eventbus_redis::RedisConfig;
use eventbus_testing::{History, servers};
use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How long to wait for what should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A prefix that only one test uses.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("r{:x}_{:x}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// The address of the server that the tests of this process share.
pub(crate) async fn address() -> String {
    servers::redis().await.trim_start_matches("redis://").trim_end_matches('/').to_owned()
}

/// Settings of a bus at that server, with names of its own.
pub(crate) async fn config() -> RedisConfig {
    RedisConfig::new().address(address().await).prefix(prefix())
}

/// A client that knows nothing of this crate.
pub(crate) async fn client(address: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Asks a server for something.
pub(crate) async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &Cmd) -> T {
    command.query_async(connection).await.unwrap()
}

/// A command as it is written by hand, with blanks between its words.
pub(crate) fn words(text: &str) -> Cmd {
    let mut command = Cmd::new();
    text.split(' ').for_each(|word| {
        command.arg(word);
    });
    command
}

/// Whether a server does not say how many entries a stream ever had.
pub(crate) async fn is_before_7(connection: &mut MultiplexedConnection) -> bool {
    let info: String = ask(connection, &words("INFO server")).await;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap();
    version.split('.').next().unwrap().parse::<u32>().unwrap() < 7
}

/// An event with a number as its data.
pub(crate) fn numbered(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"));
}

/// Judges what a group and a subscription without one got after a master died.
pub(crate) fn lost_little(group: &History, all: &History) {
    for (name, history) in [("a group", group), ("a reader", all)] {
        let judgement = history.judge();
        eprintln!(
            "{name}: of {} acknowledged events {} were lost with the master, and {} deliveries were repeated",
            judgement.acknowledged,
            judgement.lost.len(),
            judgement.duplicates
        );
        // Redis acknowledges before its replica has an event: the last ones before the death may be gone, and nothing else.
        assert!(judgement.lost.len() <= 10, "{:?}", judgement.lost);
        assert!(judgement.strangers.is_empty());
        judgement.every_key_is_in_order();
    }
}
