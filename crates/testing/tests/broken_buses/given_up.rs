//! Buses that break a promise about dead letters.

use crate::harness::{Fault, caught};
use async_trait::async_trait;
use eventbus_core::{
    Bus, Context, DeadLetter, DeadLetterFilter, DeadLetterReason, DeadLetters, Event, Handler, HandlerError, Plan, Result, Subscribe,
    Verdict,
};
use eventbus_memory::MemoryBuilder;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Barrier;

/// Letters are listed with a change.
struct Lists(fn(&mut DeadLetter));

#[async_trait]
impl Fault for Lists {
    async fn list(&self, letters: &dyn DeadLetters, filter: DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        let mut letters = letters.list(filter).await?;
        letters.iter_mut().for_each(self.0);
        Ok(letters)
    }
}

#[test]
fn a_bus_whose_dead_letters_have_another_id() {
    let another = || Lists(|letter| letter.event = letter.event.clone().with_id("another"));
    caught(another, "publish::an_id_is_kept_on_every_delivery_and_in_the_dead_letter", r#"left: ["another"]"#);
}

#[test]
fn a_bus_whose_dead_letters_have_the_wrong_reason() {
    let exhausted = || Lists(|letter| letter.reason = DeadLetterReason::Exhausted);
    caught(exhausted, "dead_letters::a_rejected_event_is_a_dead_letter_at_once", "left: (1, Exhausted, 1)");
}

#[test]
fn a_bus_whose_dead_letters_do_not_say_why() {
    caught(|| Lists(|letter| letter.error.clear()), "dead_letters::a_dead_letter_tells_its_story", "the last error: ");
}

#[test]
fn a_bus_whose_dead_letters_forget_whose_they_are() {
    caught(|| Lists(|letter| letter.subscription.clear()), "dead_letters::a_dead_letter_tells_its_story", r#"left: (Exhausted, 2, "")"#);
}

#[test]
fn a_bus_whose_dead_letters_forget_the_data() {
    let emptied = || Lists(|letter| letter.event = Event::builder("a").id("e-1").source("/shop").build().unwrap());
    caught(emptied, "dead_letters::a_dead_letter_tells_its_story", "the event is as it was published");
}

#[test]
fn a_bus_whose_dead_letters_are_of_another_time() {
    let old = || Lists(|letter| letter.time = std::time::SystemTime::UNIX_EPOCH.into());
    caught(old, "dead_letters::a_dead_letter_tells_its_story", "letter.time");
}

struct Forgets;

impl Fault for Forgets {
    fn ask(&self, asked: Subscribe, _: &Plan) -> Subscribe {
        asked.dead_letter(DeadLetter::discard())
    }
}

#[test]
fn a_bus_that_forgets_what_was_given_up() {
    let case = "dead_letters::after_the_last_attempt_the_event_is_a_dead_letter";
    caught(|| Forgets, case, "each event is one dead letter");
}

struct IgnoresTheLimit;

#[async_trait]
impl Fault for IgnoresTheLimit {
    async fn remove(&self, letters: &dyn DeadLetters, filter: DeadLetterFilter) -> Result<usize> {
        letters.remove(filter.limit(usize::MAX)).await
    }
}

#[test]
fn a_bus_that_removes_more_dead_letters_than_asked() {
    caught(|| IgnoresTheLimit, "dead_letters::a_dead_letter_is_filtered_and_removed", "left: 3");
}

/// Publishes letters anew instead of redriving them. Listing, publishing and removing are three steps, with others in between.
struct RedrivesInSteps {
    change: fn(Event) -> Event,
    removes: bool,
    others: Option<Barrier>,
}

#[async_trait]
impl Fault for RedrivesInSteps {
    fn build(&self, builder: MemoryBuilder) -> MemoryBuilder {
        builder.dedup_window(Duration::ZERO)
    }

    async fn redrive(&self, bus: &Arc<dyn Bus>, filter: DeadLetterFilter) -> Result<usize> {
        let letters = bus.dead_letters()?;
        let listed = letters.list(filter.clone()).await?;
        if let Some(others) = &self.others {
            others.wait().await;
        }
        for letter in &listed {
            bus.publish((self.change)(letter.event.clone())).await?;
        }
        if self.removes {
            letters.remove(filter).await?;
        }
        Ok(listed.len())
    }
}

#[test]
fn a_bus_that_redrives_under_a_new_id() {
    let renamed = || RedrivesInSteps { change: |event| event.with_id("new"), removes: true, others: None };
    caught(renamed, "dead_letters::redriving_delivers_again_under_the_same_id", "the letter's event is delivered");
}

#[test]
fn a_bus_that_keeps_what_it_has_redriven() {
    let kept = || RedrivesInSteps { change: |event| event, removes: false, others: None };
    caught(kept, "dead_letters::redriving_delivers_again_under_the_same_id", "left: 4");
}

#[test]
fn a_bus_whose_redrives_do_not_know_of_each_other() {
    let twofold = || RedrivesInSteps { change: |event| event, removes: true, others: Some(Barrier::new(2)) };
    caught(twofold, "dead_letters::two_redrives_at_once_deliver_once", "right: 50");
}

/// What is redriven is redriven again when it fails again.
struct NeverEndsARedrive;

#[async_trait]
impl Fault for NeverEndsARedrive {
    async fn redrive(&self, bus: &Arc<dyn Bus>, filter: DeadLetterFilter) -> Result<usize> {
        let mut all = 0;
        loop {
            match bus.dead_letters()?.redrive(filter.clone()).await? {
                0 => return Ok(all),
                redriven => all += redriven,
            }
            eventbus_testing::settle(&**bus, Duration::from_secs(10)).await?;
        }
    }
}

#[test]
fn a_bus_that_redrives_what_fails_again() {
    caught(|| NeverEndsARedrive, "dead_letters::a_redrive_of_what_fails_again_ends", "the end of the redrive did not come");
}

struct DeliversDeadLetters;

#[async_trait]
impl Fault for DeliversDeadLetters {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        let handled = handler.handle(ctx, event).await;
        if handled.as_ref().is_err_and(|error| error.verdict() == Verdict::Reject) {
            ctx.publish(Event::json("dead.letter", 0)?).await?;
        }
        handled
    }
}

#[test]
fn a_bus_that_delivers_dead_letters_as_events() {
    caught(|| DeliversDeadLetters, "dead_letters::no_pattern_matches_dead_letters", "more was delivered than expected");
}

/// Where the store is full, the event is acknowledged all the same.
#[derive(Default)]
struct LosesWhatDoesNotFit(Mutex<usize>);

#[async_trait]
impl Fault for LosesWhatDoesNotFit {
    async fn handle(&self, handler: &Arc<dyn Handler>, ctx: &Context, event: &Event) -> std::result::Result<(), HandlerError> {
        let handled = handler.handle(ctx, event).await;
        let mut stored = self.0.lock().unwrap();
        *stored += usize::from(handled.is_err());
        if *stored > 2 { Ok(()) } else { handled }
    }
}

#[test]
fn a_bus_that_loses_what_does_not_fit_among_the_dead_letters() {
    let case = "dead_letters::a_dead_letter_that_cannot_be_stored_keeps_its_event";
    caught(LosesWhatDoesNotFit::default, case, "the failure to store the third did not come");
}
