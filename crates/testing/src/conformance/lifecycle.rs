//! Lines 19 to 22: beginnings and ends.

use super::{
    run::Outcome,
    story::{Story, all, begun, bus, holds_what_it_promised, needs, numbered, numbers, publish_numbers, queued, quiet, soon, subscribe},
};
use crate::{Gate, Probe, Seen};
use eventbus_core::{ErrorKind, HandlerError, Ordering, Retry, Subscribe};
use eventbus_runtime::BusExt;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

pub(super) async fn closing_lets_handlers_finish(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let (gate, finished) = (Gate::new(), Probe::new());
    let probe = Probe::with({
        let (gate, finished) = (gate.clone(), finished.clone());
        move |ctx, event| {
            let (gate, finished) = (gate.clone(), finished.clone());
            async move {
                gate.pass().await;
                tokio::task::yield_now().await;
                eventbus_core::Handler::handle(&finished, &ctx, &event).await
            }
        }
    });
    let subscription = Subscribe::to("a").concurrency(20).ordering(Ordering::Unordered);
    subscribe(&*bus, subscription, &probe).await;
    publish_numbers(&*bus, "a", 0..20).await;
    probe.wait(20).await;
    let (closing, closed) = begun(bus.close()).await;
    assert!(closed.is_none(), "a close waits for handlers, not {closed:?}");
    gate.open();
    closing.await.unwrap();
    assert_eq!(finished.count(), 20, "every handler that had begun came to its end");
    Outcome::Done
}

pub(super) async fn closing_delivers_what_was_accepted(story: Story) -> Outcome {
    let bus = bus!(story);
    if !holds_what_it_promised(&*bus) {
        return Outcome::Skipped("a server keeps what was not delivered, or nobody does".to_owned());
    }
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, event| async move {
        tokio::task::yield_now().await;
        if *event.decode::<u64>().unwrap() == 10 && ctx.attempt() == 1 { Err(HandlerError::retry("first time")) } else { Ok(()) }
    });
    // The retry holds back what follows for so long that the close finds it waiting.
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(Duration::from_millis(200))), &probe).await;
    let grouped = Probe::new();
    if bus.capabilities().groups {
        subscribe(&*bus, Subscribe::to("a").group(story.unique("g")), &grouped).await;
    }
    publish_numbers(&*bus, "a", 0..300).await;
    bus.close().await.unwrap();
    assert_eq!(probe.count(), 301, "everything accepted was delivered, retries too");
    assert_eq!(grouped.count(), if bus.capabilities().groups { 300 } else { 0 });
    Outcome::Done
}

pub(super) async fn closing_keeps_the_deadline(story: Story) -> Outcome {
    queued!(story);
    let deadline = Duration::from_millis(200);
    let bus = bus!(story, close_timeout: deadline);
    let probe = Probe::with(|_, _| std::future::pending());
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..5).await;
    probe.wait(1).await;
    let begun = Instant::now();
    let error = bus.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() >= deadline && begun.elapsed() < deadline + Duration::from_secs(10), "{:?}", begun.elapsed());
    if holds_what_it_promised(&*bus) {
        assert_eq!(error.context_value("undelivered"), Some("5"), "it says how much it had to leave: {error}");
    }
    bus.close().await.unwrap();
    assert_eq!(bus.publish(numbered("a", 1)).await.unwrap_err().kind(), ErrorKind::Closed);
    Outcome::Done
}

pub(super) async fn closing_twice_and_at_once_is_harmless(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..50).await;
    let closing = (0..10).map(|_| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move { bus.close().await })
    });
    for closed in closing.collect::<Vec<_>>() {
        closed.await.unwrap().unwrap();
    }
    bus.close().await.unwrap();
    subscription.close().await.unwrap();
    subscription.ended().await.unwrap();
    if holds_what_it_promised(&*bus) {
        assert_eq!(probe.count(), 50);
    }
    Outcome::Done
}

pub(super) async fn while_it_closes_only_handlers_publish(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let (gate, effects) = (Gate::new(), Probe::new());
    let causes = Probe::with({
        let gate = gate.clone();
        move |ctx, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                ctx.publish(numbered("effect", 1)).await?;
                Ok(())
            }
        }
    });
    subscribe(&*bus, "cause", &causes).await;
    subscribe(&*bus, "effect", &effects).await;
    bus.publish(numbered("cause", 1)).await.unwrap();
    causes.wait(1).await;
    let closing = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.close().await }
    });
    // The close has begun when publishing from outside is refused.
    let refused = loop {
        match bus.publish(numbered("other", 1)).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let refused = bus.subscribe(Subscribe::to("a"), Arc::new(Probe::new())).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    gate.open();
    closing.await.unwrap().unwrap();
    if holds_what_it_promised(&*bus) {
        assert_eq!(effects.count(), 1, "what the handler published was delivered");
    }
    Outcome::Done
}

pub(super) async fn a_handler_may_close_the_bus(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|ctx, _| async move {
        ctx.bus().close().await?;
        Ok(())
    });
    subscribe(&*bus, "a", &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    probe.wait(1).await;
    bus.close().await.unwrap();
    Outcome::Done
}

pub(super) async fn closing_one_subscription_leaves_the_others(story: Story) -> Outcome {
    let bus = bus!(story);
    for round in 0..3 {
        let (first, second) = (Probe::new(), Probe::new());
        let (to_first, to_second) = (format!("r{round}.first"), format!("r{round}.second"));
        let one = subscribe(&*bus, to_first.as_str(), &first).await;
        let two = subscribe(&*bus, to_second.as_str(), &second).await;
        publish_numbers(&*bus, &to_first, 0..10).await;
        publish_numbers(&*bus, &to_second, 0..10).await;
        all(&*bus, &first, 10).await;
        all(&*bus, &second, 10).await;
        one.close().await.unwrap();
        publish_numbers(&*bus, &to_first, 10..20).await;
        publish_numbers(&*bus, &to_second, 10..20).await;
        all(&*bus, &second, 20).await;
        two.close().await.unwrap();
        publish_numbers(&*bus, &to_second, 20..30).await;
        quiet(&*bus).await;
        assert_eq!((first.count(), second.count()), (10, 20));
    }
    Outcome::Done
}

pub(super) async fn a_closed_subscription_finishes_what_it_began(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..5).await;
    probe.wait(1).await;
    let (closing, closed) = begun(subscription.close()).await;
    assert!(closed.is_none(), "a close waits for handlers, not {closed:?}");
    gate.open();
    closing.await.unwrap();
    let handled = probe.count();
    if holds_what_it_promised(&*bus) {
        assert_eq!(handled, 5, "what it had been promised is delivered first");
    }
    publish_numbers(&*bus, "a", 5..10).await;
    quiet(&*bus).await;
    assert_eq!(probe.count(), handled, "afterwards it gets nothing");
    subscription.close().await.unwrap();
    subscription.ended().await.unwrap();
    Outcome::Done
}

pub(super) async fn a_dropped_subscription_goes_on(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    drop(subscribe(&*bus, "a", &probe).await);
    publish_numbers(&*bus, "a", 0..20).await;
    assert_eq!(all(&*bus, &probe, 20).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..20));
    Outcome::Done
}

pub(super) async fn a_dropped_guard_ends_its_subscription(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    let guard = subscribe(&*bus, "a", &probe).await.into_guard();
    publish_numbers(&*bus, "a", 0..10).await;
    all(&*bus, &probe, 10).await;
    assert_eq!(guard.stats().acked, 10, "a guard is a subscription");
    drop(guard);
    until_subscriptions(&*bus, 0).await;
    publish_numbers(&*bus, "a", 10..20).await;
    quiet(&*bus).await;
    assert_eq!(probe.count(), 10);
    Outcome::Done
}

/// Waits until the bus has so many subscriptions.
async fn until_subscriptions(bus: &dyn eventbus_core::Bus, count: usize) {
    let ended = async {
        while bus.stats().await.unwrap().subscriptions.len() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the end of the subscription", ended).await;
}

pub(super) async fn a_dropped_stream_ends_its_subscription(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let mut stream = bus.stream("a").await.unwrap();
    publish_numbers(&*bus, "a", 0..3).await;
    for number in 0..2 {
        let delivery = soon("the delivery", stream.next()).await.unwrap();
        assert_eq!(*delivery.event().decode::<u64>().unwrap(), number);
        delivery.ack().unwrap();
    }
    drop(stream);
    until_subscriptions(&*bus, 0).await;
    Outcome::Done
}

pub(super) async fn a_subscription_that_ends_says_so(story: Story) -> Outcome {
    let bus = bus!(story);
    let subscription = Arc::new(subscribe(&*bus, "a", &Probe::new()).await);
    let mut stream = bus.stream("a").await.unwrap();
    let ended = tokio::spawn({
        let subscription = Arc::clone(&subscription);
        async move { subscription.ended().await }
    });
    let at_its_end = tokio::spawn(async move { stream.next().await.is_none() });
    assert!(!ended.is_finished());
    bus.close().await.unwrap();
    soon("the end of the subscription", ended).await.unwrap().unwrap();
    assert!(soon("the end of the stream", at_its_end).await.unwrap(), "a stream ends with its subscription");
    Outcome::Done
}

pub(super) async fn a_held_bus_delivers_in_order_at_its_start(story: Story) -> Outcome {
    let bus = bus!(story, hold: Some(100));
    needs!(bus, hold);
    publish_numbers(&*bus, "a", 0..50).await;
    let (early, late) = (Probe::new(), Probe::new());
    subscribe(&*bus, "a", &early).await;
    publish_numbers(&*bus, "a", 50..100).await;
    assert_eq!(early.count(), 0, "nothing is delivered before the start");
    bus.start().await.unwrap();
    subscribe(&*bus, "a", &late).await;
    publish_numbers(&*bus, "a", 100..200).await;
    assert_eq!(all(&*bus, &early, 200).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..200));
    assert_eq!(
        all(&*bus, &late, 100).await.iter().map(Seen::number).collect::<Vec<_>>(),
        numbers(100..200),
        "the start is when they are published"
    );
    Outcome::Done
}

pub(super) async fn a_full_hold_refuses(story: Story) -> Outcome {
    let bus = bus!(story, hold: Some(3));
    needs!(bus, hold);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    let error = bus.publish(numbered("a", 3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full { limit: 3 }, "{error}");
    bus.start().await.unwrap();
    bus.publish(numbered("a", 4)).await.unwrap();
    assert_eq!(all(&*bus, &probe, 4).await.iter().map(Seen::number).collect::<Vec<_>>(), [0, 1, 2, 4]);
    Outcome::Done
}

pub(super) async fn starting_a_bus_that_is_not_held_does_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..3).await;
    bus.start().await.unwrap();
    bus.start().await.unwrap();
    publish_numbers(&*bus, "a", 3..6).await;
    all(&*bus, &probe, 6).await;
    Outcome::Done
}
