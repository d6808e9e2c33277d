//! One subscription: from the server's side to the engine, and its end.

use super::{
    Broker,
    bus::RemoteBus,
    core::{Core, Phase},
};
use crate::{Engine, EngineContext};
use eventbus_core::{BusFuture, Error, ErrorKind, Handler, Plan, Result, Subscription, SubscriptionControl, SubscriptionStats};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::{sync::watch, time::Instant};

/// How long the end of a subscription waits for the server to hear of it.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(2);

impl<B: Broker> RemoteBus<B> {
    pub(super) async fn begin(&self, plan: Plan, handler: Arc<dyn Handler>) -> Result<Subscription> {
        let core = &self.core;
        core.check_open(false, "subscribe")?;
        let source =
            core.until_reached(core.deadline(), || core.broker.subscribe(&plan)).await.map_err(|error| error.during("subscribe"))?;
        let context = EngineContext {
            bus: Arc::new(self.for_handlers()),
            reporter: core.settings.reporter.clone(),
            backend: core.broker.capabilities().backend,
        };
        let engine = Engine::start(source, handler, plan, context);
        let place = core.engines().insert(engine.clone());
        core.counts.joined();
        let left = watch::Sender::new(false);
        tokio::spawn(see_out(Arc::clone(core), engine.clone(), place, left.clone()));
        if core.phase() != Phase::Open {
            // The close may have missed it.
            engine.abandon();
        }
        Ok(Subscription::new(Control(Arc::new(Inner { core: Arc::clone(core), engine, left, closing: AtomicBool::new(false) }))))
    }
}

impl<B: Broker> Core<B> {
    pub(super) async fn delete_group(&self, group: &str) -> Result<bool> {
        self.check_not_closed("delete_group")?;
        let capabilities = self.broker.capabilities();
        if !capabilities.groups {
            return Err(Error::unsupported("Bus::delete_group", capabilities.backend));
        }
        let members = self.engines().iter().filter(|(_, engine)| engine.group() == Some(group)).count();
        if members > 0 {
            let rule = "it can be deleted when they have left";
            return Err(Error::new(ErrorKind::Conflict, format!("group {group:?} has members on this bus: {members}; {rule}")));
        }
        self.until_reached(self.deadline(), || self.broker.delete_group(group)).await
    }
}

/// Waits for the end of a subscription, however it comes, and clears up after it.
async fn see_out<B: Broker>(core: Arc<Core<B>>, engine: Engine<B::Source>, place: usize, left: watch::Sender<bool>) {
    // Why it ended, the engine has reported.
    let _ = engine.ended().await;
    // A member whose server is away is forgotten by the server in its own time.
    let _ = tokio::time::timeout(GOODBYE, core.broker.leave(engine.source())).await;
    let forgotten = core.engines().try_remove(place);
    drop(forgotten);
    core.counts.left();
    left.send_replace(true);
}

struct Control<B: Broker>(Arc<Inner<B>>);

struct Inner<B: Broker> {
    core: Arc<Core<B>>,
    engine: Engine<B::Source>,
    left: watch::Sender<bool>,
    closing: AtomicBool,
}

impl<B: Broker> Inner<B> {
    async fn close(&self) -> Result<()> {
        let stopped = self.engine.stop(Instant::now() + self.core.settings.close_timeout).await;
        if self.engine.has_ended() {
            let _ = self.left.subscribe().wait_for(|left| *left).await;
        }
        stopped
    }
}

impl<B: Broker> SubscriptionControl for Control<B> {
    fn stats(&self) -> SubscriptionStats {
        self.0.engine.stats()
    }

    fn pause(&self) {
        self.0.engine.pause();
    }

    fn resume(&self) {
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
            self.0.engine.abandon();
        }
    }

    fn ended(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.0.engine.ended())
    }
}
