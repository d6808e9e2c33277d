//! Consuming in a group: everything that is there is handled by its members, who acknowledge each.

use crate::{
    contest::{Result, Side, turn},
    traffic::{Tally, per_second},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Members of a group, which end when this is dropped.
pub type Members = Box<dyn std::any::Any + Send>;

/// Somebody who consumes samples.
pub trait Consume: Send + Sync + 'static {
    /// Whether what was consumed is gone for other groups, too.
    const USES_UP: bool = false;

    /// Publishes the samples from 0 on, so that there is something to consume.
    fn fill(&self, samples: u64) -> impl Future<Output = Result<()>> + Send;

    /// Makes a group that begins with the first sample, and members that give the number of each sample to `tally`.
    fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> impl Future<Output = Result<Members>> + Send;
}

/// From the moment when the group is made until its last sample is handled. The stream is filled before the
/// first; every turn has a group of its own.
pub fn group<C: Consume, F>(members: usize, open: impl FnOnce() -> F + Send + 'static) -> Side
where
    F: Future<Output = Result<C>> + Send + 'static,
{
    Side::new(move || async move {
        let consumer = Arc::new(open().await?);
        let (tally, filled, turns) = (Tally::new(1), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        Ok(turn(move |events| {
            let (consumer, tally, filled) = (Arc::clone(&consumer), Arc::clone(&tally), Arc::clone(&filled));
            let group = format!("bench-{}", turns.fetch_add(1, Relaxed));
            async move {
                if filled.swap(events, Relaxed) == 0 || C::USES_UP {
                    consumer.fill(events).await?;
                }
                let joined = Arc::new(std::sync::Mutex::new(None));
                let join = |_| {
                    let (consumer, tally, group, joined) = (Arc::clone(&consumer), Arc::clone(&tally), group.clone(), Arc::clone(&joined));
                    async move {
                        let members = consumer.join(group, members, tally).await?;
                        *joined.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(members);
                        Ok(())
                    }
                };
                let took = tally.round(1, events, join).await?;
                drop(joined);
                Ok(per_second(events, took))
            }
        }))
    })
}
