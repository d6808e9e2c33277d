//! The handle of a subscription.

use crate::{broker::Wakes, core::Core, source::MemorySource, watch};
use eventbus_core::{BusFuture, Error, ErrorKind, Result, SubscriptionControl, SubscriptionStats};
use eventbus_runtime::Engine;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::time::Instant;

pub(crate) struct Control(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    engine: Engine<MemorySource>,
    /// Its place among the bus's engines.
    place: usize,
    grouped: bool,
    closing: AtomicBool,
}

impl Control {
    pub(crate) fn new(core: Arc<Core>, engine: Engine<MemorySource>, place: usize, grouped: bool) -> Self {
        Self(Arc::new(Inner { core, engine, place, grouped, closing: AtomicBool::new(false) }))
    }
}

impl Inner {
    fn leave(&self) {
        let mut wakes = Wakes::default();
        self.engine.source().with_broker(|broker, member| broker.leave(member, &mut wakes));
        wakes.wake();
    }

    async fn close(&self) -> Result<()> {
        let deadline = Instant::now() + self.core.config.close_timeout;
        self.leave();
        if !self.grouped {
            let _ = tokio::time::timeout_at(deadline, self.until_done()).await;
        }
        let stopped = self.engine.stop(deadline).await;
        let left = self.engine.source().remove();
        self.core.forget(self.place);
        if left > 0 {
            let error = Error::new(ErrorKind::Timeout, "not everything was delivered before the close deadline")
                .during("close")
                .with("subscription", self.engine.name())
                .with("undelivered", left);
            return Err(match stopped {
                Ok(()) => error,
                Err(cause) => error.caused_by(cause),
            });
        }
        stopped
    }

    /// Waits until everything that the subscription was promised has been handled, unless it is paused.
    async fn until_done(&self) {
        let is_done = || self.engine.source().with_broker(|broker, member| broker.is_done(member)).unwrap_or(true);
        watch::until(&self.core, is_done).await;
    }
}

impl SubscriptionControl for Control {
    fn stats(&self) -> SubscriptionStats {
        self.0.engine.stats()
    }

    fn pause(&self) {
        self.0.engine.pause();
        let mut wakes = Wakes::default();
        self.0.engine.source().with_broker(|broker, member| broker.pause(member, true, &mut wakes));
        wakes.wake();
    }

    fn resume(&self) {
        let mut wakes = Wakes::default();
        self.0.engine.source().with_broker(|broker, member| broker.pause(member, false, &mut wakes));
        wakes.wake();
        self.0.engine.resume();
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        let inner = Arc::clone(&self.0);
        BusFuture::new(async move {
            if inner.closing.swap(true, SeqCst) {
                return inner.engine.ended().await;
            }
            // A task of its own, so that it is done also where nobody waits for it to the end.
            let closing = tokio::spawn(async move { inner.close().await });
            closing
                .await
                .unwrap_or_else(|fault| Err(Error::new(ErrorKind::Closed, "closing was interrupted").during("close").caused_by(fault)))
        })
    }

    fn abandon(&self) {
        if !self.0.closing.swap(true, SeqCst) {
            self.0.leave();
            self.0.engine.abandon();
            self.0.core.forget(self.0.place);
        }
    }

    fn ended(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.0.engine.ended())
    }
}
