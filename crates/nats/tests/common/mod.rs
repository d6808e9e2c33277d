//! What the tests of this crate share.
#![allow(dead_code)]

use eventbus_core::{Bus, Event};
use eventbus_nats::{Mode, NatsBus, NatsConfig};
use eventbus_testing::servers;
use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long what should happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A prefix that nobody else uses.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("n{:x}_{:x}_{:x}", since.as_micros(), std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// The settings of a bus with a place of its own on the server that all tests share.
pub(crate) async fn config(prefix: &str) -> NatsConfig {
    NatsBus::builder().server(&servers::nats().await).prefix(prefix).max_bytes(32 * 1024 * 1024)
}

/// The same in a mode that keeps nothing.
pub(crate) async fn core_config(prefix: &str) -> NatsConfig {
    NatsBus::builder().server(&servers::nats().await).prefix(prefix).mode(Mode::Core)
}

/// The name of the stream of a prefix.
pub(crate) fn stream(prefix: &str) -> String {
    prefix.to_uppercase()
}

/// A client that knows nothing of events.
pub(crate) async fn plain() -> async_nats::Client {
    async_nats::connect(servers::nats().await).await.unwrap()
}

/// JetStream by such a client.
pub(crate) async fn jetstream() -> async_nats::jetstream::Context {
    async_nats::jetstream::new(plain().await)
}

pub(crate) fn numbered(event_type: &str, number: u64) -> Event {
    Event::json(event_type, number).unwrap()
}

pub(crate) async fn publish_numbers(bus: &dyn Bus, event_type: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bus.publish(numbered(event_type, number)).await.unwrap();
    }
}

/// Waits for what should come.
pub(crate) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Whether the server is older than 2.10 or whatever else is asked.
pub(crate) fn is_before(client: &async_nats::Client, minor: i64) -> bool {
    !client.is_server_compatible(2, minor, 0)
}
