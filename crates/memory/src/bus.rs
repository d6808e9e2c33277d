//! The bus that its users hold.

use crate::{
    BACKEND,
    config::MemoryBuilder,
    core::{Core, Tried},
    dead_letters::Letters,
    inline::{InlineHandler, Part},
    replies::Replies,
    source::MemorySource,
    subscription::Control,
};
use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, DeadLetters, Error, ErrorKind, ErrorStream, Event, Handler, Health, HealthState, Plan, Receipt,
    ReplyTransport, Result, Subscribe, Subscription,
};
use eventbus_runtime::{Engine, EngineContext, spans};
use std::{fmt, sync::Arc, time::Duration};
use tracing::Instrument as _;

/// An event bus within the process: a real broker in miniature.
///
/// It has groups that survive their members, redelivery with backoff and counted attempts, dead letters, bounded retention with replay, a
/// dedup window, and back-pressure. Events live as long as the process; [`close`](Bus::close) delivers what was accepted.
///
/// Cheap to clone: clones are handles of the same bus. When the last handle is dropped without a close, handlers that run may finish and
/// what waits is lost. The bus that a handler gets from its [`Context`](eventbus_core::Context) is not counted as a handle.
#[derive(Clone)]
pub struct MemoryBus {
    core: Arc<Core>,
    /// Present in the handles of users. Dropping the last ends the bus.
    owner: Option<Arc<Owner>>,
    letters: Arc<Letters>,
    replies: Arc<Replies>,
}

struct Owner(Arc<Core>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl MemoryBus {
    /// A bus with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::from_builder(MemoryBuilder::default())
    }

    /// A bus whose `publish` returns after the handlers have run, and the handlers of everything that they published.
    ///
    /// A handler's own publishes do not wait. One that publishes from a task it spawned waits like everybody else, and must not wait for
    /// that task. A publish whose handlers take longer than the publish timeout fails with [`ErrorKind::Timeout`], though its event was
    /// accepted and is being handled.
    #[must_use]
    pub fn inline() -> Self {
        Self::from_builder(MemoryBuilder::default().inline())
    }

    /// A bus with settings of your own.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::default()
    }

    pub(crate) fn from_builder(config: MemoryBuilder) -> Self {
        let core = Arc::new(Core::new(config));
        let (letters, replies) = (Arc::new(Letters(Arc::downgrade(&core))), Arc::new(Replies(Arc::downgrade(&core))));
        Self { owner: Some(Arc::new(Owner(Arc::clone(&core)))), core, letters, replies }
    }

    /// Waits until everything that was published has been handled, given up or dropped. Subscriptions that are paused and groups without
    /// members are not waited for.
    pub async fn settled(&self) {
        self.core.until_idle().await;
    }

    /// The handle that handlers get.
    fn for_handlers(&self) -> Self {
        Self { owner: None, ..self.clone() }
    }

    fn is_inside(&self) -> bool {
        self.owner.is_none()
    }

    fn accept(&self, event: Event) -> BusFuture<'_, Result<()>> {
        if self.core.config.inline {
            return self.publish_inline(event);
        }
        let inside = self.is_inside();
        match self.core.arrive(event).and_then(|arrival| self.core.try_publish(arrival, inside)) {
            Ok(Tried::Accepted) => BusFuture::ready(Ok(())),
            Ok(Tried::Wait(arrival, consumer)) => BusFuture::new(async move {
                self.core.wait_and_publish(*arrival, consumer, inside).await.map_err(|error| self.core.refuse(error))
            }),
            Err(error) => BusFuture::ready(Err(self.core.refuse(error))),
        }
    }

    fn publish_inline(&self, event: Event) -> BusFuture<'_, Result<()>> {
        BusFuture::new(async move {
            let part = Part::now();
            let mut arrival = self.core.arrive(event).map_err(|error| self.core.refuse(error))?;
            arrival.latch = part.latch();
            self.core.publish_when_room(arrival, self.is_inside()).await.map_err(|error| self.core.refuse(error))?;
            let timeout = self.core.config.publish_timeout;
            if part.wait(timeout).await {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Timeout, format!("the event was accepted, but not all of its handlers were done within {timeout:?}"))
                .during("publish"))
        })
    }

    fn begin(&self, plan: Plan, handler: Arc<dyn Handler>) -> Result<Subscription> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(
                Error::invalid("a subscription needs a Tokio runtime to run its handler on; none is active here").during("subscribe")
            );
        }
        let mut wakes = crate::broker::Wakes::default();
        let joined = self.core.broker().subscribe(&plan, &mut wakes)?;
        wakes.wake();
        let handler = if self.core.config.inline { Arc::new(InlineHandler::new(handler, Arc::clone(&self.core))) } else { handler };
        let source = MemorySource::new(Arc::clone(&self.core), joined, &plan);
        let grouped = plan.group.is_some();
        let context = EngineContext { bus: Arc::new(self.for_handlers()), reporter: self.core.reporter.clone(), backend: BACKEND };
        let engine = Engine::start(source, handler, plan, context);
        let place = self.core.engines().insert(engine.clone());
        if self.core.broker().phase() == crate::broker::Phase::Closed {
            // The end may have come since the broker took the member in, and then nobody else stops its engine. As long as the bus is only
            // draining, the close is yet to find it.
            engine.abandon();
            self.core.forget(place);
        }
        Ok(Subscription::new(Control::new(Arc::clone(&self.core), engine, place, grouped)))
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for MemoryBus {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        let span = spans::publish(BACKEND, &event);
        if span.is_disabled() {
            return self.accept(event);
        }
        let accepting = span.in_scope(|| self.accept(event));
        BusFuture::new(accepting.instrument(span))
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        BusFuture::new(async move { self.publish(event).await.map(|()| Receipt::ready(Ok(()))) })
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(async move {
            let mut results = Vec::with_capacity(events.len());
            for event in events {
                results.push(self.publish(event).await);
            }
            results
        })
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        let plan = Plan::new(subscribe, &self.core.capabilities, handler.name());
        BusFuture::ready(plan.and_then(|plan| self.begin(plan, handler)))
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        let mut wakes = crate::broker::Wakes::default();
        let deleted = self.core.broker().delete_group(group, &mut wakes);
        wakes.wake();
        BusFuture::ready(deleted)
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.core.start())
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        Ok(&*self.letters)
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        Ok(&*self.replies)
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        // Whatever was enqueued has been accepted or refused by the time its receipt exists.
        BusFuture::ready(if self.core.broker().phase() == crate::broker::Phase::Closed { Err(Error::closed("flush")) } else { Ok(()) })
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        let mut health = Health::default();
        health.state = match self.core.broker().phase() {
            crate::broker::Phase::Held | crate::broker::Phase::Open => HealthState::Connected,
            crate::broker::Phase::Draining => HealthState::Draining,
            crate::broker::Phase::Closed => return BusFuture::ready(Err(Error::closed("health"))),
        };
        health.round_trip = Some(Duration::ZERO);
        BusFuture::ready(Ok(health))
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        if self.core.broker().phase() == crate::broker::Phase::Closed {
            return BusFuture::ready(Err(Error::closed("stats")));
        }
        let engines: Vec<_> = self.core.engines().iter().map(|(_, engine)| engine.clone()).collect();
        let subscriptions: Vec<_> = engines.iter().map(Engine::stats).collect();
        let mut stats = self.core.broker().stats();
        stats.refused = self.core.refused();
        for group in &mut stats.groups {
            // What members hold, only they know.
            let members = subscriptions.iter().filter(|subscription| subscription.group.as_ref() == Some(&group.name));
            group.oldest_unacknowledged = group.oldest_unacknowledged.max(members.filter_map(|member| member.oldest_unacknowledged).max());
        }
        stats.subscriptions = subscriptions;
        BusFuture::ready(Ok(stats))
    }

    fn errors(&self) -> ErrorStream {
        self.core.reporter.listen()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    fn close(&self) -> BusFuture<'_, Result<()>> {
        if self.is_inside() {
            // A handler that waited for the close would be what the close waits for.
            let core = Arc::clone(&self.core);
            tokio::spawn(async move { core.close().await });
            return BusFuture::ready(Ok(()));
        }
        BusFuture::new(async move { self.core.close().await })
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBus").field("phase", &self.core.broker().phase()).finish_non_exhaustive()
    }
}
