//! Pausing, stopping, and how far ahead a subscription fetches.

use crate::script::Script;
use eventbus_core::{ErrorKind, HandlerError, Ordering, Subscribe};
use eventbus_runtime::Outcome;
use eventbus_testing::{Gate, Probe};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_stop_lets_handlers_finish_and_gives_back_what_had_not_started() {
    let script = Script::new();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let engine = script.run(Subscribe::to("a").ordering(Ordering::PerKey).concurrency(2), probe.clone());
    script.bring_numbers(0..2);
    script.bring_back(5, 1, None);
    probe.wait(2).await;
    let stopping = tokio::spawn({
        let engine = engine.clone();
        async move { engine.stop(Instant::now() + SECOND).await }
    });
    tokio::task::yield_now().await;
    gate.open();
    stopping.await.unwrap().unwrap();
    let state = script.state();
    let of = |number| state.settled.iter().find(|(settled, _)| *settled == number).map(|(_, outcome)| *outcome);
    assert_eq!((of(0), of(1)), (Some(Outcome::Ack), Some(Outcome::Ack)));
    assert!(matches!(of(5), None | Some(Outcome::Release)), "{:?}", of(5));
    assert_eq!(probe.count(), 2);
    assert!(state.ended);
}

#[tokio::test(start_paused = true)]
async fn handlers_that_run_past_the_deadline_are_dropped_counted_and_given_back() {
    let script = Script::new();
    let probe = Probe::held(&Gate::new());
    let engine = script.run(Subscribe::to("a"), probe.clone());
    script.bring_numbers(0..3);
    probe.wait(1).await;
    let since = Instant::now();
    let error = engine.stop(since + SECOND).await.unwrap_err();
    assert!(since.elapsed() < SECOND * 2);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("unfinished=1"), "{error}");
    let settled = script.state().settled.clone();
    assert!(settled.iter().any(|(number, outcome)| *number == 0 && matches!(outcome, Outcome::Retry { .. })), "{settled:?}");
    assert!(settled.iter().all(|(_, outcome)| *outcome != Outcome::Ack), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_backend_that_is_away_until_its_deadline() {
    for (faults, settles) in [(3, true), (1_000, false)] {
        let script = Script::new();
        let probe = Probe::new();
        let engine = script.run(Subscribe::to("a"), probe.clone());
        script.state().settle_faults = faults;
        script.bring_numbers(0..1);
        probe.wait(1).await;
        // The outcome has failed to be told once by now, or is about to.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let since = Instant::now();
        let stopped = engine.stop(since + 10 * SECOND).await;
        assert_eq!(stopped.is_ok(), settles, "{stopped:?}");
        assert_eq!(since.elapsed() >= 10 * SECOND, !settles, "{:?}", since.elapsed());
        assert_eq!(script.state().settled.len(), usize::from(settles));
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_engine_ends_when_a_backend_that_is_away_is_given_up() {
    let script = Script::new();
    script.state().settle_faults = usize::MAX;
    let probe = Probe::new();
    let engine = script.run(Subscribe::to("a"), probe.clone());
    script.bring_numbers(0..1);
    probe.wait(1).await;
    engine.abandon();
    assert!(tokio::time::timeout(SECOND * 60, engine.ended()).await.is_err(), "the backend may come back");
    engine.give_up();
    tokio::time::timeout(SECOND, engine.ended()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_paused_nothing_is_fetched_and_nothing_starts() {
    let script = Script::new();
    let probe = Probe::new();
    let engine = script.run(Subscribe::to("a"), probe.clone());
    script.bring_numbers(0..1);
    script.acked(1).await;
    engine.pause();
    // A fetch may be on its way; what it brings is kept.
    script.bring_numbers(1..5);
    tokio::time::sleep(SECOND).await;
    let asked = script.state().asked.len();
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(probe.count(), 1);
    assert_eq!(script.state().asked.len(), asked);
    engine.resume();
    assert_eq!(script.acked(5).await, [0, 1, 2, 3, 4]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_leave_what_they_cannot_start_to_others() {
    let script = Script::new();
    let probe = Probe::with(|_, _| async {
        tokio::time::sleep(SECOND * 10).await;
        Ok::<_, HandlerError>(())
    });
    let engine = script.run(Subscribe::to("a").ordering(Ordering::Unordered).concurrency(4).buffer(1000), probe.clone());
    script.bring_numbers(0..100);
    script.acked(20).await;
    let most = script.state().asked.iter().copied().max().unwrap();
    assert!(most <= 4, "a fetch asked for {most} with four slow handlers");
    drop(engine.stop(Instant::now() + SECOND * 20).await);
}

#[tokio::test(start_paused = true)]
async fn every_handler_that_has_nothing_to_do_is_called_to_a_run_of_many() {
    let script = Script::new();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let engine = script.run(Subscribe::to("a").ordering(Ordering::Unordered).concurrency(5), probe.clone());
    // All of them have looked once, and wait.
    gate.let_through(1);
    script.bring_numbers(0..1);
    script.acked(1).await;
    script.bring_numbers(1..6);
    probe.wait(6).await;
    gate.open();
    script.acked(6).await;
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_let_go_of_at_the_end_whoever_keeps_a_handle() {
    let script = Script::new();
    let kept = Arc::new(());
    let probe = Probe::with({
        let kept = Arc::clone(&kept);
        move |_, _| {
            let _kept = &kept;
            async { Ok(()) }
        }
    });
    let engine = script.run(Subscribe::to("a").ordering(Ordering::Unordered).concurrency(3), probe);
    script.bring_numbers(0..10);
    script.acked(10).await;
    engine.stop(Instant::now() + SECOND).await.unwrap();
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_dropped_does_not_keep_the_end_away() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a handler panics while it is dropped, as the test wants");
        }
    }
    let script = Script::new();
    let bomb = Bomb;
    let engine = script.run(
        Subscribe::to("a"),
        Probe::with(move |_, _| {
            let _bomb = &bomb;
            async { Ok(()) }
        }),
    );
    script.bring_numbers(0..1);
    script.acked(1).await;
    engine.stop(Instant::now() + SECOND).await.unwrap();
}
