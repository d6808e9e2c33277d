//! Buses that begin, pause or end in the wrong way.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{Bus, Context, Event, Handler, HandlerError, Result, Subscription, SubscriptionStats};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::sync::watch;

/// What waits when the bus is closed is thrown away.
#[derive(Default)]
struct LosesWhatWaits(AtomicBool);

#[async_trait]
impl Fault for LosesWhatWaits {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        if self.0.load(SeqCst) { Ok(()) } else { handler.handle(ctx, event).await }
    }

    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        self.0.store(true, SeqCst);
        bus.close().await
    }
}

#[test]
fn a_bus_that_loses_what_waits_when_it_closes() {
    caught(LosesWhatWaits::default, "lifecycle::closing_delivers_what_was_accepted", "everything accepted was delivered, retries too");
}

/// Handlers that run when the bus is closed are stopped.
struct StopsHandlers(watch::Sender<bool>);

#[async_trait]
impl Fault for StopsHandlers {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        let mut closing = self.0.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Ok(()),
            handled = handler.handle(ctx, event) => handled,
        }
    }

    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        self.0.send_replace(true);
        bus.close().await
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> Result<()> {
        self.0.send_replace(true);
        subscription.close().await
    }
}

#[test]
fn a_bus_that_stops_handlers_when_it_closes() {
    let stops = || StopsHandlers(watch::Sender::new(false));
    caught(stops, "lifecycle::closing_lets_handlers_finish", "every handler that had begun came to its end");
    caught(stops, "lifecycle::a_closed_subscription_finishes_what_it_began", "what it had been promised is delivered first");
}

struct LeavesHandlersBehind;

#[async_trait]
impl Fault for LeavesHandlersBehind {
    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        let bus = Arc::clone(bus);
        tokio::spawn(async move { bus.close().await });
        Ok(())
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> Result<()> {
        subscription.control().abandon();
        Ok(())
    }
}

#[test]
fn a_bus_whose_close_does_not_wait() {
    caught(|| LeavesHandlersBehind, "lifecycle::closing_lets_handlers_finish", "a close waits for handlers");
    caught(|| LeavesHandlersBehind, "lifecycle::a_closed_subscription_finishes_what_it_began", "a close waits for handlers");
}

#[derive(Default)]
struct ClosesOnce(AtomicBool);

#[async_trait]
impl Fault for ClosesOnce {
    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        if self.0.swap(true, SeqCst) { Err(eventbus_core::Error::closed("close")) } else { bus.close().await }
    }
}

#[test]
fn a_bus_that_cannot_be_closed_twice() {
    caught(ClosesOnce::default, "lifecycle::closing_twice_and_at_once_is_harmless", "closed");
}

struct LosesTheHandleAndTheHandler;

#[async_trait]
impl Fault for LosesTheHandleAndTheHandler {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, asked: eventbus_core::Subscribe, handler: Arc<dyn Handler>) -> Result<Subscription> {
        let subscription = bus.subscribe(asked, handler).await?;
        subscription.control().abandon();
        Ok(subscription)
    }
}

#[test]
fn a_bus_that_ends_a_subscription_whose_handle_is_dropped() {
    caught(|| LosesTheHandleAndTheHandler, "lifecycle::a_dropped_subscription_goes_on", "for 20 deliveries, got 0");
}

struct GoesOnWhilePaused;

impl Fault for GoesOnWhilePaused {
    fn pause(&self, _: &Subscription) {}

    fn figures(&self, figures: &mut SubscriptionStats) {
        figures.paused = true;
    }
}

#[test]
fn a_bus_that_goes_on_while_it_is_paused() {
    let case = "pressure::a_paused_subscription_gets_nothing_until_it_is_resumed";
    caught(|| GoesOnWhilePaused, case, "one may have been on its way, not");
}

struct DoesNotHold;

#[async_trait]
impl Fault for DoesNotHold {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        bus.start().await?;
        bus.publish(event).await
    }
}

#[test]
fn a_bus_that_does_not_hold_back() {
    caught(|| DoesNotHold, "lifecycle::a_full_hold_refuses", "`Result::unwrap_err()` on an `Ok` value");
}

/// The bus that handlers get is closed as soon as the bus is.
struct RefusesItsHandlers(Arc<AtomicBool>);

#[async_trait]
impl Fault for RefusesItsHandlers {
    async fn publish(&self, bus: &Arc<dyn Bus>, event: Event) -> Result<()> {
        if self.0.load(SeqCst) { Err(eventbus_core::Error::closed("publish")) } else { bus.publish(event).await }
    }

    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        handler.handle(ctx, event).await.map_err(|error| HandlerError::reject(error.to_string()))
    }

    async fn close(&self, bus: &Arc<dyn Bus>) -> Result<()> {
        self.0.store(true, SeqCst);
        bus.close().await
    }
}

#[test]
fn a_bus_that_refuses_its_handlers_while_it_closes() {
    let refuses = || RefusesItsHandlers(Arc::default());
    caught(refuses, "lifecycle::while_it_closes_only_handlers_publish", "what the handler published was delivered");
}

struct GoesOnWithoutItsGuard;

impl Fault for GoesOnWithoutItsGuard {
    fn abandon(&self, _: &Subscription) {}
}

#[test]
fn a_bus_that_goes_on_when_the_guard_is_dropped() {
    let case = "lifecycle::a_dropped_guard_ends_its_subscription";
    caught(|| GoesOnWithoutItsGuard, case, "the end of the subscription did not come");
}

struct EndsInSilence;

#[async_trait]
impl Fault for EndsInSilence {
    async fn ended(&self, _: &Subscription) -> Result<()> {
        std::future::pending().await
    }
}

#[test]
fn a_bus_whose_subscriptions_end_in_silence() {
    let case = "lifecycle::a_subscription_that_ends_says_so";
    caught(|| EndsInSilence, case, "the end of the subscription did not come");
}
