//! Lines 12, 13 and 17: attempts and their delays.

use super::{
    run::Outcome,
    story::{SOON, Story, all, bus, hopeless, letters, needs, numbered, numbers, publish_numbers, queued, quick, subscribe, until},
};
use crate::Probe;
use eventbus_core::{HandlerError, Ordering, Retry, Subscribe};
use std::time::Duration;

pub(super) async fn attempts_begin_at_one_and_grow(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    for (event_type, ordering) in [("a", Ordering::Strict), ("b", Ordering::PerKey), ("c", Ordering::Unordered)] {
        let probe = hopeless();
        subscribe(&*bus, Subscribe::to(event_type).ordering(ordering).retry(quick(4)), &probe).await;
        bus.publish(numbered(event_type, 1)).await.unwrap();
        assert_eq!(all(&*bus, &probe, 4).await.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
    Outcome::Done
}

pub(super) async fn attempts_grow_from_member_to_member(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, groups, redelivery);
    // Long enough that the second attempt falls to the second member.
    let group = || Subscribe::to("a").group(story.unique("g")).retry(Retry::fixed(Duration::from_millis(300)).forever());
    let first = hopeless();
    let member = subscribe(&*bus, group(), &first).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    first.wait(1).await;
    until("the wait for another attempt", || member.stats().retried >= 1).await;
    member.close().await.unwrap();
    let second = Probe::new();
    subscribe(&*bus, group(), &second).await;
    // On a slow machine the first member may have tried it again before it was gone.
    assert_eq!(all(&*bus, &second, 1).await[0].attempt as usize, first.count() + 1);
    Outcome::Done
}

pub(super) async fn a_failing_handler_hurts_no_neighbour(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, event| async move {
        if event.decode::<u64>().unwrap().is_multiple_of(5) && ctx.attempt() == 1 { Err(HandlerError::retry("first time")) } else { Ok(()) }
    });
    let neighbour = Probe::new();
    subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered).concurrency(2).retry(quick(5)), &probe).await;
    subscribe(&*bus, "a", &neighbour).await;
    publish_numbers(&*bus, "a", 0..100).await;
    all(&*bus, &probe, 120).await;
    for number in 0..100 {
        let attempts = probe.numbers().iter().filter(|seen| **seen == number).count();
        assert_eq!(attempts, if number % 5 == 0 { 2 } else { 1 }, "event {number}");
    }
    assert_eq!(neighbour.numbers(), numbers(0..100), "another subscription gets each once");
    Outcome::Done
}

pub(super) async fn a_panicking_handler_is_retried_and_its_neighbours_are_not(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|ctx, event| {
        let number = *event.decode::<u64>().unwrap();
        // Before the future exists, at its first poll, and after it waited.
        assert!(number != 1 || ctx.attempt() > 1, "a panic while the handler is called");
        async move {
            assert!(number != 2 || ctx.attempt() > 1, "a panic at once");
            tokio::task::yield_now().await;
            assert!(number != 3 || ctx.attempt() > 1, "a panic after waiting");
            assert!(number != 4, "a panic each time");
            Ok(())
        }
    });
    let subscription = subscribe(&*bus, Subscribe::to("a").retry(quick(2)), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    all(&*bus, &probe, 14).await;
    for number in 0..10 {
        let attempts = probe.numbers().iter().filter(|seen| **seen == number).count();
        assert_eq!(attempts, if (1..=4).contains(&number) { 2 } else { 1 }, "event {number}");
    }
    let letters = letters(&*bus).await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].error.contains("a panic each time"), "the panic's text is kept: {}", letters[0].error);
    assert_eq!(subscription.stats().acked, 9);
    Outcome::Done
}

pub(super) async fn a_panic_while_dropping_a_handler_is_survived(story: Story) -> Outcome {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a panic in a destructor");
        }
    }
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = Probe::with(|ctx, event| async move {
        let number = *event.decode::<u64>().unwrap();
        let bomb = (ctx.attempt() == 1 && number < 2).then(|| Bomb);
        if number == 1 {
            tokio::task::yield_now().await;
        }
        drop(bomb);
        Ok(())
    });
    // Dropped by the engine, when the time is up.
    let hanging = Probe::with(|ctx, _| async move {
        if ctx.attempt() == 1 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").retry(quick(3)), &probe).await;
    subscribe(&*bus, Subscribe::to("a").retry(quick(3)).timeout(Duration::from_millis(50)), &hanging).await;
    publish_numbers(&*bus, "a", 0..4).await;
    all(&*bus, &probe, 6).await;
    all(&*bus, &hanging, 8).await;
    Outcome::Done
}

pub(super) async fn many_failures_do_not_starve_the_rest(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    let probe = Probe::with(|_, event| async move {
        if event.decode::<u64>().unwrap().is_multiple_of(10) { Err(HandlerError::retry("poison")) } else { Ok(()) }
    });
    let subscription = subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Unordered).concurrency(4).retry(quick(3)), &probe).await;
    publish_numbers(&*bus, "a", 0..1000).await;
    all(&*bus, &probe, 1200).await;
    let stats = subscription.stats();
    assert_eq!((stats.acked, stats.retried, stats.dead_lettered), (900, 200, 100));
    Outcome::Done
}

pub(super) async fn backoff_is_never_early(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = hopeless();
    let retry = Retry::exponential(Duration::from_millis(40)).max_attempts(4);
    subscribe(&*bus, Subscribe::to("a").retry(retry), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    let seen = all(&*bus, &probe, 4).await;
    for (pair, least) in seen.windows(2).zip([40, 80, 160]) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(least), "attempt {} came after {waited:?}, not after {least} ms", pair[1].attempt);
    }
    Outcome::Done
}

pub(super) async fn a_handler_may_choose_the_delay(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let chosen = Duration::from_millis(150);
    let probe =
        Probe::with(move |ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry_after("busy", chosen)) } else { Ok(()) } });
    // The policy's own delay is far longer, so a redelivery in time is the handler's doing.
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(Duration::from_secs(3600))), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    let seen = all(&*bus, &probe, 2).await;
    assert!(seen[1].at - seen[0].at >= chosen, "{:?}", seen[1].at - seen[0].at);
    Outcome::Done
}

pub(super) async fn no_retry_is_hot(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe =
        Probe::with(
            |ctx, _| async move { if ctx.attempt() < 50 { Err(HandlerError::retry_after("at once", Duration::ZERO)) } else { Ok(()) } },
        );
    subscribe(&*bus, Subscribe::to("a").retry(Retry::fixed(SOON).max_attempts(50)), &probe).await;
    bus.publish(numbered("a", 1)).await.unwrap();
    for pair in all(&*bus, &probe, 50).await.windows(2) {
        assert!(
            pair[1].at - pair[0].at >= Duration::from_millis(1),
            "attempt {} came after {:?}",
            pair[1].attempt,
            pair[1].at - pair[0].at
        );
    }
    Outcome::Done
}
