//! Buses that acknowledge too early, deliver too often, or miscount attempts.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Context, Event, Handler, HandlerError, Plan, Subscribe, Subscription};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

struct AcknowledgesFirst;

#[async_trait]
impl Fault for AcknowledgesFirst {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let (handler, ctx, event) = (Arc::clone(handler), ctx.clone(), event.clone());
        tokio::spawn(async move { handler.handle(&ctx, &event).await });
        Ok(())
    }
}

#[test]
fn a_bus_that_acknowledges_before_the_handler_is_done() {
    let case = "settlement::an_event_is_acknowledged_after_its_handler";
    caught(|| AcknowledgesFirst, case, "while its handler runs, nothing is acknowledged");
}

struct DeliversTwice;

#[async_trait]
impl Fault for DeliversTwice {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        handler.handle(ctx, event).await?;
        handler.handle(ctx, event).await
    }
}

#[test]
fn a_bus_that_delivers_what_was_acknowledged_again() {
    caught(|| DeliversTwice, "settlement::an_acknowledged_event_does_not_come_back", "more was delivered than expected");
}

struct CountsFromZero;

#[async_trait]
impl Fault for CountsFromZero {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        handler.handle(&ctx.clone().with_attempt(ctx.attempt() - 1), event).await
    }
}

#[test]
fn a_bus_that_counts_attempts_from_zero() {
    caught(|| CountsFromZero, "retries::attempts_begin_at_one_and_grow", "left: [0, 1, 2, 3]");
}

/// The member counts, not the group, and takes what it counted with it.
#[derive(Default)]
struct CountsPerMember(Mutex<HashMap<String, u32>>);

#[async_trait]
impl Fault for CountsPerMember {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let attempt = {
            let mut attempts = self.0.lock().unwrap();
            let attempt = attempts.entry(event.id().to_owned()).or_default();
            *attempt += 1;
            *attempt
        };
        handler.handle(&ctx.clone().with_attempt(attempt), event).await
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> eventbus_core::Result<()> {
        self.0.lock().unwrap().clear();
        subscription.close().await
    }
}

#[test]
fn a_bus_that_forgets_attempts_with_the_member() {
    caught(CountsPerMember::default, "retries::attempts_grow_from_member_to_member", "left: 1");
}

struct KnowsNoTimeout;

impl Fault for KnowsNoTimeout {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.timeout(Duration::from_secs(3600))
    }
}

#[test]
fn a_bus_that_waits_for_a_handler_without_end() {
    caught(|| KnowsNoTimeout, "settlement::a_handler_that_never_returns_runs_out_of_time", "for 4 deliveries, got 1");
    caught(|| KnowsNoTimeout, "settlement::a_late_result_settles_nothing", "the second delivery did not come");
}

/// The lease is not extended while the handler runs, so that the event is taken for lost and delivered again.
struct LosesTheLease;

#[async_trait]
impl Fault for LosesTheLease {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let again = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            handler.handle(&ctx.clone().with_attempt(ctx.attempt() + 1), event).await
        };
        tokio::join!(handler.handle(ctx, event), again).0
    }
}

#[test]
fn a_bus_that_loses_the_lease_of_a_slow_handler() {
    caught(|| LosesTheLease, "settlement::a_slow_handler_within_its_time_gets_one_delivery", "more was delivered than expected");
}

struct ForgetsTheCauseOnRedelivery;

#[async_trait]
impl Fault for ForgetsTheCauseOnRedelivery {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let event = if ctx.attempt() > 1 { event.clone().with_trace_context("00-a-b-00", None) } else { event.clone() };
        handler.handle(ctx, &event).await
    }
}

#[test]
fn a_bus_whose_redeliveries_begin_a_trace_of_their_own() {
    caught(|| ForgetsTheCauseOnRedelivery, "observability::trace_and_correlation_survive_redelivery", r#"left: (Some("00-a-b-00")"#);
}
