//! Hands outcomes back to the source.

use super::{AGAIN, Shared, signal::Phase};
use crate::{
    Source,
    source::{Outcome, Settled},
    spans,
};
use std::sync::atomic::Ordering::Relaxed;
use tracing::Instrument as _;

impl<S: Source> Shared<S> {
    /// Settles whatever has an outcome, all that has gathered at once, until nothing can follow.
    pub(super) async fn settle(&self) {
        let mut settled = Vec::new();
        let mut failures = 0;
        loop {
            let more = self.pulse.until(|| self.outcomes(&mut settled)).await;
            if !more {
                return;
            }
            while !settled.is_empty() {
                let before = Tally::of(&settled);
                // Counted first: whoever sees that nothing is left to be settled sees what became of it.
                self.count(&before);
                let span = spans::settle(self.context.backend, &self.settings.name, before.count());
                let outcome = self.source.settle(&mut settled).instrument(span).await;
                let left = Tally::of(&settled);
                self.take_back(&left);
                self.measure(&before, &left);
                match outcome {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        self.context.reporter.report(|| error.clone().during("settle").with("subscription", &self.settings.name));
                        tracing::warn!(target: "eventbus", subscription = %self.settings.name, %error, "settling failed, trying again");
                        let pause = tokio::time::timeout(AGAIN.delay(failures, rand::random()), self.lifecycle.until_out_of_time());
                        // In a box, since it is rare.
                        if Box::pin(pause).await.is_ok() {
                            // The backend will deliver again what it was not told about. The close says so.
                            self.state().settled.append(&mut settled);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Takes what has gathered. `Some(false)` when nothing can follow, `None` while there is nothing yet.
    fn outcomes(&self, settled: &mut Vec<Settled<S::Token>>) -> Option<bool> {
        let mut state = self.state();
        if state.settled.is_empty() {
            return self.lifecycle.reached(Phase::Finishing).then_some(false);
        }
        std::mem::swap(&mut state.settled, settled);
        Some(true)
    }

    fn count(&self, settled: &Tally) {
        self.counters.acked.fetch_add(settled.acked, Relaxed);
        self.counters.retried.fetch_add(settled.retried, Relaxed);
    }

    /// What could not be settled is counted when it is.
    fn take_back(&self, left: &Tally) {
        self.counters.acked.fetch_sub(left.acked, Relaxed);
        self.counters.retried.fetch_sub(left.retried, Relaxed);
    }

    fn measure(&self, before: &Tally, left: &Tally) {
        let (acked, retried) = (before.acked - left.acked, before.retried - left.retried);
        if acked > 0 {
            self.metrics().acked.increment(acked);
        }
        if retried > 0 {
            self.metrics().retried.increment(retried);
        }
    }
}

struct Tally {
    acked: u64,
    retried: u64,
    released: u64,
}

impl Tally {
    fn of<T>(settled: &[Settled<T>]) -> Self {
        let mut tally = Self { acked: 0, retried: 0, released: 0 };
        for Settled { run, outcome } in settled {
            match outcome {
                Outcome::Ack => tally.acked += run.len() as u64,
                Outcome::Retry { .. } => tally.retried += run.len() as u64,
                Outcome::Release => tally.released += run.len() as u64,
            }
        }
        tally
    }

    fn count(&self) -> u64 {
        self.acked + self.retried + self.released
    }
}
