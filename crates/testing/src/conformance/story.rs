//! What every case begins with: a bus of its own, names, and numbered events.

use super::{Fixture, Setup, run::{Outcome, unless_unsupported}};
use crate::{Probe, settle};
use eventbus_core::{Bus, Capabilities, Event, EventType, Handler, Pattern, Subscribe, Subscription};
use std::{sync::Arc, time::Duration};

/// How long a case waits for a bus to have nothing left to do.
const QUIET: Duration = Duration::from_secs(60);

/// A short delay for retries.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// Returns from a case unless the bus can do this.
macro_rules! needs {
    ($bus:expr, $($capability:ident),+) => {
        $(if !$bus.capabilities().$capability {
            return Outcome::Skipped(concat!("the bus does not claim ", stringify!($capability)).to_owned());
        })+
    };
}
pub(super) use needs;

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
    settle(bus, QUIET).await.expect("the bus comes to rest");
}

/// Waits for this many deliveries, and then for the bus to come to rest, so that what is returned is all there is.
pub(super) async fn all(bus: &dyn Bus, probe: &Probe, count: usize) -> Vec<crate::Seen> {
    probe.wait(count).await;
    quiet(bus).await;
    let seen = probe.seen();
    assert_eq!(seen.len(), count, "more was delivered than expected: {seen:?}");
    seen
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
