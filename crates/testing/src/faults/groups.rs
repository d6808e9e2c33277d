//! Members that die, and groups that are tampered with.

use super::{
    child::crashes,
    run::{PATIENCE, Story, numbered, publish, soon, subscribe, until},
};
use crate::{History, Probe, settle};
use eventbus_core::{DeadLetterFilter, DeadLetterReason, ErrorKind, Ordering, Subscribe, Subscription};
use std::{os::unix::process::ExitStatusExt as _, time::Duration};

const LEASE: Duration = Duration::from_secs(3);

pub(super) async fn what_a_killed_process_had_goes_to_others(story: Story) {
    const EVENTS: usize = 1_000;
    let story = story.on(|terms| terms.lease = LEASE);
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let mut child = story.child("hold", server.address());
    child.until_said("ready", 1).await;
    let history = History::new();
    publish(&*bus, &history, EVENTS).await;
    child.until_said("holding", EVENTS).await;
    let member = Subscribe::to("a").group("g").concurrency(1000).ordering(Ordering::Unordered);
    subscribe(&*bus, member, &history).await;
    assert_eq!(child.kill().await.signal(), Some(9));
    assert_eq!(history.deliveries(), 0, "while it lived, the process had them all");
    history.until_handled_within(PATIENCE).await;
    let judgement = history.judge();
    // An acknowledgement that a busy server takes in too late makes a repetition, which at least once allows.
    judgement.nothing_is_lost().came_twice_at_most(EVENTS / 100);
    assert!(judgement.highest_attempt >= 2, "the attempts of the process that died count");
    settle(&*bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
}

pub(super) async fn attempts_run_out_though_every_member_died(story: Story) {
    let story = story.on(|terms| terms.lease = LEASE);
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    // Makes the group, so that nothing is published before there is one.
    let member = || Subscribe::to("a").group("g").concurrency(1000).ordering(Ordering::Unordered).retry(crashes());
    subscribe(&*bus, member(), &Probe::new()).await.close().await.unwrap();
    let event = numbered(1, "k");
    bus.publish(event.clone()).await.unwrap();
    for _ in 0..2 {
        let mut child = story.child("crash", server.address());
        child.until_said("crashing", 1).await;
        assert_eq!(child.ended().await.signal(), Some(6), "it aborts itself");
    }
    let probe = Probe::new();
    subscribe(&*bus, member(), &probe).await;
    let all = async || bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap();
    until("the dead letter", async || !all().await.is_empty()).await;
    let letters = all().await;
    assert_eq!((letters.len(), letters[0].reason, letters[0].attempts), (1, DeadLetterReason::Exhausted, 2));
    assert_eq!(letters[0].event.id(), event.id());
    assert_eq!(probe.count(), 0, "there was no attempt left");
    settle(&*bus, PATIENCE).await.unwrap();
    bus.close().await.unwrap();
}

pub(super) async fn two_processes_make_one_group(story: Story) {
    let server = story.server().await;
    let buses = [story.bus(server.address()).await, story.bus(server.address()).await];
    let history = History::new();
    for round in 0..10 {
        let member = || Subscribe::to("a").group(format!("g{round}"));
        let (one, two) = tokio::join!(subscribe(&*buses[0], member(), &history), subscribe(&*buses[1], member(), &history));
        let other = buses[1].subscribe(member().and("b"), std::sync::Arc::new(Probe::new())).await;
        assert_eq!(other.expect_err("another declaration").kind(), ErrorKind::Conflict);
        publish(&*buses[0], &history, 20).await;
        history.until_handled().await;
        history.judge().nothing_is_lost().nothing_came_twice();
        one.close().await.unwrap();
        two.close().await.unwrap();
    }
    for bus in buses {
        bus.close().await.unwrap();
    }
}

pub(super) async fn a_group_deleted_behind_its_back_is_noticed(story: Story) {
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let history = History::new();
    let subscription = subscribe(&*bus, Subscribe::to("a").group("g"), &history).await;
    publish(&*bus, &history, 10).await;
    history.until_handled().await;
    settle(&*bus, PATIENCE).await.unwrap();
    story.fixture().delete_group(server.address(), &story.terms, "g").await;
    publish(&*bus, &history, 10).await;
    goes_on_or_says_why(&subscription, &history).await;
    bus.close().await.unwrap();
}

pub(super) async fn a_wiped_server_is_noticed(story: Story) {
    let server = story.server().await;
    let bus = story.bus(server.address()).await;
    let (old, new) = (History::new(), History::new());
    let (first, second) = (Probe::new(), Probe::new());
    let group = subscribe(&*bus, Subscribe::to("a").group("g"), &first).await;
    let all = subscribe(&*bus, Subscribe::to("a"), &second).await;
    publish(&*bus, &old, 50).await;
    first.wait_within(50, PATIENCE).await;
    second.wait_within(50, PATIENCE).await;
    settle(&*bus, PATIENCE).await.unwrap();
    story.fixture().wipe(server.address(), &story.terms).await;
    // Fewer than before: who goes on from the old position would wait for more.
    until("a publish that gets through", async || new.publish(&*bus, numbered(0, "k")).await.is_ok()).await;
    for number in 1..10 {
        new.publish(&*bus, numbered(number, "k")).await.unwrap();
    }
    for (subscription, probe) in [(group, first), (all, second)] {
        let new = new.clone();
        let caught_up = async {
            let seen = new.judge().acknowledged;
            probe.wait_within(50 + seen, PATIENCE).await;
        };
        tokio::select! {
            () = caught_up => {}
            ended = subscription.ended() => assert!(ended.is_err(), "an end has a reason"),
        }
    }
    let _ = bus.close().await;
}

/// Nothing is silently idle: everything is handled, or the subscription ends with an error.
async fn goes_on_or_says_why(subscription: &Subscription, history: &History) {
    let outcome = async {
        tokio::select! {
            () = history.until_handled_within(PATIENCE) => history.judge().nothing_is_lost().every_key_is_in_order().clone(),
            ended = subscription.ended() => {
                ended.expect_err("an end has a reason");
                history.judge()
            }
        }
    };
    soon("an end, or what was published", outcome).await;
}
