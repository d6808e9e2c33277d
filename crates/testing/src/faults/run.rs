//! Running the cases, each with a server and names of its own.

use super::{
    child::Child,
    fixture::{Breakable, Server, Terms},
};
use crate::History;
use eventbus_core::{Bus, Event, Handler, Subscribe, Subscription};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How long to wait for what should happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One fault, and what must come of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: fn(Story) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// Runs one case by its name on a runtime of its own, as a `#[test]` does. `child` is the path of the test that child processes run.
///
/// # Panics
/// Where the promise is broken, or there is no such case.
pub fn run_case(fixture: impl Breakable, child: &'static str, name: &str) {
    let case = super::CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
    let story = Story::new(Arc::new(fixture), child);
    let done = runtime.block_on(async { tokio::time::timeout(LIMIT, (case.run)(story)).await });
    runtime.shutdown_background();
    assert!(done.is_ok(), "{name}: not done within {LIMIT:?}");
}

/// One run of a case.
#[derive(Clone)]
pub(super) struct Story {
    fixture: Arc<dyn Breakable>,
    child: &'static str,
    pub(super) terms: Terms,
}

impl Story {
    fn new(fixture: Arc<dyn Breakable>, child: &'static str) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let name = format!("f{:x}_{:x}", std::process::id(), RUNS.fetch_add(1, Relaxed));
        Self { fixture, child, terms: Terms::new(name) }
    }

    /// The same story on other terms.
    pub(super) fn on(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    pub(super) async fn server(&self) -> Box<dyn Server> {
        self.fixture.server().await
    }

    pub(super) async fn bus(&self, address: SocketAddr) -> Arc<dyn Bus> {
        self.connect(address).await.expect("there is a server to connect to")
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> eventbus_core::Result<Arc<dyn Bus>> {
        self.fixture.connect(address, &self.terms).await
    }

    pub(super) fn fixture(&self) -> &dyn Breakable {
        &*self.fixture
    }

    /// Starts a process of its own, which plays a part on the bus at this address.
    pub(super) fn child(&self, part: &str, address: SocketAddr) -> Child {
        Child::start(self.child, part, address, &self.terms)
    }
}

/// An event with a number as its data and a partition key.
pub(super) fn numbered(number: usize, key: &str) -> Event {
    Event::json("a", number).expect("a number is JSON").with_partition_key(key)
}

/// Subscribes a handler.
pub(super) async fn subscribe(bus: &dyn Bus, subscribe: Subscribe, handler: &(impl Handler + Clone)) -> Subscription {
    bus.subscribe(subscribe, Arc::new(handler.clone())).await.expect("subscribing works")
}

/// Publishes so many events, one after the other.
pub(super) async fn publish(bus: &dyn Bus, history: &History, count: usize) {
    for number in 0..count {
        history.publish(bus, numbered(number, "k")).await.expect("publishing works");
    }
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, held).await;
}

/// Waits for what should come.
pub(super) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}
