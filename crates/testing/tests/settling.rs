//! Waiting until nothing is left to do, and delays that pass at once.

use eventbus_core::{Bus, Context, DeadLetterFilter, ErrorKind, Event, HandlerError, Ordering, Retry, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_testing::{Gate, Probe, RecordingBus, settle};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

fn event(event_type: &str, number: u64) -> Event {
    Event::json(event_type, number).unwrap()
}

#[tokio::test]
async fn settled_means_that_everything_was_handled_also_what_handlers_published() {
    let bus = RecordingBus::new();
    // Each event publishes the next, down to zero.
    let counting = Probe::with(|ctx: Context, event| async move {
        let number = *event.decode::<u64>()?;
        tokio::task::yield_now().await;
        if number > 0 {
            ctx.publish(Event::json("count", number - 1)?).await?;
        }
        Ok(())
    });
    let nobody = Probe::new();
    bus.subscribe(Subscribe::to("count"), Arc::new(counting.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("other"), Arc::new(nobody.clone())).await.unwrap();
    bus.publish(event("count", 100)).await.unwrap();
    settle(&bus, LONG).await.unwrap();
    assert_eq!(counting.count(), 101);
    assert_eq!(nobody.count(), 0, "what did not happen by now does not happen");
}

#[tokio::test(start_paused = true)]
async fn a_bus_without_anything_to_do_is_settled_at_once() {
    let bus = RecordingBus::new();
    bus.publish(event("unheard", 1)).await.unwrap();
    let begun = Instant::now();
    settle(&bus, Duration::from_millis(1)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn settling_in_vain_names_what_is_outstanding_and_who_is_behind() {
    let (bus, gate) = (MemoryBus::new(), Gate::new());
    let quick = Probe::new();
    bus.subscribe(Subscribe::to("a").name("quick"), Arc::new(quick.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("a").name("slow"), Arc::new(Probe::held(&gate))).await.unwrap();
    bus.subscribe(Subscribe::to("a").group("billing"), Arc::new(Probe::held(&gate))).await.unwrap();
    let paused = bus.subscribe(Subscribe::to("b").name("asleep"), Arc::new(Probe::new())).await.unwrap();
    paused.pause();
    for number in 0..2 {
        bus.publish(event("a", number)).await.unwrap();
    }
    bus.publish(event("b", 0)).await.unwrap();
    let error = settle(&bus, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation(), error.context_value("outstanding")), (ErrorKind::Timeout, "settle", Some("5")));
    let behind = error.context_value("behind").unwrap();
    assert!(["slow: 2", "billing: 2", "asleep: 1 (paused)"].iter().all(|name| behind.contains(name)), "{behind}");
    assert!(!behind.contains("quick"), "{behind}");
    paused.resume();
    gate.open();
    settle(&bus, LONG).await.unwrap();
}

#[tokio::test]
async fn a_closed_bus_cannot_be_settled() {
    let bus = RecordingBus::new();
    bus.close().await.unwrap();
    assert_eq!(settle(&bus, LONG).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_an_hour_happens_at_once_and_at_its_time() {
    let real = std::time::Instant::now();
    for ordering in [Ordering::Strict, Ordering::PerKey, Ordering::Unordered] {
        let bus = RecordingBus::new();
        let probe = Probe::with(|ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry("busy")) } else { Ok(()) } });
        bus.subscribe(Subscribe::to("a").ordering(ordering).retry(Retry::fixed(HOUR)), Arc::new(probe.clone())).await.unwrap();
        bus.publish(event("a", 1)).await.unwrap();
        settle(&bus, HOUR * 2).await.unwrap();
        let seen = probe.seen();
        assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2], "{ordering:?}");
        let waited = seen[1].at - seen[0].at;
        assert!((HOUR..HOUR + Duration::from_secs(1)).contains(&waited), "{ordering:?}: {waited:?}");
    }
    assert!(real.elapsed() < LONG, "an hour took {:?}", real.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_delivery_in_an_hour_takes_no_time() {
    let bus = RecordingBus::new();
    let probe = Probe::with(|ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry_after("busy", HOUR)) } else { Ok(()) } });
    bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event("a", 1)).await.unwrap();
    let seen = probe.wait_within(2, HOUR * 2).await;
    assert!(seen[1].at - seen[0].at >= HOUR);
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_by_the_clock_up_to_the_dead_letter() {
    let bus = RecordingBus::new();
    let probe = Probe::with(|_, _| async { Err(HandlerError::retry("always")) });
    let retry = Retry::exponential(Duration::from_secs(60)).max_delay(HOUR).jitter(0.0).max_attempts(4);
    bus.subscribe(Subscribe::to("a").retry(retry), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event("a", 1)).await.unwrap();
    settle(&bus, HOUR).await.unwrap();
    let seen = probe.seen();
    let minutes: Vec<_> = seen.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs() / 60).collect();
    assert_eq!(minutes, [1, 2, 4]);
    assert_eq!(bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_out_of_its_hour_at_once() {
    let bus = RecordingBus::new();
    let probe = Probe::with(|_, _| std::future::pending());
    let subscribe = Subscribe::to("a").timeout(HOUR).retry(Retry::none());
    bus.subscribe(subscribe, Arc::new(probe.clone())).await.unwrap();
    let begun = Instant::now();
    bus.publish(event("a", 1)).await.unwrap();
    settle(&bus, HOUR * 2).await.unwrap();
    assert!(begun.elapsed() >= HOUR);
    assert_eq!(probe.count(), 1);
}
