//! What is put back, what is given up, and what waits for either.

use crate::script::{Script, event};
use eventbus_core::{DeadLetterReason, Error, ErrorKind, Event, HandlerError, MAX_DURATION, MIN_BACKOFF, Ordering, Retry, Subscribe};
use eventbus_runtime::{Fetched, Outcome, Run};
use eventbus_testing::{Gate, Probe};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Fails everything that is `bad` until this attempt.
fn failing(bad: u64, until: u32) -> Probe {
    Probe::with(move |ctx, event| async move {
        if *event.decode::<u64>().unwrap() == bad && ctx.attempt() < until { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    })
}

fn strict() -> Subscribe {
    Subscribe::to("a").ordering(Ordering::Strict).retry(Retry::fixed(SECOND).max_attempts(3))
}

#[tokio::test(start_paused = true)]
async fn what_follows_waits_for_the_redelivery() {
    let script = Script::new();
    let probe = failing(1, 2);
    let engine = script.run(strict(), probe.clone());
    script.bring_numbers(0..4);
    let (after, ticket) = script.put_back(1).await;
    assert_eq!(after, SECOND);
    tokio::time::sleep(SECOND).await;
    assert_eq!(probe.numbers(), [0, 1], "the rest waits");
    script.bring_back(1, 2, ticket);
    assert_eq!(script.acked(4).await, [0, 1, 2, 3]);
    assert_eq!(probe.numbers(), [0, 1, 1, 2, 3]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_follows_goes_on_when_another_member_has_the_redelivery() {
    let script = Script::new();
    let probe = failing(0, 2);
    let engine = script.run(strict(), probe.clone());
    script.bring_numbers(0..3);
    let (_, ticket) = script.put_back(0).await;
    script.bring(Ok(Fetched::Elsewhere(ticket.expect("others wait for it"))));
    assert_eq!(script.acked(2).await, [1, 2]);
    assert_eq!(probe.numbers(), [0, 1, 2]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_an_order_nothing_waits_for_a_redelivery() {
    let script = Script::new();
    let probe = failing(0, 2);
    let engine = script.run(strict().ordering(Ordering::Unordered), probe.clone());
    script.bring_numbers(0..3);
    assert_eq!(script.put_back(0).await, (SECOND, None));
    assert_eq!(script.acked(2).await, [1, 2]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn room_that_opens_while_a_redelivery_is_awaited_is_filled() {
    let script = Script::new();
    let gate = Gate::new();
    let probe = Probe::with({
        let gate = gate.clone();
        move |_, event| {
            let gate = gate.clone();
            async move {
                match *event.decode::<u64>().unwrap() {
                    0 => return Err(HandlerError::retry_after("much later", SECOND * 3600)),
                    1 | 2 => gate.pass().await,
                    _ => {}
                }
                Ok(())
            }
        }
    });
    let engine = script.run(strict().ordering(Ordering::PerKey).concurrency(2).buffer(3), probe.clone());
    script.bring_numbers(0..1);
    script.put_back(0).await;
    // Both handlers are busy, one event of each key fills the buffer, and those of the first key wait for the retry.
    script.bring_numbers(1..3);
    probe.wait(3).await;
    script.bring_numbers(3..6);
    script.until(|state| (state.asked.last() == Some(&0)).then_some(())).await;
    script.bring_numbers(6..9);
    gate.open();
    let mut acked = script.acked(6).await;
    acked.sort_unstable();
    assert_eq!(acked, [1, 2, 4, 5, 7, 8]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_asks_for_is_the_delay_within_reason() {
    let script = Script::new();
    let probe = Probe::with(|_, event| async move {
        Err(HandlerError::retry_after("busy", [SECOND * 90, Duration::ZERO, Duration::MAX][*event.decode::<usize>().unwrap()]))
    });
    let engine = script.run(strict().ordering(Ordering::Unordered), probe);
    script.bring_numbers(0..3);
    assert_eq!(script.put_back(0).await.0, SECOND * 90);
    assert_eq!(script.put_back(1).await.0, MIN_BACKOFF);
    assert_eq!(script.put_back(2).await.0, MAX_DURATION);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_buried_and_lets_its_followers_go() {
    let script = Script::new();
    let probe = failing(0, 9);
    let engine = script.run(strict(), probe.clone());
    script.bring_back(0, 3, None);
    script.bring_numbers(1..3);
    assert_eq!(script.acked(2).await, [1, 2]);
    assert_eq!(script.state().buried, [(0, DeadLetterReason::Exhausted, 3)]);
    assert_eq!(engine.stats().dead_lettered, 1);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_that_ran_out_elsewhere_are_buried_without_another() {
    let script = Script::new();
    let probe = Probe::new();
    let engine = script.run(strict(), probe.clone());
    // Three members died with it: this would be the fourth attempt of three.
    script.bring_back(0, 4, None);
    script.bring_numbers(1..2);
    script.acked(1).await;
    script.until(|state| (state.buried.len() == 1).then_some(())).await;
    assert_eq!(script.state().buried, [(0, DeadLetterReason::Exhausted, 3)]);
    assert_eq!(probe.numbers(), [1]);
    assert_eq!(engine.stats().delivered, 1);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_redelivery_goes_on_when_its_attempts_ran_out_elsewhere() {
    let script = Script::new();
    let probe = failing(0, 9);
    let engine = script.run(strict(), probe.clone());
    script.bring_numbers(0..3);
    let (_, ticket) = script.put_back(0).await;
    script.bring_back(0, 4, ticket);
    assert_eq!(script.acked(2).await, [1, 2]);
    assert_eq!(script.state().buried, [(0, DeadLetterReason::Exhausted, 3)]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_buried_at_once_and_its_neighbours_are_delivered() {
    let script = Script::new();
    let probe = Probe::new();
    let engine = script.run(strict(), probe.clone());
    script.bring_numbers(0..1);
    let error = Error::new(ErrorKind::Decode, "attribute 'id' is missing");
    script.bring(Ok(Fetched::Undecodable(Run::one(Event::builder("a").payload(event(9, 1).data().clone()).build().unwrap(), 9, 1), error)));
    script.bring_numbers(1..2);
    assert_eq!(script.acked(2).await, [0, 1]);
    script.until(|state| (state.buried.len() == 1).then_some(())).await;
    assert_eq!(script.state().buried, [(9, DeadLetterReason::Undecodable, 1)]);
    assert_eq!(probe.count(), 2);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_stored_is_tried_again_and_its_key_waits() {
    let script = Script::new();
    script.state().bury_faults = 3;
    let probe =
        Probe::with(
            |_, event| async move { if *event.decode::<u64>().unwrap() == 0 { Err(HandlerError::reject("poison")) } else { Ok(()) } },
        );
    let engine = script.run(strict(), probe.clone());
    script.bring_numbers(0..3);
    assert_eq!(script.acked(2).await, [1, 2]);
    assert_eq!(script.state().buried, [(0, DeadLetterReason::Rejected, 1)]);
    let stats = engine.stats();
    assert_eq!((stats.dead_letter_failures, stats.dead_lettered), (3, 1));
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_stored_before_the_end_leaves_its_event() {
    let script = Script::new();
    script.state().bury_faults = usize::MAX;
    let engine = script.run(strict(), Probe::with(|_, _| async { Err(HandlerError::reject("poison")) }));
    script.bring_numbers(0..2);
    script.until(|state| (state.bury_faults < usize::MAX).then_some(())).await;
    engine.stop(Instant::now() + SECOND * 60).await.unwrap();
    let state = script.state();
    assert!(
        matches!(
            state.settled[..],
            [(1, Outcome::Release), (0, Outcome::Retry { .. })] | [(0, Outcome::Retry { .. }), (1, Outcome::Release)]
        ),
        "{:?}",
        state.settled
    );
}
