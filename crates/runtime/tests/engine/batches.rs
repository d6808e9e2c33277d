//! Handlers that take many events at once.

use crate::script::{Script, event};
use eventbus_core::{Event, HandlerError, IntoBatchHandler as _, Ordering, Retry, Subscribe};
use eventbus_runtime::{Batch, Fetched, Run};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn strict() -> Subscribe {
    Subscribe::to("a").ordering(Ordering::Strict).retry(Retry::fixed(SECOND).max_attempts(3))
}

/// The batches that a handler got, as numbers.
#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<Vec<u64>>>>);

impl Batches {
    /// A handler that notes its batches and settles each number by `outcome`.
    fn handler(&self, outcome: fn(u64) -> Result<(), HandlerError>) -> impl eventbus_core::Handler {
        let batches = self.clone();
        let handler = move |events: Vec<Event>| {
            let numbers: Vec<u64> = events.iter().map(|event| *event.decode().unwrap()).collect();
            batches.0.lock().unwrap().push(numbers.clone());
            async move { numbers.into_iter().map(outcome).collect::<Vec<_>>() }
        };
        handler.into_batch_handler()
    }

    fn seen(&self) -> Vec<Vec<u64>> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_settled_one_by_one() {
    let (script, batches) = (Script::new(), Batches::default());
    let handler = batches.handler(|number| match number {
        1 => Err(HandlerError::retry("again")),
        2 => Err(HandlerError::reject("poison")),
        _ => Ok(()),
    });
    let engine = script.run(strict().batch(4, Duration::ZERO), handler);
    script.bring_numbers(0..6);
    let (_, ticket) = script.put_back(1).await;
    script.until(|state| (state.buried.len() == 1).then_some(())).await;
    assert_eq!(script.state().settled[0].0, 0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(batches.seen(), [[0, 1, 2, 3]], "what follows waits for what was put back");
    script.bring_back(1, 3, ticket);
    script.until(|state| (state.buried.len() == 2).then_some(())).await;
    let mut acked = script.acked(4).await;
    acked.sort_unstable();
    assert_eq!(acked, [0, 3, 4, 5]);
    assert_eq!(batches.seen()[1..], [vec![1], vec![4, 5]]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_failed_first_is_tried_first_again() {
    let (script, batches) = (Script::new(), Batches::default());
    let handler = batches.handler(|number| if number == 1 || number == 2 { Err(HandlerError::retry("again")) } else { Ok(()) });
    let engine = script.run(strict().batch(4, Duration::ZERO), handler);
    script.bring_numbers(0..6);
    let ((_, first), (_, second)) = (script.put_back(1).await, script.put_back(2).await);
    // They come back the other way round.
    script.bring_back(2, 3, second);
    tokio::time::sleep(SECOND).await;
    assert_eq!(batches.seen().len(), 1, "the second waits for the first");
    script.bring_back(1, 3, first);
    script.acked(4).await;
    assert_eq!(batches.seen(), [vec![0, 1, 2, 3], vec![1], vec![2], vec![4, 5]]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn batches_of_several_keys_keep_the_order_of_each_and_hold_up_none() {
    let (script, batches) = (Script::new(), Batches::default());
    let subscribe = Subscribe::to("a").ordering(Ordering::PerKey).concurrency(2).batch(10, Duration::ZERO);
    let engine = script.run(subscribe, batches.handler(|_| Ok(())));
    script.bring_numbers(0..30);
    script.bring_numbers(30..60);
    let mut acked = script.acked(60).await;
    acked.sort_unstable();
    assert_eq!(acked, (0..60).collect::<Vec<_>>());
    let seen = batches.seen();
    for key in 0..3 {
        let of_key: Vec<u64> = seen.iter().flatten().copied().filter(|number| number % 3 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    assert!(seen.iter().all(|batch| batch.len() <= 3), "of each key one at most: {seen:?}");
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_of_several_keys_only_what_failed_holds_up_its_key() {
    let (script, batches) = (Script::new(), Batches::default());
    let handler = batches.handler(|number| match number {
        1 => Err(HandlerError::retry("again")),
        2 => Err(HandlerError::reject("poison")),
        _ => Ok(()),
    });
    script.state().bury_faults = 1;
    let engine = script.run(Subscribe::to("a").ordering(Ordering::PerKey).batch(10, Duration::ZERO).concurrency(2), handler);
    script.bring_numbers(0..9);
    let (_, ticket) = script.put_back(1).await;
    // Key 0 at once, key 2 when its letter is stored, key 1 not before the retry.
    let mut acked = script.acked(5).await;
    acked.sort_unstable();
    assert_eq!(acked, [0, 3, 5, 6, 8]);
    assert_eq!(script.state().buried.len(), 1);
    script.bring_back(1, 5, ticket);
    script.acked(7).await;
    let of_key_one: Vec<u64> = batches.seen().iter().flatten().copied().filter(|number| number % 3 == 1).collect();
    assert_eq!(of_key_one, [1, 1, 4, 7]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_has_no_key_and_fails_holds_up_no_key_of_its_batch() {
    let (script, batches) = (Script::new(), Batches::default());
    let handler = batches.handler(|number| if number == 0 { Err(HandlerError::retry("again")) } else { Ok(()) });
    let engine = script.run(Subscribe::to("a").ordering(Ordering::PerKey).batch(2, Duration::ZERO).concurrency(2), handler);
    let without_key = || Event::builder("a").id("0").data(0_u64).build().unwrap();
    let batch: Batch<u64> = [(without_key(), 0), (event(1, 3), 1), (event(4, 3), 4)].into_iter().collect();
    script.bring(Ok(Fetched::Run(Run::new(Arc::new(batch), 0..3, 1))));
    let (_, ticket) = script.put_back(0).await;
    assert_eq!(ticket, None, "nothing waits for it");
    script.acked(2).await;
    assert_eq!(batches.seen()[0], [0, 1]);
    engine.stop(Instant::now() + SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_batch_to_fill_keeps_its_lease_and_starts_when_the_time_is_up() {
    let lease = SECOND * 30;
    let (script, batches) = (Script::with_lease(Some(lease)), Batches::default());
    let engine = script.run(strict().batch(10, lease * 2), batches.handler(|_| Ok(())));
    script.bring_numbers(0..3);
    let since = Instant::now();
    script.acked(3).await;
    assert!(since.elapsed() >= lease * 2, "{:?}", since.elapsed());
    assert_eq!(batches.seen(), [[0, 1, 2]]);
    let extended = script.state().extended.iter().filter(|held| **held == [0, 1, 2]).count();
    assert!(extended >= 5, "extended {extended} times in two leases");
    // A full one does not wait.
    let since = Instant::now();
    script.bring_numbers(3..13);
    script.acked(13).await;
    assert!(since.elapsed() < SECOND, "{:?}", since.elapsed());
    engine.stop(Instant::now() + SECOND).await.unwrap();
}
