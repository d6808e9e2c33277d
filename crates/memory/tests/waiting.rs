//! Publishers that wait for room, and what happens around them.

use eventbus_core::{Bus, Event, Ordering, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_testing::{Gate, Probe, settle};
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};
use tokio::time::Instant;

const QUIET: Duration = Duration::from_secs(30);

fn event(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

/// Drops what it holds when it is woken.
struct Dropping<T>(Mutex<Option<T>>);

impl<T: Send + 'static> Wake for Dropping<T> {
    fn wake(self: Arc<Self>) {
        let held = self.0.lock().unwrap().take();
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_goes_on_though_what_is_left_waits_for_a_handler() {
    // How many events wait for the slow handler and how many others there are, so that there is no room in events, or none in bytes. When
    // the others have been handled, there is room for far less than a quarter of the buffer.
    for (waiting, others, bytes) in [(1000, 24, usize::MAX), (900, 1, 901 + 1002)] {
        for group in [None, Some("g")] {
            let bus = MemoryBus::new();
            let gate = Gate::new();
            let held = gate.clone();
            let probe = Probe::with(move |_, event| {
                let slow = (event.partition_key() == Some("slow")).then(|| held.clone());
                async move {
                    if let Some(gate) = slow {
                        gate.pass().await;
                    }
                    Ok(())
                }
            });
            let subscribe = Subscribe::to("a").ordering(Ordering::PerKey).concurrency(2).buffer(1024).buffer_bytes(bytes);
            let subscribe = group.into_iter().fold(subscribe, Subscribe::group);
            bus.subscribe(subscribe, Arc::new(probe.clone())).await.unwrap();
            let slow = || event(0).with_partition_key("slow");
            let other = || Event::json("a", "x".repeat(1000)).unwrap().with_partition_key("other");
            bus.publish(slow()).await.unwrap();
            probe.wait(1).await;
            for _ in 0..waiting {
                bus.publish(slow()).await.unwrap();
            }
            for _ in 0..others {
                bus.publish(other()).await.unwrap();
            }
            let since = Instant::now();
            let mut blocked = pin!(bus.publish(other()));
            assert!(blocked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "{waiting} wait, group {group:?}");
            blocked.await.unwrap();
            // The clock is paused, and goes on only where everybody waits. Up to its timeout a publisher need not have been woken.
            assert_eq!(since.elapsed(), Duration::ZERO, "{waiting} wait, group {group:?}");
            gate.open();
            settle(&bus, QUIET).await.unwrap();
            assert_eq!(probe.count(), waiting + others + 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_gives_up_takes_no_turn_from_those_that_wait() {
    let bus = MemoryBus::new();
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    bus.subscribe(Subscribe::to("a").buffer(1), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event(0)).await.unwrap();
    probe.wait(1).await;
    bus.publish(event(1)).await.unwrap();
    let stays = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(event(2)).await }
    });
    {
        let mut goes = pin!(bus.publish(event(3)));
        assert!(goes.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // The other one looks too, and waits.
        tokio::task::yield_now().await;
    }
    gate.open();
    let since = Instant::now();
    stays.await.unwrap().unwrap();
    assert_eq!(since.elapsed(), Duration::ZERO, "it was woken");
    settle(&bus, QUIET).await.unwrap();
    assert_eq!(probe.numbers(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_begins_as_its_bus_ends_ends_with_it() {
    let bus = MemoryBus::new();
    // The bus of a handler is no handle, so it is there when the last handle is gone.
    let (give, given) = std::sync::mpsc::channel();
    let giving = Probe::with(move |ctx, _| {
        give.send(Arc::clone(ctx.bus())).unwrap();
        async { Ok(()) }
    });
    bus.subscribe(Subscribe::to("give"), Arc::new(giving.clone())).await.unwrap();
    bus.publish(Event::json("give", 0).unwrap()).await.unwrap();
    giving.wait(1).await;
    let inner = given.recv().unwrap();
    // A publisher that waits for the group is woken by its new member, before that has an engine.
    let group = || Subscribe::to("a").group("g").buffer(1);
    let gate = Gate::new();
    let held = Probe::held(&gate);
    bus.subscribe(group(), Arc::new(held.clone())).await.unwrap();
    bus.publish(event(0)).await.unwrap();
    held.wait(1).await;
    bus.publish(event(1)).await.unwrap();
    let last = Arc::new(Dropping(Mutex::new(Some(bus))));
    let waker = Waker::from(Arc::clone(&last));
    let mut waiting = pin!(inner.publish(event(2)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let late = inner.subscribe(group(), Arc::new(Probe::new())).await.unwrap();
    assert!(last.0.lock().unwrap().is_none(), "the bus ended meanwhile");
    tokio::time::timeout(QUIET, late.ended()).await.expect("it ends").unwrap();
}
