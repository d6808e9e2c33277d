//! Line 10: the order of events.

use super::{
    routing::by_key,
    run::Outcome,
    story::{SOON, Story, a_while, all, bus, needs, numbered, numbers, publish_numbers, queued, sorted, subscribe},
};
use crate::{Gate, Probe, Seen};
use eventbus_core::{Event, HandlerError, Ordering, Retry, Subscribe};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

fn keyed(event_type: &str, number: u64, key: u64) -> Event {
    numbered(event_type, number).with_partition_key(format!("k{key}"))
}

/// How many handlers ran at once at the most.
#[derive(Clone, Default)]
struct AtOnce(Arc<(AtomicUsize, AtomicUsize)>);

impl AtOnce {
    async fn during(&self, work: impl Future<Output = ()>) {
        let now = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(now, SeqCst);
        work.await;
        self.0.0.fetch_sub(1, SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

pub(super) async fn strict_keeps_the_order_of_awaited_publishes(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|_, event| async move {
        // Handlers that give way tempt an engine to run the next.
        if event.id().len().is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a.*").ordering(Ordering::Strict), &probe).await;
    for number in 0..1000 {
        bus.publish(numbered(["a.x", "a.y", "a.z"][usize::try_from(number % 3).unwrap()], number)).await.unwrap();
    }
    assert_eq!(all(&*bus, &probe, 1000).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..1000));
    Outcome::Done
}

pub(super) async fn strict_runs_one_handler_at_a_time(story: Story) -> Outcome {
    let bus = bus!(story);
    let at_once = AtOnce::default();
    let probe = Probe::with({
        let at_once = at_once.clone();
        move |_, _| {
            let at_once = at_once.clone();
            async move {
                // Long enough that another would begin meanwhile, if it could.
                let giving_way = async {
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                };
                at_once.during(giving_way).await;
                Ok(())
            }
        }
    });
    subscribe(&*bus, "a", &probe).await;
    publish_numbers(&*bus, "a", 0..100).await;
    all(&*bus, &probe, 100).await;
    assert_eq!(at_once.most(), 1, "the default is one at a time");
    Outcome::Done
}

pub(super) async fn per_key_keeps_the_order_of_each_key(story: Story) -> Outcome {
    let bus = bus!(story);
    let done = Probe::new();
    let probe = Probe::with({
        let done = done.clone();
        move |ctx, event| {
            let done = done.clone();
            async move {
                // Some take longer than others, so that keys overtake each other.
                for _ in 0..*event.decode::<u64>().unwrap() % 7 {
                    tokio::task::yield_now().await;
                }
                eventbus_core::Handler::handle(&done, &ctx, &event).await
            }
        }
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(8).ordering(Ordering::PerKey), &probe).await;
    for number in 0..1000 {
        bus.publish(keyed("a", number, number % 16)).await.unwrap();
    }
    all(&*bus, &probe, 1000).await;
    for (key, numbers) in by_key(&done.seen()).into_iter().chain(by_key(&probe.seen())) {
        assert!(numbers.is_sorted(), "key {key} out of order: {numbers:?}");
    }
    assert_eq!(sorted(done.numbers()), numbers(0..1000));
    Outcome::Done
}

pub(super) async fn per_key_falls_back_to_the_subject(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::with(|_, _| async {
        tokio::task::yield_now().await;
        Ok(())
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(4).ordering(Ordering::PerKey), &probe).await;
    for number in 0..200 {
        bus.publish(numbered("a", number).with_subject(format!("s{}", number % 5))).await.unwrap();
    }
    for (subject, numbers) in by_key(&all(&*bus, &probe, 200).await) {
        assert!(numbers.is_sorted(), "subject {subject} out of order: {numbers:?}");
    }
    Outcome::Done
}

pub(super) async fn keys_run_beside_each_other(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let probe = Probe::held(&gate);
    subscribe(&*bus, Subscribe::to("a").concurrency(4).ordering(Ordering::PerKey), &probe).await;
    for key in 0..4 {
        for number in 0..3 {
            bus.publish(keyed("a", number, key)).await.unwrap();
        }
    }
    // One of each key is being handled while nothing is let through; the second of a key is not.
    let seen = probe.wait(4).await;
    assert_eq!(by_key(&seen).len(), 4, "four keys run at once");
    gate.open();
    all(&*bus, &probe, 12).await;
    Outcome::Done
}

pub(super) async fn unordered_runs_handlers_at_once_up_to_the_concurrency(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gate = Gate::new();
    let at_once = AtOnce::default();
    let probe = Probe::with({
        let (gate, at_once) = (gate.clone(), at_once.clone());
        move |_, _| {
            let (gate, at_once) = (gate.clone(), at_once.clone());
            async move {
                at_once.during(gate.pass()).await;
                Ok(())
            }
        }
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(5).ordering(Ordering::Unordered).timeout(Duration::from_secs(600)), &probe).await;
    publish_numbers(&*bus, "a", 0..50).await;
    probe.wait(5).await;
    a_while().await;
    assert_eq!(probe.count(), 5, "as many at once as were asked for, and no more");
    gate.let_through(20);
    probe.wait(25).await;
    gate.open();
    all(&*bus, &probe, 50).await;
    assert_eq!(at_once.most(), 5, "as many at once as were asked for, and no more");
    Outcome::Done
}

pub(super) async fn a_backlog_keeps_every_handler_busy(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    let gates: Vec<_> = (0..20).map(|_| Gate::new()).collect();
    let probes: Vec<_> = gates.iter().map(Probe::held).collect();
    for (number, probe) in probes.iter().enumerate() {
        let ordering = if number % 2 == 0 { Ordering::Unordered } else { Ordering::PerKey };
        subscribe(&*bus, Subscribe::to(format!("t{number}")).concurrency(5).ordering(ordering).timeout(Duration::from_secs(600)), probe)
            .await;
        publish_numbers(&*bus, &format!("t{number}"), 0..50).await;
    }
    for probe in &probes {
        probe.wait(5).await;
    }
    // Handlers that were slow so far become fast: what is fetched ahead of them changes, and all five are to have their share of it.
    a_while().await;
    for (gate, probe) in gates.iter().zip(&probes) {
        gate.let_through(20);
        probe.wait(25).await;
    }
    gates.iter().for_each(Gate::open);
    for probe in &probes {
        assert_eq!(sorted(all(&*bus, probe, 50).await.iter().map(Seen::number).collect()), numbers(0..50));
    }
    Outcome::Done
}

/// A probe that fails the first attempts of the event with this number.
fn failing(number: u64, attempts: u32) -> Probe {
    Probe::with(move |ctx, event| async move {
        if *event.decode::<u64>().unwrap() == number && ctx.attempt() <= attempts {
            return Err(HandlerError::retry("not yet"));
        }
        Ok(())
    })
}

pub(super) async fn a_retry_holds_back_its_successors(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery);
    let probe = failing(2, 2);
    subscribe(&*bus, Subscribe::to("a").ordering(Ordering::Strict).retry(Retry::fixed(SOON)), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    let seen = all(&*bus, &probe, 12).await;
    let order: Vec<_> = seen.iter().map(|seen| (seen.number(), seen.attempt)).collect();
    assert_eq!(order[..6], [(0, 1), (1, 1), (2, 1), (2, 2), (2, 3), (3, 1)], "{order:?}");
    Outcome::Done
}

pub(super) async fn a_retry_holds_back_only_its_key(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, redelivery);
    let gate = Gate::new();
    // The first of key 0 fails, and its second attempt waits until the test has seen all the others.
    let probe = Probe::with({
        let gate = gate.clone();
        move |ctx, event| {
            let gate = gate.clone();
            async move {
                match (*event.decode::<u64>().unwrap(), ctx.attempt()) {
                    (0, 1) => Err(HandlerError::retry("not yet")),
                    (0, _) => {
                        gate.pass().await;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    });
    subscribe(&*bus, Subscribe::to("a").concurrency(4).ordering(Ordering::PerKey).retry(Retry::fixed(SOON)), &probe).await;
    for number in 0..12 {
        bus.publish(keyed("a", number, number % 3)).await.unwrap();
    }
    // 8 of the other keys, and two attempts of the first of key 0.
    let seen = probe.wait(10).await;
    assert_eq!(by_key(&seen)["k0"], [0, 0], "nothing of the key goes on while its retry is open");
    gate.open();
    let seen = all(&*bus, &probe, 13).await;
    assert_eq!(by_key(&seen)["k0"], [0, 0, 3, 6, 9]);
    Outcome::Done
}

pub(super) async fn a_dead_letter_lets_its_successors_go(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, redelivery, dead_letters);
    for ordering in [Ordering::Strict, Ordering::PerKey] {
        let event_type = if ordering == Ordering::Strict { "strict" } else { "keyed" };
        let probe =
            Probe::with(
                |_, event| async move { if *event.decode::<u64>().unwrap() == 1 { Err(HandlerError::retry("never")) } else { Ok(()) } },
            );
        subscribe(&*bus, Subscribe::to(event_type).ordering(ordering).retry(Retry::fixed(SOON).max_attempts(2)), &probe).await;
        for number in 0..5 {
            bus.publish(keyed(event_type, number, 0)).await.unwrap();
        }
        assert_eq!(all(&*bus, &probe, 6).await.iter().map(Seen::number).collect::<Vec<_>>(), [0, 1, 1, 2, 3, 4]);
    }
    Outcome::Done
}
