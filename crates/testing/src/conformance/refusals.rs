//! What a bus says it cannot do, it refuses by name.

use super::{
    run::Outcome,
    story::{Story, bus, numbered, publish_numbers, quiet, subscribe},
};
use crate::Probe;
use eventbus_core::{Bus, DeadLetter, ErrorKind, Overflow, Retry, Start, Subscribe, Timestamp};
use eventbus_runtime::{BusExt, Gather};
use std::{sync::Arc, time::Duration};

/// Checks that a subscription is refused, naming the option and the backend.
async fn refused(bus: &dyn Bus, subscribe: Subscribe, option: &str) {
    let error = bus.subscribe(subscribe, Arc::new(Probe::new())).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains(option) && error.to_string().contains(bus.capabilities().backend), "{error}");
}

/// Returns from a case if the bus can do this.
macro_rules! cannot {
    ($bus:expr, $capability:ident) => {
        if $bus.capabilities().$capability {
            return Outcome::Skipped(concat!("the bus claims ", stringify!($capability)).to_owned());
        }
    };
}

pub(super) async fn groups_are_refused_where_there_are_none(story: Story) -> Outcome {
    let bus = bus!(story);
    cannot!(bus, groups);
    refused(&*bus, Subscribe::to("a").group("g"), "Subscribe::group").await;
    assert_eq!(bus.delete_group("g").await.unwrap_err().kind(), ErrorKind::Unsupported);
    Outcome::Done
}

pub(super) async fn replay_is_refused_where_there_is_none(story: Story) -> Outcome {
    let bus = bus!(story);
    let capabilities = bus.capabilities().clone();
    if capabilities.replay && capabilities.replay_by_sequence && capabilities.replay_by_time {
        return Outcome::Skipped("the bus claims every kind of replay".to_owned());
    }
    if !capabilities.replay {
        refused(&*bus, Subscribe::to("a").from(Start::Earliest), "Start::Earliest").await;
    }
    if !capabilities.replay_by_sequence {
        refused(&*bus, Subscribe::to("a").from(Start::Sequence(1)), "Start::Sequence").await;
    }
    if !capabilities.replay_by_time {
        refused(&*bus, Subscribe::to("a").from(Start::Time(Timestamp::now())), "Start::Time").await;
    }
    Outcome::Done
}

pub(super) async fn dropping_is_refused_where_it_cannot_be(story: Story) -> Outcome {
    let bus = bus!(story);
    cannot!(bus, drops);
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        refused(&*bus, Subscribe::to("a").overflow(overflow), "Overflow").await;
    }
    Outcome::Done
}

pub(super) async fn dead_letters_are_refused_where_there_are_none(story: Story) -> Outcome {
    let bus = bus!(story);
    cannot!(bus, dead_letters);
    assert_eq!(bus.dead_letters().map(|_| ()).unwrap_err().kind(), ErrorKind::Unsupported);
    refused(&*bus, Subscribe::to("a").dead_letter(DeadLetter::store()), "DeadLetter::store").await;
    Outcome::Done
}

pub(super) async fn retries_are_refused_where_there_are_none(story: Story) -> Outcome {
    let bus = bus!(story);
    cannot!(bus, redelivery);
    refused(&*bus, Subscribe::to("a").retry(Retry::default()), "Subscribe::retry").await;
    Outcome::Done
}

pub(super) async fn requests_are_refused_where_there_are_none(story: Story) -> Outcome {
    let bus = bus!(story);
    cannot!(bus, requests);
    let error = bus.request(numbered("a", 1), Gather::first()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    Outcome::Done
}

pub(super) async fn bad_settings_are_refused_when_subscribing(story: Story) -> Outcome {
    let bus = bus!(story);
    let to = || Subscribe::to("a");
    for (bad, named) in [
        (to().concurrency(0), "concurrency"),
        (to().buffer(0), "buffer"),
        (to().timeout(Duration::ZERO), "timeout"),
        (to().timeout(Duration::MAX), "timeout"),
        (to().group(""), "group"),
        (to().group("a\nb"), "group"),
        (to().retry(Retry::fixed(Duration::ZERO)), "retry"),
        (to().retry(Retry::fixed(Duration::MAX)), "retry"),
        (to().retry(Retry::default().max_attempts(0)), "max_attempts"),
        (to().concurrency(3).ordering(eventbus_core::Ordering::Strict), "Strict"),
        (Subscribe::to([""; 0]), "pattern"),
    ] {
        let error = bus.subscribe(bad, Arc::new(Probe::new())).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(named), "{error} does not name {named}");
    }
    // And the bus is none the worse for it.
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    probe.wait(3).await;
    quiet(&*bus).await;
    Outcome::Done
}
