//! Stores what was given up. The original is settled only after that.

use super::{AGAIN, Shared, schedule::Schedule, signal::Phase};
use crate::{
    Source,
    source::{Buried, Outcome, Run, Settled},
};
use eventbus_core::{DeadLetter, DeadLetterReason, MIN_BACKOFF};
use std::sync::{Arc, atomic::Ordering::Relaxed};

impl<S: Source> Shared<S> {
    /// Gives up a delivery: writes its letter, which is then to be [buried](Self::bury).
    pub(super) fn give_up(&self, run: Run<S::Token>, reason: DeadLetterReason, error: String, attempts: u32) -> Buried<S::Token> {
        let event = run.first().0.clone();
        tracing::warn!(
            target: "eventbus", subscription = %self.settings.name, event_type = %event.event_type(), id = event.id(), %reason, attempts, error,
            "an event is given up"
        );
        let letter = DeadLetter::new(event, reason, error, attempts, &*self.settings.name);
        Buried::new(run, letter, self.settings.dead_letter.clone())
    }

    /// Stores letters, and then lets go on what waits for that.
    pub(super) fn bury(self: &Arc<Self>, letters: Vec<Buried<S::Token>>, go_on: impl FnOnce(&mut Schedule<S::Token>) + Send + 'static) {
        self.state().burying.extend(letters.iter().map(|buried| buried.run.clone()));
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            for buried in letters {
                let stored = shared.store(&buried).await;
                shared.is_buried(buried, stored);
            }
            go_on(&mut shared.state().schedule);
            shared.pulse.beat();
            shared.call_lane();
        });
    }

    /// Stores a letter, trying again until that succeeds or the subscription stops.
    async fn store(&self, buried: &Buried<S::Token>) -> bool {
        let mut failures = 0;
        loop {
            // Counted first: whoever sees that nothing is left to be settled sees what became of it.
            self.counters.dead_lettered.fetch_add(1, Relaxed);
            let Err(error) = self.source.bury(buried).await else {
                self.metrics().dead_lettered.increment(1);
                return true;
            };
            self.counters.dead_lettered.fetch_sub(1, Relaxed);
            failures += 1;
            self.counters.dead_letter_failures.fetch_add(1, Relaxed);
            self.metrics().dead_letter_failures.increment(1);
            let id = buried.letter.event.id();
            tracing::error!(target: "eventbus", subscription = %self.settings.name, id, %error, "a dead letter could not be stored; the event stays, trying again");
            self.context.reporter.report(|| error.during("dead_letter").with("subscription", &self.settings.name).with("id", id));
            // A subscription that closes cannot wait for a store that fails: the event goes back and is tried by another.
            if tokio::time::timeout(AGAIN.delay(failures, rand::random()), self.lifecycle.until(Phase::Stopping)).await.is_ok() {
                return false;
            }
        }
    }

    fn is_buried(&self, buried: Buried<S::Token>, stored: bool) {
        let mut state = self.state();
        let same = |run: &Run<S::Token>| Arc::ptr_eq(run.batch(), buried.run.batch()) && run.range() == buried.run.range();
        if let Some(at) = state.burying.iter().position(same) {
            state.burying.swap_remove(at);
        }
        if !stored {
            state.settled.push(Settled { run: buried.run, outcome: Outcome::Retry { after: MIN_BACKOFF, ticket: None } });
        }
        drop(state);
        self.pulse.beat();
    }
}
