//! Buses that claim what they cannot do, or hide what they can.

use crate::harness::{Fault, caught, caught_beside};
use async_trait::async_trait;
use eventbus_core::{Bus, Capabilities, Error, Result, Subscribe};
use eventbus_memory::MemoryBuilder;
use std::sync::Arc;

struct ClaimsAReplay;

impl Fault for ClaimsAReplay {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder.retain_events(0)
    }

    fn declare(&self, capabilities: &mut Capabilities) {
        capabilities.replay = true;
    }
}

#[test]
fn a_bus_that_claims_a_replay_it_does_not_have() {
    caught(|| ClaimsAReplay, "routing::earliest_replays_what_is_retained", "Start::Earliest is not supported");
}

/// Says that it cannot, and refuses, or does it all the same.
struct Hides {
    what: fn(&mut Capabilities),
    refuses: bool,
}

#[async_trait]
impl Fault for Hides {
    fn declare(&self, capabilities: &mut Capabilities) {
        (self.what)(capabilities);
    }

    fn accept(&self, asked: &Subscribe, capabilities: &Capabilities) -> Result<()> {
        if self.refuses { crate::harness::Sound.accept(asked, capabilities) } else { Ok(()) }
    }

    async fn delete_group(&self, bus: &Arc<dyn Bus>, group: &str) -> Result<bool> {
        if self.refuses { Err(Error::unsupported("Bus::delete_group", "broken")) } else { bus.delete_group(group).await }
    }
}

fn hidden(what: fn(&mut Capabilities), case: &str) {
    caught_beside(move || Hides { what, refuses: true }, move || Hides { what, refuses: false }, case, "on an `Ok` value");
}

#[test]
fn a_bus_that_hides_that_it_has_groups() {
    hidden(|capabilities| capabilities.groups = false, "refusals::groups_are_refused_where_there_are_none");
}

#[test]
fn a_bus_that_hides_that_it_has_a_replay() {
    let without = |capabilities: &mut Capabilities| {
        (capabilities.replay, capabilities.replay_by_sequence, capabilities.replay_by_time) = (false, false, false);
    };
    hidden(without, "refusals::replay_is_refused_where_there_is_none");
}

#[test]
fn a_bus_that_ignores_an_overflow_it_cannot_do() {
    hidden(|capabilities| capabilities.drops = false, "refusals::dropping_is_refused_where_it_cannot_be");
}

#[test]
fn a_bus_that_hides_that_it_retries() {
    hidden(|capabilities| capabilities.redelivery = false, "refusals::retries_are_refused_where_there_are_none");
}
