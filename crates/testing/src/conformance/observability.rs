//! Lines 23 and 24: what travels with events, and the figures.

use super::{
    run::Outcome,
    story::{SOON, Story, all, bus, needs, numbered, publish_numbers, queued, quiet, soon, subscribe},
};
use crate::{Gate, Probe};
use eventbus_core::{ErrorKind, HandlerError, HealthState, Ordering, Retry, Subscribe};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) async fn trace_and_correlation_survive_redelivery(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|_, _| async { Err(HandlerError::retry("always")) });
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(SOON).max_attempts(2)), &probe).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = numbered("a", 1)
        .with_trace_context(traceparent, Some("congo=t61rcWkgMzE".to_owned()))
        .with_correlation("c-1")
        .with_causation("d-1");
    bus.publish(event).await.unwrap();
    for seen in all(&*bus, &probe, 2).await {
        assert_eq!((seen.event.traceparent(), seen.event.tracestate()), (Some(traceparent), Some("congo=t61rcWkgMzE")));
        assert_eq!((seen.event.correlation_id(), seen.event.causation_id()), (Some("c-1"), Some("d-1")));
    }
    let letters = bus.dead_letters().unwrap().list(Default::default()).await.unwrap();
    assert_eq!(letters[0].event.traceparent(), Some(traceparent));
    Outcome::Done
}

pub(super) async fn a_malformed_trace_never_costs_an_event(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let long = "c".repeat(10_000);
    let malformed =
        ["garbage", "00-zz-zz-zz", "00-00000000000000000000000000000000-0000000000000000-00", " ", "größe", "a\r\nce-id: forged", &long];
    for text in malformed {
        let event = numbered("a", 1).with_trace_context(text, Some(text.to_owned())).with_correlation(text).with_causation(text);
        bus.publish(event).await.unwrap();
    }
    for (seen, text) in all(&*bus, &probe, malformed.len()).await.iter().zip(malformed) {
        assert_eq!((seen.event.traceparent(), seen.event.correlation_id()), (Some(text), Some(text)), "as it was given");
    }
    Outcome::Done
}

pub(super) async fn what_a_handler_publishes_is_caused_by_its_event(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|ctx, _| async move {
        ctx.publish(numbered("effect", 1)).await?;
        tokio::spawn(async move {
            // Also from a task that the handler leaves behind.
            ctx.publish(numbered("later", 1)).await
        })
        .await??;
        Ok(())
    });
    let effects = Probe::new();
    subscribe(&*bus, "cause", &probe).await;
    subscribe(&*bus, ["effect", "later"], &effects).await;
    bus.publish(numbered("cause", 1).with_correlation("c-1").with_trace_context("00-a-b-01", None)).await.unwrap();
    let seen = all(&*bus, &effects, 2).await;
    let cause = probe.seen()[0].event.clone();
    for seen in seen {
        assert_eq!(seen.event.causation_id(), Some(cause.id()));
        assert_eq!((seen.event.correlation_id(), seen.event.traceparent()), (Some("c-1"), Some("00-a-b-01")));
        assert_ne!(seen.id(), cause.id());
    }
    Outcome::Done
}

pub(super) async fn the_figures_add_up(story: Story) -> Outcome {
    let bus = bus!(story);
    let (one, two) = (Probe::new(), Probe::new());
    let first = subscribe(&*bus, Subscribe::to("a").name("first"), &one).await;
    subscribe(&*bus, Subscribe::to(">").name("second"), &two).await;
    publish_numbers(&*bus, "a", 0..100).await;
    publish_numbers(&*bus, "b", 0..10).await;
    let _ = bus.publish(numbered("a", 1).with_source("")).await.unwrap_err();
    all(&*bus, &one, 100).await;
    all(&*bus, &two, 110).await;
    let stats = bus.stats().await.unwrap();
    assert_eq!((stats.published, stats.refused, stats.outstanding()), (110, 1, 0));
    for (name, count) in [("first", 100), ("second", 110)] {
        let subscription =
            stats.subscriptions.iter().find(|subscription| subscription.name == name).expect("every subscription has its figures");
        assert_eq!((subscription.delivered, subscription.acked), (count, count), "{subscription:?}");
        assert_eq!((subscription.retried, subscription.dead_lettered, subscription.dropped, subscription.in_flight), (0, 0, 0, 0));
        assert_eq!((subscription.lag, subscription.oldest_unacknowledged), (Some(0), None));
    }
    let own = first.stats();
    assert_eq!((own.name.as_str(), own.acked), ("first", 100));
    Outcome::Done
}

pub(super) async fn the_figures_of_failures_add_up(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|ctx, event| async move {
        match event.decode::<u64>().unwrap().as_ref() % 4 {
            0 => Err(HandlerError::reject("never")),
            1 => Err(HandlerError::retry("always")),
            2 if ctx.attempt() == 1 => Err(HandlerError::retry("once")),
            _ => Ok(()),
        }
    });
    let subscription = Subscribe::to("a").ordering(Ordering::Unordered).concurrency(3).retry(Retry::fixed(SOON).max_attempts(3));
    let subscription = subscribe(&*bus, subscription, &probe).await;
    publish_numbers(&*bus, "a", 0..40).await;
    quiet(&*bus).await;
    let stats = subscription.stats();
    // 10 rejected, 10 tried three times, 10 tried twice, 10 at once.
    assert_eq!((stats.delivered, stats.acked, stats.retried, stats.dead_lettered), (70, 20, 30, 20), "{stats:?}");
    assert_eq!(stats.delivered, stats.acked + stats.retried + stats.dead_lettered);
    assert_eq!(bus.stats().await.unwrap().dead_letters.unwrap_or(20), 20);
    Outcome::Done
}

pub(super) async fn what_is_retained_is_measured(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, replay);
    let empty = bus.stats().await.unwrap();
    assert_eq!((empty.retained, empty.oldest_retained, empty.newest_retained), (Some(0), None, None));
    publish_numbers(&*bus, "a", 0..1).await;
    let first = Instant::now();
    publish_numbers(&*bus, "a", 1..20).await;
    let last = Instant::now();
    let stats = bus.stats().await.unwrap();
    assert_eq!(stats.retained, Some(20));
    assert!(stats.retained_bytes.is_some_and(|bytes| bytes >= 20 && Some(bytes) > empty.retained_bytes), "{:?}", stats.retained_bytes);
    let (Some(oldest), Some(newest)) = (stats.oldest_retained, stats.newest_retained) else { panic!("{stats:?} says nothing of age") };
    // Servers count in milliseconds.
    let aside = Duration::from_millis(1);
    assert!(oldest >= newest && oldest + aside >= first.elapsed() - last.elapsed(), "the oldest is not the oldest: {oldest:?}, {newest:?}");
    assert!(oldest < Duration::from_secs(600), "{oldest:?}");
    Outcome::Done
}

pub(super) async fn lag_and_age_grow_and_shrink(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let group = bus.capabilities().groups.then(|| story.unique("g"));
    let subscription = match &group {
        Some(group) => Subscribe::to("a").group(group),
        None => Subscribe::to("a"),
    };
    let subscription = subscribe(&*bus, subscription, &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    probe.wait(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    // What only a server knows is as it was when the bus asked it last.
    bus.stats().await.unwrap();
    let stats = subscription.stats();
    if stats.lag.is_none() {
        return Outcome::Skipped("the backend does not tell lag".to_owned());
    }
    assert_eq!((stats.lag, stats.in_flight), (Some(10), 1), "{stats:?}");
    assert!(stats.oldest_unacknowledged.unwrap() >= Duration::from_millis(20), "{stats:?}");
    if let Some(name) = &group {
        let groups = bus.stats().await.unwrap().groups;
        let group = groups.iter().find(|group| group.name == *name).expect("the group is listed");
        assert_eq!((group.lag, group.members), (10, 1), "{group:?}");
        assert!(group.oldest_unacknowledged.unwrap() >= Duration::from_millis(20), "{group:?}");
    }
    gate.open();
    quiet(&*bus).await;
    let stats = subscription.stats();
    assert_eq!((stats.lag, stats.in_flight, stats.oldest_unacknowledged), (Some(0), 0, None), "{stats:?}");
    Outcome::Done
}

pub(super) async fn failures_are_reported(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|_, _| async { Err(HandlerError::reject("the reason")) });
    subscribe(&*bus, Subscribe::to("a").name("failing"), &probe).await;
    let mut errors = bus.errors();
    bus.publish(numbered("a", 1).with_id("e-1")).await.unwrap();
    let error = soon("a report of the failure", errors.next()).await.expect("the failure is reported");
    assert_eq!(
        (error.kind(), error.context_value("subscription"), error.context_value("id")),
        (ErrorKind::Handler, Some("failing"), Some("e-1"))
    );
    assert!(error.to_string().contains("the reason"), "{error}");
    Outcome::Done
}

pub(super) async fn health_answers(story: Story) -> Outcome {
    let bus = bus!(story);
    let health = bus.health().await.unwrap();
    assert_eq!(health.state, HealthState::Connected);
    assert!(health.round_trip.is_some());
    let shown = format!("{:?} {:?}", bus, bus.capabilities());
    assert!(!shown.contains("password"), "{shown}");
    drop(Arc::clone(&bus));
    assert!(bus.health().await.is_ok());
    Outcome::Done
}
