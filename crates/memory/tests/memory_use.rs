//! What the bus takes of memory, measured at the allocator. One test, since the allocator counts for the whole process.

use eventbus_core::{Bus, Context, Event, EventData, Handler, HandlerError, Retry, Subscribe, Subscription, async_trait};
use eventbus_memory::MemoryBus;
use eventbus_testing::settle;
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const QUIET: Duration = Duration::from_secs(120);

/// An event with 64 bytes of data.
#[derive(Debug, Serialize, Deserialize)]
struct Tick {
    numbers: [u64; 8],
}

impl EventData for Tick {
    const TYPE: &'static str = "tick";
}

fn tick(number: u64) -> Event {
    Event::new(Tick { numbers: [number; 8] })
}

#[derive(Default)]
struct Counting(AtomicU64);

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, _: &Context, _: &Event) -> Result<(), HandlerError> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// Bytes allocated since the beginning and not given back.
fn live() -> isize {
    let stats = ALLOCATOR.stats();
    isize::try_from(stats.bytes_allocated).unwrap() - isize::try_from(stats.bytes_deallocated).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test);
}

async fn subscribe(bus: &MemoryBus, subscribe: Subscribe, handler: &Arc<Counting>) -> Subscription {
    bus.subscribe(subscribe, Arc::clone(handler) as Arc<dyn Handler>).await.unwrap()
}

#[test]
fn memory_is_bounded() {
    run(an_idle_subscription_takes_less_than_two_kibibytes());
    run(a_delivery_allocates_only_the_future_of_its_handler());
    run(a_million_events_at_a_slow_handler_stay_within_its_buffer());
    run(subscriptions_that_come_and_go_leave_nothing_behind());
    run(poison_leaves_nothing_behind_but_its_letters());
    run(who_gives_up_leaves_nothing_behind());
}

async fn an_idle_subscription_takes_less_than_two_kibibytes() {
    const COUNT: usize = 10_000;
    const PATTERNS: usize = 100;
    let handler = Arc::new(Counting::default());
    let each = async |patterns: usize, grouped: bool| {
        let bus = MemoryBus::new();
        let mut kept = Vec::with_capacity(COUNT);
        let before = live();
        for number in 0..COUNT {
            let one = Subscribe::to(format!("idle.t{}", number % patterns));
            kept.push(subscribe(&bus, if grouped { one.group(format!("g{number}")) } else { one }, &handler).await);
        }
        tokio::task::yield_now().await;
        let each = (live() - before) / COUNT as isize;
        eprintln!("an idle subscription takes {each} bytes: {patterns} patterns, {}", if grouped { "groups" } else { "no groups" });
        each
    };
    assert!(each(PATTERNS, false).await < 2048);
    // A pattern that nobody else has, or a group of its own, takes a little more.
    assert!(each(COUNT, false).await < 2560);
    assert!(each(PATTERNS, true).await < 2560);
}

async fn a_delivery_allocates_only_the_future_of_its_handler() {
    const EVENTS: u64 = 20_000;
    const MORE: u64 = 16;
    let allocations = async |subscribers: u64| {
        let bus = MemoryBus::builder().retain_events(0).build().unwrap();
        let handler = Arc::new(Counting::default());
        for _ in 0..subscribers {
            subscribe(&bus, Subscribe::to("tick"), &handler).await;
        }
        // What is made once is made now.
        for number in 0..2000 {
            bus.publish(tick(number)).await.unwrap();
        }
        settle(&bus, QUIET).await.unwrap();
        let region = Region::new(ALLOCATOR);
        for number in 0..EVENTS {
            bus.publish(tick(number)).await.unwrap();
        }
        settle(&bus, QUIET).await.unwrap();
        let made = region.change();
        assert_eq!(handler.0.load(Relaxed), subscribers * (EVENTS + 2000));
        (made.allocations as f64, made.bytes_allocated as f64)
    };
    let (one, one_bytes) = allocations(1).await;
    let (many, many_bytes) = allocations(1 + MORE).await;
    let deliveries = (EVENTS * MORE) as f64;
    let (each, each_bytes) = ((many - one) / deliveries, (many_bytes - one_bytes) / deliveries);
    eprintln!("a further delivery allocates {each:.3} times, {each_bytes:.1} bytes; an event {:.2} times", one / EVENTS as f64);
    // A hundredth is for what gathers, such as the list of outcomes to be settled.
    assert!(each < 1.01, "a delivery allocates {each} times");
    assert!(each_bytes < 128.0, "fan-out must not copy the event: {each_bytes} bytes for each delivery");
}

async fn a_million_events_at_a_slow_handler_stay_within_its_buffer() {
    struct Slow {
        handled: AtomicU64,
        redelivered: AtomicUsize,
        most: AtomicUsize,
        before: isize,
    }
    #[async_trait]
    impl Handler for Slow {
        async fn handle(&self, ctx: &Context, _: &Event) -> Result<(), HandlerError> {
            // Slower than the publisher, who gets a turn here and fills the buffer up.
            tokio::task::yield_now().await;
            if self.handled.fetch_add(1, Relaxed).is_multiple_of(64) {
                self.most.fetch_max(usize::try_from(live() - self.before).unwrap_or(0), Relaxed);
            }
            self.redelivered.fetch_add(usize::from(ctx.attempt() > 1), Relaxed);
            Ok(())
        }
    }
    const EVENTS: u64 = 1_000_000;
    const BUFFER: usize = 1000;
    let bus = MemoryBus::builder().retain_events(0).dedup_events(0).publish_timeout(Duration::from_secs(3600)).build().unwrap();
    let slow = Arc::new(Slow { handled: AtomicU64::new(0), redelivered: AtomicUsize::new(0), most: AtomicUsize::new(0), before: live() });
    bus.subscribe(Subscribe::to("tick").buffer(BUFFER), Arc::clone(&slow) as Arc<dyn Handler>).await.unwrap();
    for number in 0..EVENTS {
        bus.publish(tick(number)).await.unwrap();
    }
    settle(&bus, QUIET).await.unwrap();
    assert_eq!(slow.handled.load(Relaxed), EVENTS);
    assert_eq!(slow.redelivered.load(Relaxed), 0, "what waits is not redelivered");
    let each = slow.most.load(Relaxed) / BUFFER;
    eprintln!("a million events at a slow handler took {} bytes at most, {each} for each place of its buffer", slow.most.load(Relaxed));
    assert!(each < 2048, "{} bytes for a buffer of {BUFFER}", slow.most.load(Relaxed));
}

async fn subscriptions_that_come_and_go_leave_nothing_behind() {
    let bus = MemoryBus::builder().retain_events(0).dedup_events(0).build().unwrap();
    let handler = Arc::new(Counting::default());
    let tasks = tokio::runtime::Handle::current().metrics();
    let churn = async |rounds: usize| {
        for round in 0..rounds {
            let one = subscribe(&bus, Subscribe::to("tick"), &handler).await;
            let other = subscribe(&bus, Subscribe::to(format!("tick.{}.>", round % 100)).buffer(10), &handler).await;
            let member = subscribe(&bus, Subscribe::to("tick").group("churn"), &handler).await;
            bus.publish(tick(1)).await.unwrap();
            one.close().await.unwrap();
            drop(other.into_guard());
            member.close().await.unwrap();
        }
        // A last member takes what the group was left with.
        let last = subscribe(&bus, Subscribe::to("tick").group("churn"), &handler).await;
        settle(&bus, QUIET).await.unwrap();
        last.close().await.unwrap();
        while tasks.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    churn(200).await;
    let before = live();
    churn(10_000).await;
    let left = live() - before;
    eprintln!("ten thousand rounds of subscriptions leave {left} bytes");
    assert!(left < 64 * 1024, "ten thousand rounds leave {left} bytes");
}

async fn poison_leaves_nothing_behind_but_its_letters() {
    struct Picky;
    #[async_trait]
    impl Handler for Picky {
        async fn handle(&self, _: &Context, event: &Event) -> Result<(), HandlerError> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if event.decode::<Tick>()?.numbers[0] % 51 == 50 { Err(HandlerError::reject("poison")) } else { Ok(()) }
        }
    }
    // 200 of them in 10,200, against the same without.
    let took = async |poison: bool| {
        let bus = MemoryBus::builder().retain_events(0).dedup_events(0).max_dead_letters(200).build().unwrap();
        let group = Subscribe::to("tick").group("workers").retry(Retry::none());
        bus.subscribe(group, Arc::new(Picky)).await.unwrap();
        let (since, before) = (tokio::time::Instant::now(), live());
        for number in 0..10_200_u64 {
            if poison || number % 51 != 50 {
                bus.publish(tick(number)).await.unwrap();
            }
        }
        settle(&bus, QUIET).await.unwrap();
        let stats = bus.stats().await.unwrap();
        assert_eq!(stats.dead_letters, Some(if poison { 200 } else { 0 }));
        (since.elapsed(), live() - before)
    };
    let (clean, _) = took(false).await;
    let (poisoned, left) = took(true).await;
    eprintln!("10,000 good events took {clean:?} alone and {poisoned:?} beside 200 poisonous ones, which left {left} bytes");
    assert!(poisoned <= clean.mul_f64(1.1), "{poisoned:?} instead of {clean:?}");
    assert!(left < 200 * 4096, "{left} bytes for 200 letters");
}

async fn who_gives_up_leaves_nothing_behind() {
    struct Hung;
    #[async_trait]
    impl Handler for Hung {
        async fn handle(&self, _: &Context, _: &Event) -> Result<(), HandlerError> {
            std::future::pending().await
        }
    }
    let bus = MemoryBus::builder().retain_events(0).dedup_events(0).publish_timeout(Duration::from_millis(1)).build().unwrap();
    bus.subscribe(Subscribe::to("tick").buffer(1), Arc::new(Hung)).await.unwrap();
    while bus.publish(tick(0)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let give_up = async |publishers: u64| {
        for number in 0..publishers {
            let bus = bus.clone();
            // Each from a task of its own, which what is left of it would keep in memory.
            let published = tokio::spawn(async move { bus.publish(tick(number)).await }).await.unwrap();
            assert!(published.is_err(), "there is no room");
        }
    };
    give_up(100).await;
    let before = live();
    give_up(10_000).await;
    let left = live() - before;
    eprintln!("ten thousand publishers that gave up leave {left} bytes");
    assert!(left < 64 * 1024, "ten thousand publishers that gave up leave {left} bytes");

    let before = live();
    for _ in 0..10_000 {
        let bus = bus.clone();
        let waiting = async move {
            tokio::select! {
                biased;
                () = bus.settled() => panic!("there is an event left"),
                () = tokio::task::yield_now() => {}
            }
        };
        tokio::spawn(waiting).await.unwrap();
    }
    let left = live() - before;
    eprintln!("ten thousand that gave up waiting for the end leave {left} bytes");
    assert!(left < 64 * 1024, "ten thousand that gave up waiting for the end leave {left} bytes");
}
