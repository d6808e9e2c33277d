//! Keeps the schedule filled.

use super::{AGAIN, Settings, Shared, signal::Phase};
use crate::{
    Source,
    source::{Fetched, Run},
    spans,
};
use eventbus_core::{DeadLetterReason, Error};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

impl<S: Source> Shared<S> {
    /// Fetches as long as the subscription runs and there is room.
    pub(super) async fn fetch(self: &Arc<Self>) {
        let mut failures = 0;
        while let Some(room) = self.pulse.until(|| self.room()).await {
            let fetched = {
                let mut fetching = pin!(self.source.fetch(room));
                poll_fn(|cx| if self.is_fetch_over(room) { Poll::Ready(None) } else { fetching.as_mut().poll(cx).map(Some) }).await
            };
            match fetched {
                None => {}
                Some(Ok(fetched)) => {
                    failures = 0;
                    self.take_in(fetched);
                }
                Some(Err(error)) if error.is_retryable() => {
                    failures += 1;
                    tracing::warn!(target: "eventbus", subscription = %self.settings.name, %error, "fetching failed, trying again");
                    self.context.reporter.report(|| error.during("fetch").with("subscription", &self.settings.name));
                    self.pause_for(AGAIN.delay(failures, rand::random())).await;
                }
                Some(Err(error)) => self.fail(error.during("fetch")),
            }
        }
        self.state().fetching = false;
        self.pulse.beat();
    }

    /// Whether a fetch for so much is not what is wanted any more: nothing is, or there is room where there was none.
    fn is_fetch_over(&self, room: usize) -> bool {
        self.is_stopping() || room == 0 && !matches!(self.room(), Some(Some(0)))
    }

    /// `Some(None)` ends the fetching, `None` waits.
    fn room(&self) -> Option<Option<usize>> {
        if self.is_stopping() {
            return Some(None);
        }
        if self.is_paused() {
            return None;
        }
        let Settings { concurrency, buffer, batch, .. } = self.settings;
        let at_once = concurrency.saturating_mul(batch.map_or(1, |batch| batch.max));
        self.state().room(concurrency, at_once, buffer.min(self.source.prefetch())).map(Some)
    }

    fn take_in(self: &Arc<Self>, fetched: Fetched<S::Token>) {
        let count = match &fetched {
            Fetched::Run(run) | Fetched::Undecodable(run, _) => run.len() as u64,
            Fetched::Elsewhere(_) => 0,
        };
        self.metrics().fetched.increment(count);
        let _span = spans::receive(self.context.backend, &self.settings.name, count).entered();
        match fetched {
            Fetched::Run(run) if self.settings.retry.allows_another(run.attempt().saturating_sub(1)) => self.schedule(run),
            Fetched::Run(run) => self.give_up_at_once(&run),
            Fetched::Undecodable(run, error) => self.refuse(&run, &error),
            Fetched::Elsewhere(ticket) => {
                self.state().schedule.open(ticket);
                self.pulse.beat();
                self.call_lane();
            }
        }
    }

    fn schedule(&self, run: Run<S::Token>) {
        self.state().schedule.insert(run);
        self.pulse.beat();
        self.call_lane();
    }

    /// The attempts ran out while nobody was there to bury the event: every member died with it, or its lease ran out each time.
    fn give_up_at_once(self: &Arc<Self>, run: &Run<S::Token>) {
        const STORY: &str = "no attempt settled the event: its handlers crashed, lost their lease, or ran out of time";
        self.bury_unstarted(run, DeadLetterReason::Exhausted, STORY, run.attempt().saturating_sub(1));
    }

    fn refuse(self: &Arc<Self>, run: &Run<S::Token>, error: &Error) {
        self.bury_unstarted(run, DeadLetterReason::Undecodable, error.message(), run.attempt());
    }

    fn bury_unstarted(self: &Arc<Self>, run: &Run<S::Token>, reason: DeadLetterReason, error: &str, attempts: u32) {
        let count = run.len() as u64;
        self.source.progress().give_back(count);
        self.counters.released.fetch_add(count, Relaxed);
        let each = run.range().map(|position| self.give_up(run.part(position..position + 1), reason, error.to_owned(), attempts));
        // Others may wait for this one to come back.
        let ticket = run.ticket();
        self.bury(each.collect(), move |schedule| ticket.into_iter().for_each(|ticket| schedule.open(ticket)));
    }

    /// Waits, but not longer than the subscription runs. In a box, since it is rare.
    fn pause_for(&self, delay: Duration) -> impl Future {
        Box::pin(tokio::time::timeout(delay, self.lifecycle.until(Phase::Stopping)))
    }
}
