//! What every case begins with: a bus of its own, names, and numbered events.

use super::{
    Fixture, Setup,
    run::{Outcome, unless_unsupported},
};
use crate::{Probe, observe::patience, settle};
use eventbus_core::{
    Bus, Capabilities, DeadLetter, DeadLetterFilter, Event, EventType, Handler, HandlerError, Pattern, Retry, Subscribe, Subscription,
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

/// A short delay for retries.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// So many attempts, one soon after the other.
pub(super) fn quick(attempts: u32) -> Retry {
    Retry::fixed(SOON).max_attempts(attempts)
}

/// Returns from a case unless the bus can do this.
macro_rules! needs {
    ($bus:expr, $($capability:ident),+) => {
        $(if !$bus.capabilities().$capability {
            return Outcome::Skipped(concat!("the bus does not claim ", stringify!($capability)).to_owned());
        })+
    };
}
pub(super) use needs;

/// Returns from a case in which handlers wait for what their publisher does next, where publishers wait for handlers.
macro_rules! queued {
    ($story:expr) => {
        if $story.publish_waits_for_handlers() {
            return Outcome::Skipped("a publish waits for the handlers".to_owned());
        }
    };
}
pub(super) use queued;

/// Makes a bus, or returns from the case where the backend lacks a setting.
macro_rules! bus {
    ($story:expr) => {
        match $story.bus().await {
            Ok(bus) => bus,
            Err(outcome) => return outcome,
        }
    };
    ($story:expr, $($setting:ident: $value:expr),+) => {
        match $story.bus_with(|setup| { $(setup.$setting = $value;)+ }).await {
            Ok(bus) => bus,
            Err(outcome) => return outcome,
        }
    };
}
pub(super) use bus;

/// One run of a case.
#[expect(missing_debug_implementations, reason = "a fixture need not say what it is")]
pub struct Story {
    fixture: Arc<dyn Fixture>,
    name: String,
}

impl Story {
    pub(super) fn new(fixture: Arc<dyn Fixture>, name: String) -> Self {
        Self { fixture, name }
    }

    pub(super) fn publish_waits_for_handlers(&self) -> bool {
        self.fixture.publish_waits_for_handlers()
    }

    pub(super) async fn bus(&self) -> Result<Arc<dyn Bus>, Outcome> {
        self.bus_with(|_| {}).await
    }

    pub(super) async fn bus_with(&self, change: impl FnOnce(&mut Setup)) -> Result<Arc<dyn Bus>, Outcome> {
        let mut setup = Setup::new(self.name.clone());
        change(&mut setup);
        unless_unsupported(self.fixture.bus(&setup).await)
    }

    /// A name that only this run uses.
    pub(super) fn unique(&self, name: &str) -> String {
        format!("{name}_{}", self.name)
    }
}

/// An event with a number as its data.
pub(super) fn numbered(event_type: &str, number: u64) -> Event {
    Event::json(event_type, number).expect("a number is JSON")
}

/// Publishes the numbers of a range in order, each awaited.
pub(super) async fn publish_numbers(bus: &dyn Bus, event_type: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bus.publish(numbered(event_type, number)).await.expect("publishing works");
    }
}

/// Subscribes a handler.
pub(super) async fn subscribe(bus: &dyn Bus, subscribe: impl Into<Subscribe>, handler: &(impl Handler + Clone)) -> Subscription {
    bus.subscribe(subscribe.into(), Arc::new(handler.clone())).await.expect("subscribing works")
}

/// Waits until the bus has nothing left to do.
pub(super) async fn quiet(bus: &dyn Bus) {
    settle(bus, patience() * 2).await.expect("the bus comes to rest");
}

/// Waits for this many deliveries, and then for the bus to come to rest, so that what is returned is all there is.
pub(super) async fn all(bus: &dyn Bus, probe: &Probe, count: usize) -> Vec<crate::Seen> {
    probe.wait(count).await;
    quiet(bus).await;
    let seen = probe.seen();
    assert_eq!(seen.len(), count, "more was delivered than expected: {seen:?}");
    seen
}

/// A probe whose handlers always fail.
pub(super) fn hopeless() -> Probe {
    Probe::with(|_, _| async { Err(HandlerError::retry("always")) })
}

/// All dead letters, the oldest first.
pub(super) async fn letters(bus: &dyn Bus) -> Vec<DeadLetter> {
    let letters = bus.dead_letters().expect("a bus that claims dead letters has some").list(DeadLetterFilter::all()).await;
    letters.expect("dead letters can be listed")
}

/// Starts what can wait, such as a close: runs it up to where it waits.
///
/// Returns it with what it said already, which is nothing where it has something to wait for.
pub(super) async fn begun<F: Future>(future: F) -> (Pin<Box<F>>, Option<F::Output>) {
    let mut future = Box::pin(future);
    let said = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(said) => Poll::Ready(Some(said)),
        Poll::Pending => Poll::Ready(None),
    });
    let said = said.await;
    (future, said)
}

/// Waits for what should come, such as the next of a stream.
pub(super) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let patience = patience();
    tokio::time::timeout(patience, coming).await.unwrap_or_else(|_| panic!("{what} did not come within {patience:?}"))
}

/// Gives what must not happen the time to happen. There is nothing else to wait for.
pub(super) async fn a_while() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, held).await;
}

/// Whether the bus itself holds what its subscriptions were promised: then full ones hold publishers back, and a close delivers the rest. A
/// bus over a server that keeps events need not, and one that promises no delivery cannot.
pub(super) fn holds_what_it_promised(bus: &dyn Bus) -> bool {
    let capabilities = bus.capabilities();
    capabilities.at_least_once && !capabilities.persistent
}

/// The numbers of a range.
pub(super) fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

/// The numbers that were seen, sorted.
pub(super) fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

pub(super) fn event_type(name: &str) -> EventType {
    EventType::new(name).expect("the suite's types are valid")
}

pub(super) fn pattern(name: &str) -> Pattern {
    Pattern::new(name).expect("the suite's patterns are valid")
}

/// Whether every duration the suite waits for is long enough that the bus may have counted on it.
pub(super) fn remembers_ids(capabilities: &Capabilities) -> bool {
    capabilities.dedup_window.is_some()
}
