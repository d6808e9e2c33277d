//! Stores what was given up. The original is settled only after that.

use super::{Shared, schedule::Key, signal::Phase};
use crate::{
    Source,
    source::{Buried, Outcome, Run, Settled},
};
use eventbus_core::{DeadLetter, DeadLetterReason, MIN_BACKOFF, Retry};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// The delays between attempts to store a dead letter.
const AGAIN: Retry = Retry::exponential(Duration::from_millis(100)).max_delay(Duration::from_secs(10)).forever();

impl<S: Source> Shared<S> {
    /// Gives up a delivery: what waits for its key goes on when its letter is stored.
    pub(super) fn give_up(self: &Arc<Self>, run: Run<S::Token>, reason: DeadLetterReason, error: String, attempts: u32, key: Option<Key>) {
        let event = run.first().0.clone();
        tracing::warn!(
            target: "eventbus", subscription = %self.settings.name, event_type = %event.event_type(), id = event.id(), %reason, attempts, error,
            "an event is given up"
        );
        let letter = DeadLetter::new(event, reason, error, attempts, &*self.settings.name);
        self.state().burying.push(run.clone());
        tokio::spawn(Arc::clone(self).store(Buried::new(run, letter, self.settings.dead_letter.clone()), key));
    }

    async fn store(self: Arc<Self>, buried: Buried<S::Token>, key: Option<Key>) {
        let mut failures = 0;
        let stored = loop {
            match self.source.bury(&buried).await {
                Ok(()) => break true,
                Err(error) => {
                    failures += 1;
                    self.counters.dead_letter_failures.fetch_add(1, Relaxed);
                    self.metrics().dead_letter_failures.increment(1);
                    self.context.reporter.report(|| {
                        error.clone().during("dead_letter").with("subscription", &self.settings.name).with("id", buried.letter.event.id())
                    });
                    tracing::error!(target: "eventbus", subscription = %self.settings.name, id = buried.letter.event.id(), %error, "a dead letter could not be stored; the event stays, trying again");
                    // A subscription that closes cannot wait for a store that fails: the event goes back and is tried by another.
                    if tokio::time::timeout(AGAIN.delay(failures, rand::random()), self.lifecycle.until(Phase::Stopping)).await.is_ok() {
                        break false;
                    }
                }
            }
        };
        if stored {
            self.counters.dead_lettered.fetch_add(1, Relaxed);
            self.metrics().dead_lettered.increment(1);
        }
        let mut state = self.state();
        if let Some(at) =
            state.burying.iter().position(|run| Arc::ptr_eq(run.batch(), buried.run.batch()) && run.range() == buried.run.range())
        {
            state.burying.swap_remove(at);
        }
        if !stored {
            state.settled.push(Settled { run: buried.run, outcome: Outcome::Retry { after: MIN_BACKOFF, ticket: None } });
        }
        state.schedule.finish(key, []);
        drop(state);
        self.pulse.beat();
        self.call_lanes(1);
    }
}
