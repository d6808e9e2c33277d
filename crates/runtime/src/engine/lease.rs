//! Keeps what is held from being taken away while it waits or runs.

use super::{Shared, signal::Phase, state::Lost};
use crate::Source;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

impl<S: Source> Shared<S> {
    /// Extends the lease of everything held, three times within each lease. Where nothing is, the source may still have what nobody has
    /// fetched, since there is no room for it or the subscription is paused.
    pub(super) async fn keep_leases(self: Arc<Self>, lease: Duration) {
        let mut ticks = tokio::time::interval(lease / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.lifecycle.until(Phase::Finishing) => return,
                _ = ticks.tick() => {}
            }
            let held = self.state().held();
            match self.source.extend(&held).await {
                Ok(lost) => lost.iter().for_each(|run| self.lose(run)),
                Err(error) => {
                    self.context.reporter.report(|| error.clone().during("extend").with("subscription", &self.settings.name));
                    tracing::warn!(target: "eventbus", subscription = %self.settings.name, %error, "leases could not be extended");
                }
            }
        }
    }

    fn lose(&self, run: &crate::source::Run<S::Token>) {
        match self.state().lose(run) {
            Lost::Running => {
                self.losses.fetch_add(1, Relaxed);
                self.lifecycle.look_again();
            }
            Lost::Waiting => {
                self.source.progress().give_back(1);
                self.counters.released.fetch_add(1, Relaxed);
            }
            Lost::Unknown => {}
        }
    }
}
