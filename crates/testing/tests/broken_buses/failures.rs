//! Buses that deal wrongly with handlers that fail.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Context, Event, Handler, HandlerError, Plan, Retry, Subscribe, Verdict};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

struct SwallowsErrors;

#[async_trait]
impl Fault for SwallowsErrors {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let _ = handler.handle(ctx, event).await;
        Ok(())
    }
}

#[test]
fn a_bus_that_swallows_a_handlers_error() {
    caught(|| SwallowsErrors, "retries::a_failing_handler_hurts_no_neighbour", "for 120 deliveries, got 100");
}

struct RetriesAtOnce;

#[async_trait]
impl Fault for RetriesAtOnce {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let mut attempt = ctx.attempt();
        while handler.handle(&ctx.clone().with_attempt(attempt), event).await.is_err() {
            attempt += 1;
        }
        Ok(())
    }
}

#[test]
fn a_bus_that_retries_at_once() {
    caught(|| RetriesAtOnce, "retries::no_retry_is_hot", "attempt 2 came after");
}

struct HalvesTheBackoff;

impl Fault for HalvesTheBackoff {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.retry(Retry::exponential(Duration::from_millis(20)).jitter(0.0).max_attempts(4))
    }
}

#[test]
fn a_bus_whose_backoff_is_early() {
    // A machine that is busy may make up for it at one attempt, not at all three.
    caught(|| HalvesTheBackoff, "retries::backoff_is_never_early", "came after");
}

struct IgnoresTheChosenDelay;

#[async_trait]
impl Fault for IgnoresTheChosenDelay {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let handled = handler.handle(ctx, event).await;
        handled.map_err(|error| if matches!(error.verdict(), Verdict::RetryAfter(_)) { HandlerError::retry("later") } else { error })
    }
}

#[test]
fn a_bus_that_ignores_the_delay_a_handler_chose() {
    caught(|| IgnoresTheChosenDelay, "retries::a_handler_may_choose_the_delay", "for 2 deliveries, got 1");
}

struct NeverGivesUp;

impl Fault for NeverGivesUp {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.retry(Retry::fixed(Duration::from_millis(5)).forever())
    }
}

#[test]
fn a_bus_that_redelivers_without_end() {
    let case = "dead_letters::after_the_last_attempt_the_event_is_a_dead_letter";
    caught(|| NeverGivesUp, case, "not everything was handled");
}

struct GivesUpTooEarly;

impl Fault for GivesUpTooEarly {
    fn ask(&self, asked: Subscribe, plan: &Plan) -> Subscribe {
        asked.retry(Retry::fixed(Duration::from_millis(5)).max_attempts((plan.retry.attempts().unwrap_or(2) - 1).max(1)))
    }
}

#[test]
fn a_bus_that_gives_up_an_attempt_too_early() {
    caught(|| GivesUpTooEarly, "dead_letters::after_the_last_attempt_the_event_is_a_dead_letter", "for 9 deliveries, got 6");
}

/// A panic ends the task that runs the handlers, and nobody notices.
#[derive(Default)]
struct DiesOfAPanic(Arc<AtomicBool>);

#[async_trait]
impl Fault for DiesOfAPanic {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        struct Noticing(Arc<AtomicBool>);
        impl Drop for Noticing {
            fn drop(&mut self) {
                self.0.fetch_or(std::thread::panicking(), SeqCst);
            }
        }
        if self.0.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let _noticing = Noticing(Arc::clone(&self.0));
        handler.handle(ctx, event).await
    }
}

#[test]
fn a_bus_whose_loop_dies_of_a_panic() {
    let case = "retries::a_panicking_handler_is_retried_and_its_neighbours_are_not";
    caught(DiesOfAPanic::default, case, "for 14 deliveries, got 2");
}

/// What was fetched together with a poisonous event is thrown away with it.
#[derive(Default)]
struct DropsSiblingsOfPoison(AtomicU64);

#[async_trait]
impl Fault for DropsSiblingsOfPoison {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        if self.0.load(SeqCst) > 0 {
            self.0.fetch_sub(1, SeqCst);
            return Ok(());
        }
        let handled = handler.handle(ctx, event).await;
        if handled.is_err() {
            self.0.store(1, SeqCst);
        }
        handled
    }
}

#[test]
fn a_bus_that_drops_siblings_of_poison() {
    let case = "dead_letters::poison_goes_to_the_dead_letters_and_its_neighbours_are_delivered";
    caught(DropsSiblingsOfPoison::default, case, "every good one is handled");
}

struct RetriesPoison;

#[async_trait]
impl Fault for RetriesPoison {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        handler.handle(ctx, event).await.map_err(|error| HandlerError::retry(error.to_string()))
    }
}

#[test]
fn a_bus_that_tries_poison_again() {
    let case = "dead_letters::poison_goes_to_the_dead_letters_and_its_neighbours_are_delivered";
    caught(|| RetriesPoison, case, "trying again cannot help");
    caught(|| RetriesPoison, "dead_letters::a_rejected_event_is_a_dead_letter_at_once", "more was delivered than expected");
}
