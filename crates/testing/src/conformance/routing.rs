//! Lines 6 to 9: who gets which events, and from where on.

use super::{
    run::Outcome,
    story::{Story, all, begun, bus, needs, numbered, numbers, publish_numbers, queued, quiet, sorted, subscribe},
};
use crate::{Gate, Probe, Seen};
use eventbus_core::{ErrorKind, Ordering, Overflow, Retry, Start, Subscribe, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

pub(super) async fn everyone_without_a_group_gets_every_event(story: Story) -> Outcome {
    let bus = bus!(story);
    let probes: Vec<_> = (0..5).map(|_| Probe::new()).collect();
    for probe in &probes {
        subscribe(&*bus, "a.*", probe).await;
    }
    publish_numbers(&*bus, "a.b", 0..100).await;
    for probe in &probes {
        assert_eq!(all(&*bus, probe, 100).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..100));
    }
    Outcome::Done
}

pub(super) async fn members_of_a_group_share_the_events(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups);
    let probe = Probe::new();
    for _ in 0..3 {
        subscribe(&*bus, Subscribe::to("a").group(story.unique("g")), &probe).await;
    }
    publish_numbers(&*bus, "a", 0..300).await;
    all(&*bus, &probe, 300).await;
    assert_eq!(sorted(probe.numbers()), numbers(0..300), "each event goes to one member");
    Outcome::Done
}

pub(super) async fn groups_are_independent(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups);
    let (a, b, alone) = (Probe::new(), Probe::new(), Probe::new());
    for _ in 0..2 {
        subscribe(&*bus, Subscribe::to("a").group(story.unique("a")), &a).await;
        subscribe(&*bus, Subscribe::to("a").group(story.unique("b")), &b).await;
    }
    subscribe(&*bus, "a", &alone).await;
    publish_numbers(&*bus, "a", 0..100).await;
    for probe in [&a, &b, &alone] {
        all(&*bus, probe, 100).await;
        assert_eq!(sorted(probe.numbers()), numbers(0..100));
    }
    Outcome::Done
}

pub(super) async fn every_member_of_a_group_gets_work(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, groups);
    let gate = Gate::new();
    let members: Vec<_> = (0..3).map(|_| Probe::held(&gate)).collect();
    for member in &members {
        subscribe(&*bus, Subscribe::to("a").group(story.unique("g")), member).await;
    }
    publish_numbers(&*bus, "a", 0..30).await;
    // While every handler is held, each member has one: none of them took all.
    for member in &members {
        member.wait(1).await;
    }
    gate.open();
    quiet(&*bus).await;
    assert_eq!(members.iter().map(Probe::count).sum::<usize>(), 30);
    Outcome::Done
}

pub(super) async fn types_do_not_mix(story: Story) -> Outcome {
    let bus = bus!(story);
    let (a, b) = (Probe::new(), Probe::new());
    subscribe(&*bus, "a.x", &a).await;
    subscribe(&*bus, "b.x", &b).await;
    publish_numbers(&*bus, "a.x", 0..3).await;
    publish_numbers(&*bus, "b.x", 10..15).await;
    publish_numbers(&*bus, "c.x", 20..25).await;
    publish_numbers(&*bus, "a", 20..25).await;
    publish_numbers(&*bus, "a.x.y", 20..25).await;
    publish_numbers(&*bus, "A.x", 20..25).await;
    assert_eq!(all(&*bus, &a, 3).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..3));
    assert_eq!(all(&*bus, &b, 5).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(10..15));
    Outcome::Done
}

pub(super) async fn patterns_match_as_documented(story: Story) -> Outcome {
    let bus = bus!(story);
    let types = ["order", "order.placed", "order.item.added", "invoice.sent", "orders.placed", "order.placed.twice"];
    let patterns: [(&str, &[&str]); 8] = [
        ("order.placed", &["order.placed"]),
        ("order.*", &["order.placed"]),
        ("*.placed", &["order.placed", "orders.placed"]),
        ("*.*", &["order.placed", "invoice.sent", "orders.placed"]),
        ("order.>", &["order.placed", "order.item.added", "order.placed.twice"]),
        ("*.item.>", &["order.item.added"]),
        ("*", &types),
        (">", &types),
    ];
    let probes: Vec<_> = patterns.iter().map(|_| Probe::new()).collect();
    for ((pattern, _), probe) in patterns.iter().zip(&probes) {
        subscribe(&*bus, *pattern, probe).await;
    }
    for event_type in types {
        bus.publish(numbered(event_type, 1)).await.unwrap();
    }
    for ((pattern, expected), probe) in patterns.iter().zip(&probes) {
        let seen = all(&*bus, probe, expected.len()).await;
        assert_eq!(seen.iter().map(|seen| seen.event.event_type().as_str()).collect::<Vec<_>>(), *expected, "pattern {pattern}");
    }
    Outcome::Done
}

pub(super) async fn many_publishers_and_subscribers_miss_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    let probes: Vec<_> = (0..10).map(|_| Probe::new()).collect();
    for probe in &probes {
        subscribe(&*bus, ">", probe).await;
    }
    let publishers = (0..20u64).map(|publisher| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move { publish_numbers(&*bus, "a.b", publisher * 50..publisher * 50 + 50).await })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    for probe in &probes {
        all(&*bus, probe, 1000).await;
        assert_eq!(sorted(probe.numbers()), numbers(0..1000));
    }
    Outcome::Done
}

pub(super) async fn many_types_at_once_miss_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    let topics: Vec<_> = (0..20).map(|topic| (format!("topic.t{topic}"), Probe::new())).collect();
    let publishing = topics.iter().map(|(event_type, probe)| {
        let (bus, event_type, probe) = (Arc::clone(&bus), event_type.clone(), probe.clone());
        tokio::spawn(async move {
            subscribe(&*bus, event_type.as_str(), &probe).await;
            publish_numbers(&*bus, &event_type, 0..50).await;
        })
    });
    for task in publishing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for (_, probe) in &topics {
        assert_eq!(all(&*bus, probe, 50).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..50));
    }
    Outcome::Done
}

pub(super) async fn a_subscriber_without_history_sees_only_what_follows(story: Story) -> Outcome {
    let bus = bus!(story);
    publish_numbers(&*bus, "a", 0..10).await;
    let probe = Probe::new();
    subscribe(&*bus, Subscribe::to("a").from(Start::New), &probe).await;
    publish_numbers(&*bus, "a", 10..20).await;
    assert_eq!(all(&*bus, &probe, 10).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(10..20));
    Outcome::Done
}

pub(super) async fn a_group_resumes_where_it_stopped(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, groups, at_least_once);
    let group = || Subscribe::to("a").group(story.unique("g"));
    let first = Probe::new();
    let member = subscribe(&*bus, group(), &first).await;
    publish_numbers(&*bus, "a", 0..10).await;
    all(&*bus, &first, 10).await;
    member.close().await.unwrap();
    publish_numbers(&*bus, "a", 10..30).await;
    // `Start` is for a group that is created; this one goes on, whatever it says.
    let second = Probe::new();
    subscribe(&*bus, group().from(Start::New), &second).await;
    publish_numbers(&*bus, "a", 30..40).await;
    assert_eq!(all(&*bus, &second, 30).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(10..40));
    assert_eq!(first.count(), 10);
    Outcome::Done
}

pub(super) async fn a_group_keeps_its_place_through_many_members(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups, at_least_once);
    let probe = Probe::new();
    let group = || Subscribe::to("a").group(story.unique("g"));
    subscribe(&*bus, group(), &probe).await.close().await.unwrap();
    let publisher = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { publish_numbers(&*bus, "a", 0..500).await }
    });
    // Members come and go in the middle of it.
    for round in 1..=10 {
        let member = subscribe(&*bus, group(), &probe).await;
        probe.wait(round * 20).await;
        member.close().await.unwrap();
    }
    subscribe(&*bus, group(), &probe).await;
    publisher.await.unwrap();
    all(&*bus, &probe, 500).await;
    assert_eq!(probe.numbers(), numbers(0..500));
    Outcome::Done
}

pub(super) async fn what_members_give_back_keeps_its_order(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, groups, at_least_once);
    let group = || Subscribe::to("a").group(story.unique("g"));
    subscribe(&*bus, group(), &Probe::new()).await.close().await.unwrap();
    publish_numbers(&*bus, "a", 0..500).await;
    let mut seen = Vec::new();
    // Each has less than the one before has given back. It is quick at first, since who is slow has nothing in store.
    for buffer in [300, 200, 100, 10] {
        let gate = Gate::new();
        let probe = Probe::with({
            let (gate, begun) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
            move |_, _| {
                let (gate, is_quick) = (gate.clone(), begun.fetch_add(1, Relaxed) < 5);
                async move {
                    if !is_quick {
                        gate.pass().await;
                    }
                    Ok(())
                }
            }
        });
        let member = subscribe(&*bus, group().buffer(buffer), &probe).await;
        // One that is quick may have handled all by the time that it has heard that it is to close.
        probe.wait(6.min(500 - seen.len())).await;
        let (closing, closed) = begun(member.close()).await;
        gate.open();
        match closed {
            Some(closed) => closed.unwrap(),
            None => closing.await.unwrap(),
        }
        seen.extend(probe.numbers());
    }
    let rest = Probe::new();
    subscribe(&*bus, group(), &rest).await;
    all(&*bus, &rest, 500 - seen.len()).await;
    seen.extend(rest.numbers());
    assert_eq!(seen, numbers(0..500));
    Outcome::Done
}

pub(super) async fn what_an_abandoned_member_had_goes_to_another(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story, close_timeout: Duration::from_millis(50));
    needs!(bus, groups, redelivery);
    let group = || Subscribe::to("a").group(story.unique("g")).retry(Retry::fixed(super::story::SOON));
    let stuck = Probe::with(|_, _| std::future::pending());
    let member = subscribe(&*bus, group(), &stuck).await;
    publish_numbers(&*bus, "a", 0..5).await;
    stuck.wait(1).await;
    // Its handler never ends, so the close cannot wait for it.
    assert_eq!(member.close().await.unwrap_err().kind(), ErrorKind::Timeout);
    let healthy = Probe::new();
    subscribe(&*bus, group(), &healthy).await;
    let seen = all(&*bus, &healthy, 5).await;
    assert_eq!(sorted(seen.iter().map(Seen::number).collect()), numbers(0..5));
    assert!(
        seen.iter().all(|seen| if seen.number() == 0 { seen.attempt == 2 } else { seen.attempt == 1 }),
        "what had been started counts an attempt, the rest does not: {seen:?}"
    );
    Outcome::Done
}

pub(super) async fn a_deleted_group_begins_anew(story: Story) -> Outcome {
    queued!(story);
    let bus = bus!(story);
    needs!(bus, groups, at_least_once);
    let (group, other) = (story.unique("g"), story.unique("other"));
    let (before, beside, after) = (Probe::new(), Probe::new(), Probe::new());
    let member = subscribe(&*bus, Subscribe::to("a").group(&group), &before).await;
    subscribe(&*bus, Subscribe::to("a").group(&other), &beside).await;
    publish_numbers(&*bus, "a", 0..10).await;
    all(&*bus, &before, 10).await;
    member.close().await.unwrap();
    publish_numbers(&*bus, "a", 10..20).await;
    assert!(bus.delete_group(&group).await.unwrap(), "there was such a group");
    assert!(!bus.delete_group(&group).await.unwrap(), "and now there is none");
    assert!(bus.stats().await.unwrap().groups.iter().all(|left| left.name != group));
    // Another declaration shows that it is a new one, as does what it begins with.
    subscribe(&*bus, Subscribe::to("a").and("b").group(&group), &after).await;
    publish_numbers(&*bus, "a", 20..30).await;
    all(&*bus, &beside, 30).await;
    assert_eq!(all(&*bus, &after, 10).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(20..30));
    assert_eq!(before.count(), 10);
    Outcome::Done
}

pub(super) async fn a_group_with_members_is_not_deleted(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups);
    let (group, probe) = (story.unique("g"), Probe::new());
    subscribe(&*bus, Subscribe::to("a").group(&group), &probe).await;
    publish_numbers(&*bus, "a", 0..10).await;
    assert_eq!(bus.delete_group(&group).await.unwrap_err().kind(), ErrorKind::Conflict);
    publish_numbers(&*bus, "a", 10..20).await;
    assert_eq!(all(&*bus, &probe, 20).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..20));
    Outcome::Done
}

pub(super) async fn earliest_replays_what_is_retained(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, replay);
    publish_numbers(&*bus, "a.b", 0..300).await;
    publish_numbers(&*bus, "other", 0..5).await;
    for subscription in [Subscribe::to("a.*").from(Start::Earliest), Subscribe::to(["a.>", "none"]).from(Start::Earliest)] {
        let probe = Probe::new();
        subscribe(&*bus, subscription, &probe).await;
        assert_eq!(all(&*bus, &probe, 300).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..300));
    }
    if bus.capabilities().groups {
        let probe = Probe::new();
        subscribe(&*bus, Subscribe::to("a.*").group(story.unique("g")).from(Start::Earliest), &probe).await;
        assert_eq!(all(&*bus, &probe, 300).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..300));
    }
    Outcome::Done
}

pub(super) async fn a_sequence_replays_from_there(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, replay, replay_by_sequence);
    let first = Probe::new();
    subscribe(&*bus, "a", &first).await;
    publish_numbers(&*bus, "a", 0..20).await;
    let seen = all(&*bus, &first, 20).await;
    let sequences: Vec<u64> = seen.iter().map(|seen| seen.sequence.expect("a bus that replays by sequence tells sequences")).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "sequences grow: {sequences:?}");
    let again = Probe::new();
    subscribe(&*bus, Subscribe::to("a").from(Start::Sequence(sequences[12])), &again).await;
    let replayed = all(&*bus, &again, 8).await;
    assert_eq!(replayed.iter().map(Seen::number).collect::<Vec<_>>(), numbers(12..20));
    assert_eq!(replayed[0].sequence, Some(sequences[12]), "a sequence is the same on every delivery");
    Outcome::Done
}

pub(super) async fn a_time_replays_from_there(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, replay, replay_by_time);
    publish_numbers(&*bus, "a", 0..5).await;
    // Clocks of brokers may be coarse, and are not this one.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let between = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    // The time that counts is when the backend took the event, not when it is said to have happened.
    for number in 5..10 {
        bus.publish(numbered("a", number).with_time(Timestamp::parse("2001-01-01T00:00:00Z").unwrap())).await.unwrap();
    }
    let probe = Probe::new();
    subscribe(&*bus, Subscribe::to("a").from(Start::Time(between.into())), &probe).await;
    assert_eq!(all(&*bus, &probe, 5).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(5..10));
    Outcome::Done
}

pub(super) async fn replay_and_new_events_come_in_order_and_once(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, replay);
    let publisher = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { publish_numbers(&*bus, "a", 0..500).await }
    });
    // Subscribers that join at any moment see all of it, without a gap and without a repetition where the two meet.
    let mut probes = Vec::new();
    while !publisher.is_finished() && probes.len() < 40 {
        let probe = Probe::new();
        subscribe(&*bus, Subscribe::to("a").from(Start::Earliest), &probe).await;
        probes.push(probe);
        tokio::task::yield_now().await;
    }
    publisher.await.unwrap();
    for probe in &probes {
        assert_eq!(all(&*bus, probe, 500).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..500));
    }
    Outcome::Done
}

pub(super) async fn joining_a_group_never_moves_it(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups, replay);
    publish_numbers(&*bus, "a", 0..10).await;
    let probe = Probe::new();
    let group = |start| Subscribe::to("a").group(story.unique("g")).from(start);
    subscribe(&*bus, group(Start::New), &probe).await;
    subscribe(&*bus, group(Start::Earliest), &probe).await;
    publish_numbers(&*bus, "a", 10..20).await;
    all(&*bus, &probe, 10).await;
    assert_eq!(sorted(probe.numbers()), numbers(10..20), "the second member's Start::Earliest is for a group that does not exist yet");
    Outcome::Done
}

pub(super) async fn a_group_made_twice_at_once_is_one_group(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups);
    let probe = Probe::new();
    let joining = (0..10).map(|_| {
        let (bus, probe, group) = (Arc::clone(&bus), probe.clone(), story.unique("g"));
        tokio::spawn(async move { bus.subscribe(Subscribe::to("a").group(group), Arc::new(probe)).await })
    });
    for joined in joining.collect::<Vec<_>>() {
        joined.await.unwrap().expect("joining at the same moment is no error");
    }
    publish_numbers(&*bus, "a", 0..200).await;
    all(&*bus, &probe, 200).await;
    assert_eq!(sorted(probe.numbers()), numbers(0..200));
    Outcome::Done
}

pub(super) async fn another_declaration_is_a_conflict_and_changes_nothing(story: Story) -> Outcome {
    let bus = bus!(story);
    needs!(bus, groups, at_least_once);
    let probe = Probe::new();
    let group = |pattern: &str| Subscribe::to(pattern).group(story.unique("g"));
    subscribe(&*bus, group("a.*"), &probe).await;
    for other in [group("b.*"), group("a.*").and("c"), group(">"), group("a.*").ordering(Ordering::Unordered), group("a.*").concurrency(2)]
    {
        let error = bus.subscribe(other, Arc::new(Probe::new())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains(&story.unique("g")), "{error}");
    }
    if bus.capabilities().drops {
        let error = bus.subscribe(group("a.*").overflow(Overflow::DropNewest), Arc::new(Probe::new())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    // The same declaration in other words is no conflict; what belongs to one member is its own affair.
    subscribe(
        &*bus,
        Subscribe::to(["a.*", "a.*"]).group(story.unique("g")).timeout(Duration::from_secs(5)).buffer(7).name("other"),
        &probe,
    )
    .await;
    publish_numbers(&*bus, "a.b", 0..50).await;
    publish_numbers(&*bus, "b.b", 50..60).await;
    all(&*bus, &probe, 50).await;
    assert_eq!(sorted(probe.numbers()), numbers(0..50));
    Outcome::Done
}

pub(super) async fn overlapping_patterns_deliver_once(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, Subscribe::to(["order.*", "order.placed", "order.>", "*.placed", ">", "*"]), &probe).await;
    publish_numbers(&*bus, "order.placed", 0..20).await;
    assert_eq!(all(&*bus, &probe, 20).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..20));
    if bus.capabilities().groups {
        let grouped = Probe::new();
        subscribe(&*bus, Subscribe::to(["x.*", "x.y", "x.>"]).group(story.unique("g")), &grouped).await;
        publish_numbers(&*bus, "x.y", 0..20).await;
        assert_eq!(all(&*bus, &grouped, 20).await.iter().map(Seen::number).collect::<Vec<_>>(), numbers(0..20));
    }
    Outcome::Done
}

/// Numbers by key, in the order they were seen.
pub(super) fn by_key(seen: &[Seen]) -> BTreeMap<String, Vec<u64>> {
    let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seen in seen {
        keys.entry(seen.event.ordering_key().unwrap_or_default().to_owned()).or_default().push(seen.number());
    }
    keys
}
