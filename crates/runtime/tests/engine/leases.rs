//! Deliveries that belong to this consumer only for a while.

use crate::script::Script;
use eventbus_core::{Event, HandlerError, IntoBatchHandler as _, Ordering, Subscribe};
use eventbus_runtime::Outcome;
use eventbus_testing::{Gate, Probe};
use std::{sync::Arc, time::Duration};

const LEASE: Duration = Duration::from_secs(30);

fn leased() -> Script {
    Script::with_lease(Some(LEASE))
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_what_waits_is_extended_three_times_within_each_lease() {
    let script = leased();
    let gate = Gate::new();
    let engine = script.run(Subscribe::to("a").concurrency(2).timeout(LEASE * 10), Probe::held(&gate));
    script.bring_numbers(0..2);
    let since = tokio::time::Instant::now();
    script.until(|state| (state.extended.iter().filter(|held| held.len() == 2).count() == 6).then_some(())).await;
    assert!(since.elapsed() <= LEASE * 2 + LEASE / 3, "six extensions took {:?}", since.elapsed());
    gate.open();
    script.acked(2).await;
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_lost_its_lease_is_dropped_and_settles_nothing() {
    let script = leased();
    let (running, never) = (Arc::new(()), Gate::new());
    let probe = Probe::with({
        let (running, never) = (Arc::clone(&running), never.clone());
        move |_, event| {
            let (running, never) = (Arc::clone(&running), never.clone());
            async move {
                if *event.decode::<u64>().unwrap() == 0 {
                    // Never let through: the handler holds on to `running` until it is dropped.
                    never.pass().await;
                    drop(running);
                }
                Ok(())
            }
        }
    });
    let engine = script.run(Subscribe::to("a").ordering(Ordering::Strict).timeout(LEASE * 10), probe.clone());
    script.bring_numbers(0..3);
    probe.wait(1).await;
    script.state().to_lose = vec![0];
    // What follows goes on: whoever has the lost one now, it is not this consumer.
    assert_eq!(script.acked(2).await, [1, 2]);
    assert_eq!(Arc::strong_count(&running), 2, "its handler is stopped");
    assert!(!script.state().settled.iter().any(|(number, _)| *number == 0), "nothing is settled for it");
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
    assert_eq!(engine.stats().delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_delivery_that_is_lost_never_starts() {
    let script = leased();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    // The batch holds more than one run may take, so that some wait in the schedule.
    let engine = script.run(Subscribe::to("a").ordering(Ordering::PerKey).concurrency(3).timeout(LEASE * 10), probe.clone());
    script.bring_numbers(0..3);
    script.bring_back(3, 1, None);
    probe.wait(3).await;
    script.until(|state| state.extended.last().is_some_and(|held| held.contains(&3)).then_some(())).await;
    script.state().to_lose = vec![3];
    let before = script.state().extended.len();
    script.until(|state| (state.extended.len() > before + 1).then_some(())).await;
    gate.open();
    script.acked(3).await;
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
    assert_eq!(probe.count(), 3);
    assert!(!script.state().settled.iter().any(|(number, _)| *number == 3));
    assert_eq!(engine.stats().delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_after_a_lost_lease_is_not_retried_here() {
    let script = leased();
    let probe = Probe::with(|_, _| async {
        tokio::time::sleep(LEASE).await;
        Err(HandlerError::retry("too late"))
    });
    let engine = script.run(Subscribe::to("a").timeout(LEASE * 10), probe.clone());
    script.bring_numbers(0..1);
    probe.wait(1).await;
    script.state().to_lose = vec![0];
    tokio::time::sleep(LEASE * 2).await;
    assert!(script.state().settled.iter().all(|(_, outcome)| !matches!(outcome, Outcome::Retry { .. })));
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_done_in_the_moment_of_the_loss_settles_nothing() {
    let script = leased();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let engine = script.run(Subscribe::to("a").timeout(LEASE * 10), probe.clone());
    script.bring_numbers(0..1);
    probe.wait(1).await;
    {
        let mut state = script.state();
        state.to_lose = vec![0];
        state.open_at_loss = Some(gate);
    }
    // The next one is settled after it would have been.
    script.until(|state| state.open_at_loss.is_none().then_some(())).await;
    script.bring_numbers(1..2);
    assert_eq!(script.acked(1).await, [1]);
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
    assert!(!script.state().settled.iter().any(|(number, _)| *number == 0));
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_what_was_lost_is_left_alone() {
    let script = leased();
    let (begun, gate) = (Gate::new(), Gate::new());
    let handler = {
        let (begun, gate) = (begun.clone(), gate.clone());
        move |events: Vec<Event>| {
            let (begun, gate) = (begun.clone(), gate.clone());
            async move {
                begun.open();
                gate.pass().await;
                events.iter().map(|_| Ok::<_, HandlerError>(())).collect::<Vec<_>>()
            }
        }
    };
    let subscribe = Subscribe::to("a").batch(3, Duration::ZERO).timeout(LEASE * 10);
    let engine = script.run(subscribe, handler.into_batch_handler());
    script.bring_numbers(0..3);
    begun.pass().await;
    script.state().to_lose = vec![1];
    let before = script.state().extended.len();
    script.until(|state| (state.extended.len() > before + 1).then_some(())).await;
    gate.open();
    assert_eq!(script.acked(2).await, [0, 2]);
    engine.stop(tokio::time::Instant::now() + LEASE).await.unwrap();
    assert!(!script.state().settled.iter().any(|(number, _)| *number == 1), "it is another's by now");
}
