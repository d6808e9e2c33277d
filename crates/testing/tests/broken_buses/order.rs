//! Buses that break the order, or how many handlers run at once.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Bus, Context, Event, Handler, HandlerError, Ordering, Plan, Result, Subscribe};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

struct IgnoresKeys;

impl Fault for IgnoresKeys {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        if plan.ordering == Ordering::PerKey { asked.ordering(Ordering::Unordered) } else { asked }
    }
}

#[test]
fn a_bus_that_reorders_a_key() {
    caught(|| IgnoresKeys, "order::per_key_keeps_the_order_of_each_key", "out of order");
}

struct HandlesSeveralAtOnce;

impl Fault for HandlesSeveralAtOnce {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.ordering(Ordering::Unordered).concurrency(4)
    }
}

#[test]
fn a_bus_that_handles_several_at_once_where_order_is_strict() {
    caught(|| HandlesSeveralAtOnce, "order::strict_runs_one_handler_at_a_time", "the default is one at a time");
}

/// Every other event overtakes the one before it.
#[derive(Default)]
struct SwapsNeighbours(Mutex<Option<Event>>);

#[async_trait]
impl Fault for SwapsNeighbours {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        let held = self.0.lock().unwrap().take();
        match held {
            Some(held) => {
                bus.publish(event).await?;
                bus.publish(held).await
            }
            None => {
                *self.0.lock().unwrap() = Some(event);
                Ok(())
            }
        }
    }
}

#[test]
fn a_bus_that_swaps_neighbours() {
    caught(SwapsNeighbours::default, "order::strict_keeps_the_order_of_awaited_publishes", "left: [1, 0, 3, 2, ");
}

struct HandlesOneAtATime;

impl Fault for HandlesOneAtATime {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.concurrency(1)
    }
}

#[test]
fn a_bus_that_ignores_the_concurrency() {
    let case = "order::unordered_runs_handlers_at_once_up_to_the_concurrency";
    caught(|| HandlesOneAtATime, case, "for 5 deliveries, got 1");
    caught(|| HandlesOneAtATime, "order::keys_run_beside_each_other", "for 4 deliveries, got 1");
}

struct HandlesTooManyAtOnce;

impl Fault for HandlesTooManyAtOnce {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.concurrency(50)
    }
}

#[test]
fn a_bus_that_exceeds_the_concurrency() {
    let case = "order::unordered_runs_handlers_at_once_up_to_the_concurrency";
    caught(|| HandlesTooManyAtOnce, case, "as many at once as were asked for, and no more");
}

/// What fails goes to the end of the line.
struct RetriesOutOfLine;

#[async_trait]
impl Fault for RetriesOutOfLine {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        if handler.handle(ctx, event).await.is_err() {
            let (handler, mut ctx, event) = (Arc::clone(handler), ctx.clone(), event.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let attempt = ctx.attempt() + 1;
                    ctx = ctx.with_attempt(attempt);
                    if handler.handle(&ctx, &event).await.is_ok() {
                        return;
                    }
                }
            });
        }
        Ok(())
    }
}

#[test]
fn a_bus_that_lets_successors_overtake_a_retry() {
    caught(|| RetriesOutOfLine, "order::a_retry_holds_back_its_successors", "(2, 1), (3, 1)");
    caught(|| RetriesOutOfLine, "order::a_retry_holds_back_only_its_key", "nothing of the key goes on while its retry is open");
}

/// One task runs the handlers of all subscriptions.
#[derive(Default)]
struct HandlesOneForAll(tokio::sync::Mutex<()>);

#[async_trait]
impl Fault for HandlesOneForAll {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let _alone = self.0.lock().await;
        handler.handle(ctx, event).await
    }
}

#[test]
fn a_bus_in_which_a_slow_subscription_delays_the_others() {
    caught(HandlesOneForAll::default, "pressure::a_slow_subscription_delays_no_other", "deliveries, got");
}
