//! Lines 11, 13 and 16: when an event is acknowledged, how long its handler may take, and batches.

use super::{
    run::Outcome,
    story::{SOON, Story, all, bus, letters, needs, numbered, publish_numbers, queued, quick, quiet, soon, sorted, subscribe},
};
use crate::{Gate, Probe};
use eventbus_core::{Context, ErrorKind, Event, HandlerError, IntoBatchHandler, Ordering, Retry, Subscribe};
use eventbus_runtime::BusExt;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

pub(super) async fn an_event_is_acknowledged_after_its_handler(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    probe.wait(1).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.in_flight), (0, 1), "while its handler runs, nothing is acknowledged");
    gate.let_through(1);
    probe.wait(2).await;
    assert_eq!(subscription.stats().in_flight, 1);
    gate.open();
    quiet(&*bus).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.in_flight), (3, 0));
    Outcome::Done
}

pub(super) async fn an_acknowledged_event_does_not_come_back(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..20).await;
    all(&*bus, &probe, 20).await;
    subscription.close().await.unwrap();
    if bus.capabilities().groups {
        let group = || Subscribe::to("b").group(story.unique("g"));
        let member = subscribe(&*bus, group(), &probe).await;
        publish_numbers(&*bus, "b", 20..40).await;
        all(&*bus, &probe, 40).await;
        member.close().await.unwrap();
        subscribe(&*bus, group(), &probe).await;
    }
    quiet(&*bus).await;
    let expected = if bus.capabilities().groups { 40 } else { 20 };
    assert_eq!(probe.count(), expected, "nothing comes back after it was acknowledged");
    Outcome::Done
}

pub(super) async fn an_event_in_a_dropped_delivery_comes_back(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, redelivery);
    let mut stream = bus.stream(Subscribe::to("a").retry(Retry::fixed(SOON))).await.unwrap();
    bus.publish(numbered("a", 1)).await.unwrap();
    drop(soon("the delivery", stream.next()).await.unwrap());
    let again = soon("the second delivery", stream.next()).await.unwrap();
    assert_eq!((again.context().attempt(), *again.event().decode::<u64>().unwrap()), (2, 1));
    again.ack().unwrap();
    quiet(&*bus).await;
    Outcome::Done
}

pub(super) async fn a_handler_that_never_returns_runs_out_of_time(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let timeout = Duration::from_millis(60);
    let probe = Probe::with(|_, event| async move {
        if *event.decode::<u64>().unwrap() == 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").timeout(timeout).retry(quick(2)), &probe).await;
    let begun = Instant::now();
    publish_numbers(&*bus, "a", 0..3).await;
    all(&*bus, &probe, 4).await;
    assert!(begun.elapsed() >= timeout * 2, "each attempt has its time");
    let letters = letters(&*bus).await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert!(letters[0].error.contains("60ms"), "{}", letters[0].error);
    Outcome::Done
}

pub(super) async fn a_slow_handler_within_its_time_gets_one_delivery(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|_, _| async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(5).ordering(Ordering::Unordered).timeout(Duration::from_secs(20)), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    assert!(all(&*bus, &probe, 10).await.iter().all(|seen| seen.attempt == 1));
    Outcome::Done
}

pub(super) async fn a_late_result_settles_nothing(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, redelivery);
    let mut stream = bus.stream(Subscribe::to("a").timeout(Duration::from_millis(60)).retry(quick(3))).await.unwrap();
    bus.publish(numbered("a", 1)).await.unwrap();
    let late = soon("the delivery", stream.next()).await.unwrap();
    // The second delivery proves that the first is over.
    let again = soon("the second delivery", stream.next()).await.unwrap();
    assert_eq!((late.context().attempt(), again.context().attempt()), (1, 2));
    assert_eq!(late.ack().unwrap_err().kind(), ErrorKind::Timeout, "whoever settles too late is told so");
    again.retry("once more").unwrap();
    let third = soon("the third delivery", stream.next()).await.unwrap();
    assert_eq!(third.context().attempt(), 3, "the late acknowledgement changed nothing");
    third.ack().unwrap();
    quiet(&*bus).await;
    Outcome::Done
}

pub(super) async fn a_delivery_that_is_over_is_cancelled(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, redelivery);
    let contexts = Arc::new(std::sync::Mutex::new(Vec::<Context>::new()));
    let probe = Probe::with({
        let contexts = Arc::clone(&contexts);
        move |ctx, event| {
            assert!(!ctx.is_cancelled() && ctx.deadline().is_some());
            contexts.lock().unwrap().push(ctx.clone());
            async move {
                if *event.decode::<u64>().unwrap() == 1 && ctx.attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        }
    });
    subscribe(&*bus, Subscribe::to("a").timeout(Duration::from_millis(60)).retry(quick(2)), &probe).await;
    publish_numbers(&*bus, "a", 0..2).await;
    all(&*bus, &probe, 3).await;
    // Whether it succeeded or ran out of time, what a handler left behind learns that the delivery is over.
    let contexts = std::mem::take(&mut *contexts.lock().unwrap());
    for ctx in contexts {
        ctx.cancelled().await;
        assert!(ctx.is_cancelled());
    }
    Outcome::Done
}

pub(super) async fn a_batch_is_settled_one_by_one(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handled = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let (sizes, handled) = (Arc::clone(&sizes), Arc::clone(&handled));
        move |ctx: Context, events: Vec<Event>| {
            sizes.lock().unwrap().push(events.len());
            let outcomes: Vec<Result<(), HandlerError>> = events
                .iter()
                .map(|event| match *event.decode::<u64>().unwrap() {
                    3 if ctx.attempt() == 1 => Err(HandlerError::retry("first time")),
                    7 => Err(HandlerError::reject("never")),
                    number => {
                        handled.lock().unwrap().push(number);
                        Ok(())
                    }
                })
                .collect();
            async move { outcomes }
        }
    };
    let subscription = Subscribe::to("a").batch(10, Duration::from_millis(200)).retry(quick(3));
    let subscription = bus.subscribe(subscription, Arc::new(handler.into_batch_handler())).await.unwrap();
    publish_numbers(&*bus, "a", 0..30).await;
    quiet(&*bus).await;
    let expected: Vec<u64> = (0..30).filter(|number| *number != 7).collect();
    assert_eq!(sorted(handled.lock().unwrap().clone()), expected);
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.retried, stats.dead_lettered), (29, 1, 1));
    let sizes = sizes.lock().unwrap().clone();
    assert!(
        sizes.iter().all(|size| *size <= 10) && sizes.iter().any(|size| *size > 1),
        "batches are filled, and no fuller than asked: {sizes:?}"
    );
    assert_eq!(letters(&*bus).await.len(), 1);
    Outcome::Done
}

pub(super) async fn a_batch_with_the_wrong_number_of_outcomes_loses_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let handler = |_: Vec<Event>| async { Vec::<Result<(), HandlerError>>::new() };
    bus.subscribe(Subscribe::to("a").batch(5, Duration::ZERO).retry(quick(2)), Arc::new(handler.into_batch_handler())).await.unwrap();
    publish_numbers(&*bus, "a", 0..5).await;
    quiet(&*bus).await;
    let letters = letters(&*bus).await;
    assert_eq!(letters.len(), 5, "an event without an outcome was not handled");
    assert!(letters[0].error.contains("0 outcomes"), "{}", letters[0].error);
    Outcome::Done
}
