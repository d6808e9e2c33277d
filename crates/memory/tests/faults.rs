//! What goes wrong around a bus: it is dropped, forgotten, crowded.

use eventbus_core::{Bus, Event, HandlerError, Overflow, Retry, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_testing::{Gate, Probe, settle};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

fn event(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

#[tokio::test]
async fn a_bus_dropped_without_close_stops_and_blocks_nobody() {
    let bus = MemoryBus::new();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    let subscription = bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    for number in 0..10 {
        bus.publish(event(number)).await.unwrap();
    }
    probe.wait(1).await;
    drop(bus);
    gate.open();
    subscription.ended().await.unwrap();
    assert_eq!(probe.count(), 1, "the one that ran has finished, the rest went with the bus");
}

#[test]
fn a_runtime_may_end_before_its_bus() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bus = MemoryBus::new();
    let subscription = runtime.block_on(async {
        let probe = Probe::with(|_, _| std::future::pending());
        let subscription = bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
        bus.publish(event(1)).await.unwrap();
        probe.wait(1).await;
        subscription
    });
    drop(runtime);
    assert_eq!(subscription.stats().delivered, 1);
    drop((subscription, bus));
}

#[tokio::test]
async fn a_publisher_that_is_dropped_while_it_waits_leaves_no_trace() {
    let bus = MemoryBus::new();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    bus.subscribe(Subscribe::to("a").buffer(1), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event(0)).await.unwrap();
    probe.wait(1).await;
    bus.publish(event(1)).await.unwrap();
    for number in 100..200 {
        assert!(tokio::time::timeout(Duration::from_micros(10), bus.publish(event(number))).await.is_err(), "there is no room");
    }
    gate.open();
    bus.publish(event(2)).await.unwrap();
    settle(&bus, Duration::from_secs(30)).await.unwrap();
    assert_eq!(probe.numbers(), [0, 1, 2]);
}

#[tokio::test]
async fn what_may_be_dropped_is_not_fetched_ahead_of_a_handler_that_was_fast() {
    let bus = MemoryBus::new();
    let gate = Gate::new();
    let held = gate.clone();
    let probe = Probe::with(move |_, event| {
        let gate = held.clone();
        async move {
            if *event.decode::<u64>().unwrap() >= 100 {
                gate.pass().await;
            }
            Ok(())
        }
    });
    bus.subscribe(Subscribe::to("a").buffer(5).overflow(Overflow::DropOldest), Arc::new(probe.clone())).await.unwrap();
    for number in 0..100 {
        bus.publish(event(number)).await.unwrap();
        settle(&bus, Duration::from_secs(30)).await.unwrap();
    }
    bus.publish(event(100)).await.unwrap();
    probe.wait(101).await;
    for number in 101..150 {
        bus.publish(event(number)).await.unwrap();
        // A subscription that fetched ahead would do so now.
        tokio::task::yield_now().await;
    }
    gate.open();
    settle(&bus, Duration::from_secs(30)).await.unwrap();
    let last = &probe.numbers()[100..];
    assert_eq!(last[0], 100);
    // One may be with the handler's lane already, and the newest are there.
    assert!(last.ends_with(&[146, 147, 148, 149]) && last.len() <= 7, "{last:?}");
}

#[tokio::test]
async fn subscriptions_that_do_not_match_cost_a_publisher_nothing() {
    const EVENTS: u32 = 2000;
    let crowded = async |others: usize| {
        let bus = MemoryBus::new();
        for number in 0..others {
            // Those of one letter stand in the way of a linear search, the others in that of a naive trie.
            let pattern = if number % 2 == 0 { format!("other.t{number}") } else { format!("*.t{number}.>") };
            bus.subscribe(Subscribe::to(pattern), Arc::new(Probe::new())).await.unwrap();
        }
        bus
    };
    let (few, many) = (crowded(10).await, crowded(100_000).await);
    let publish = async |bus: &MemoryBus| {
        let since = Instant::now();
        for number in 0..EVENTS {
            bus.publish(event(number.into())).await.unwrap();
        }
        since.elapsed()
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..7 {
        best = [best[0].min(publish(&few).await), best[1].min(publish(&many).await)];
    }
    let ratio = best[1].as_secs_f64() / best[0].as_secs_f64();
    eprintln!("a publish beside 100,000 other subscriptions takes {ratio:.2} times as long as beside 10");
    // A search through them all would take thousands of times as long.
    assert!(ratio < 3.0, "{ratio:.2} times as long: {best:?}");
}

#[tokio::test(start_paused = true)]
async fn backoff_is_never_early_and_jitter_stays_within_it() {
    let bus = MemoryBus::new();
    let probe = Probe::with(|_, _| async { Err(HandlerError::retry("never")) });
    let retry = Retry::exponential(Duration::from_secs(1)).max_attempts(6).max_delay(Duration::from_secs(10));
    bus.subscribe(Subscribe::to("a").retry(retry), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event(1)).await.unwrap();
    // The longest delays come to more than the half minute that a probe waits by itself.
    let seen = probe.wait_within(6, Duration::from_secs(3600)).await;
    settle(&bus, Duration::from_secs(3600)).await.unwrap();
    let attempts: Vec<u32> = seen.iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    for (pair, nominal) in seen.windows(2).zip([1, 2, 4, 8, 10]) {
        let waited = pair[1].at - pair[0].at;
        let nominal = Duration::from_secs(nominal);
        assert!(waited >= nominal && waited <= nominal.mul_f64(1.25) + Duration::from_millis(2), "{waited:?} instead of {nominal:?}");
    }
    assert_eq!(bus.stats().await.unwrap().dead_letters, Some(1));
}
