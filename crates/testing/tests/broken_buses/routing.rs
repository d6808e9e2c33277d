//! Buses that deliver to the wrong subscriptions, or from the wrong place on.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Bus, Handler, Plan, Result, Start, Subscribe, Subscription};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

struct IgnoresPatterns;

impl Fault for IgnoresPatterns {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.and(">")
    }
}

#[test]
fn a_bus_that_delivers_everything_to_everyone() {
    caught(|| IgnoresPatterns, "routing::types_do_not_mix", "more was delivered than expected");
}

struct ReadsAStarAsManyTokens;

impl Fault for ReadsAStarAsManyTokens {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        let wider = plan.patterns.iter().filter_map(|pattern| pattern.as_str().strip_suffix(".*").map(|stem| format!("{stem}.>")));
        asked.and(wider.collect::<Vec<_>>())
    }
}

#[test]
fn a_bus_that_reads_a_star_as_many_tokens() {
    caught(|| ReadsAStarAsManyTokens, "routing::patterns_match_as_documented", "more was delivered than expected");
}

struct ReadsAnArrowAsNoTokenToo;

impl Fault for ReadsAnArrowAsNoTokenToo {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        let stems = plan.patterns.iter().filter_map(|pattern| pattern.as_str().strip_suffix(".>").map(str::to_owned));
        asked.and(stems.collect::<Vec<_>>())
    }
}

#[test]
fn a_bus_that_reads_an_arrow_as_no_token_too() {
    caught(|| ReadsAnArrowAsNoTokenToo, "routing::patterns_match_as_documented", "more was delivered than expected");
}

struct DeliversOncePerPattern;

#[async_trait]
impl Fault for DeliversOncePerPattern {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        bus.subscribe(Subscribe::to("order.placed"), Arc::clone(&handler)).await?;
        bus.subscribe(asked, handler).await
    }
}

#[test]
fn a_bus_that_delivers_once_per_pattern() {
    caught(|| DeliversOncePerPattern, "routing::overlapping_patterns_deliver_once", "more was delivered than expected");
}

/// Every member is a group of its own.
#[derive(Default)]
struct DeliversToEveryMember(AtomicU64);

impl Fault for DeliversToEveryMember {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        match &plan.group {
            Some(group) => asked.group(format!("{group}-{}", self.0.fetch_add(1, SeqCst))),
            None => asked,
        }
    }
}

#[test]
fn a_bus_that_delivers_to_every_member_of_a_group() {
    caught(DeliversToEveryMember::default, "routing::members_of_a_group_share_the_events", "more was delivered than expected");
}

/// Only one group exists, whatever it is called.
struct MixesGroups;

impl Fault for MixesGroups {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        if plan.group.is_some() { asked.group("the-only-one") } else { asked }
    }
}

#[test]
fn a_bus_that_shares_events_between_groups() {
    caught(|| MixesGroups, "routing::groups_are_independent", "for 100 deliveries, got");
}

#[derive(Default)]
struct GivesAllWorkToOneMember(AtomicU64);

#[async_trait]
impl Fault for GivesAllWorkToOneMember {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        let subscription = bus.subscribe(asked, handler).await?;
        if self.0.fetch_add(1, SeqCst) > 0 {
            subscription.pause();
        }
        Ok(subscription)
    }
}

#[test]
fn a_bus_that_gives_all_work_to_one_member() {
    caught(GivesAllWorkToOneMember::default, "routing::every_member_of_a_group_gets_work", "for 1 deliveries, got 0");
}

/// When its member leaves, a group is forgotten; whoever joins makes it anew.
#[derive(Default)]
struct ForgetsGroups(AtomicU64);

#[async_trait]
impl Fault for ForgetsGroups {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        match &plan.group {
            Some(group) => asked.group(format!("{group}-{}", self.0.load(SeqCst))),
            None => asked,
        }
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> Result<()> {
        self.0.fetch_add(1, SeqCst);
        subscription.close().await
    }
}

#[test]
fn a_bus_that_forgets_a_group_without_members() {
    caught(ForgetsGroups::default, "routing::a_group_resumes_where_it_stopped", "for 30 deliveries, got 10");
}

struct BeginsOneTooLate;

impl Fault for BeginsOneTooLate {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        match plan.start {
            Start::Sequence(sequence) => asked.from(Start::Sequence(sequence + 1)),
            _ => asked,
        }
    }
}

#[test]
fn a_bus_whose_replay_begins_one_too_late() {
    caught(|| BeginsOneTooLate, "routing::a_sequence_replays_from_there", "for 8 deliveries, got 7");
}

/// As if it had looked for the beginning of the log in the wrong place.
struct ReplaysNothing;

impl Fault for ReplaysNothing {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.from(Start::New)
    }
}

#[test]
fn a_bus_that_takes_the_earliest_for_the_next() {
    caught(|| ReplaysNothing, "routing::earliest_replays_what_is_retained", "for 300 deliveries, got 0");
}

struct ReplaysAllForATime;

impl Fault for ReplaysAllForATime {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        if matches!(plan.start, Start::Time(_)) { asked.from(Start::Earliest) } else { asked }
    }
}

#[test]
fn a_bus_that_replays_all_where_a_time_is_given() {
    caught(|| ReplaysAllForATime, "routing::a_time_replays_from_there", "more was delivered than expected");
}

struct NoticesNoConflict;

#[async_trait]
impl Fault for NoticesNoConflict {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        match bus.subscribe(asked.clone(), Arc::clone(&handler)).await {
            Err(_) => bus.subscribe(asked.group("another"), handler).await,
            subscribed => subscribed,
        }
    }
}

#[test]
fn a_bus_that_notices_no_conflict() {
    let case = "routing::another_declaration_is_a_conflict_and_changes_nothing";
    caught(|| NoticesNoConflict, case, "`Result::unwrap_err()` on an `Ok` value");
}

/// Whoever joins with `Start::Earliest` makes the group begin anew.
#[derive(Default)]
struct MovesTheGroup(AtomicU64);

#[async_trait]
impl Fault for MovesTheGroup {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        if self.0.fetch_add(1, SeqCst) > 0 {
            return bus.subscribe(asked.group("begun-anew"), handler).await;
        }
        bus.subscribe(asked, handler).await
    }
}

#[test]
fn a_bus_that_lets_a_new_member_move_its_group() {
    caught(MovesTheGroup::default, "routing::joining_a_group_never_moves_it", "more was delivered than expected");
}

/// Groups cannot be got rid of, though it says so.
struct KeepsGroups;

#[async_trait]
impl Fault for KeepsGroups {
    async fn delete_group(&self, _bus: &Arc<dyn Bus>, _group: &str) -> Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_bus_that_keeps_deleted_groups() {
    caught(|| KeepsGroups, "routing::a_deleted_group_begins_anew", "and now there is none");
    caught(|| KeepsGroups, "routing::a_group_with_members_is_not_deleted", "unwrap_err");
}
