//! The bus that a backend's own type wraps.

use super::{
    Broker, RemoteSettings,
    core::{Core, Phase},
    letters::Letters,
};
use crate::{Engine, Source as _, spans};
use eventbus_core::{
    Bus, BusFuture, BusStats, Capabilities, DeadLetters, Error, ErrorStream, Event, Handler, Health, HealthState, Plan, Receipt,
    ReplyTransport, Result, Subscribe, Subscription,
};
use std::{fmt, sync::Arc};
use tracing::Instrument as _;

/// An event bus over a server.
///
/// Cheap to clone: clones are handles of the same bus. When the last handle is dropped without a close, handlers that run may finish and
/// nothing else is begun. The bus that a handler gets from its [`Context`](eventbus_core::Context) is not counted as a handle.
pub struct RemoteBus<B: Broker> {
    pub(super) core: Arc<Core<B>>,
    /// Present in the handles of users. Dropping the last ends the bus.
    owner: Option<Arc<Owner<B>>>,
    letters: Arc<Letters<B>>,
}

struct Owner<B: Broker>(Arc<Core<B>>);

impl<B: Broker> Drop for Owner<B> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<B: Broker> RemoteBus<B> {
    /// A bus over a server that is connected.
    #[must_use]
    pub fn new(broker: B, settings: RemoteSettings) -> Self {
        let core = Arc::new(Core::new(broker, settings));
        let letters = Arc::new(Letters(Arc::downgrade(&core)));
        Self { owner: Some(Arc::new(Owner(Arc::clone(&core)))), core, letters }
    }

    /// The backend.
    #[must_use]
    pub fn broker(&self) -> &B {
        &self.core.broker
    }

    /// The handle that handlers get.
    pub(super) fn for_handlers(&self) -> Self {
        Self { owner: None, ..self.clone() }
    }

    fn is_inside(&self) -> bool {
        self.owner.is_none()
    }

    async fn all_stats(&self) -> Result<BusStats> {
        self.core.check_not_closed("stats")?;
        let engines: Vec<_> = self.core.engines().iter().map(|(_, engine)| engine.clone()).collect();
        let mut measuring = tokio::task::JoinSet::new();
        for engine in &engines {
            let (core, engine) = (Arc::clone(&self.core), engine.clone());
            measuring.spawn(async move { core.until_reached(core.deadline(), || engine.source().measure()).await });
        }
        let figures = self.core.until_reached(self.core.deadline(), || self.core.broker.figures());
        let figures = figures.await.map_err(|error| error.during("stats"))?;
        while let Some(measured) = measuring.join_next().await {
            if let Ok(measured) = measured {
                measured.map_err(|error| error.during("stats"))?;
            }
        }
        let mut stats = BusStats::default();
        self.core.counts.show(&mut stats);
        stats.retained = figures.retained;
        stats.retained_bytes = figures.retained_bytes;
        (stats.oldest_retained, stats.newest_retained) = figures.retained_since.unzip();
        stats.dead_letters = figures.dead_letters;
        stats.groups = figures.groups;
        stats.subscriptions = engines.iter().map(Engine::stats).collect();
        Ok(stats)
    }
}

impl<B: Broker> Bus for RemoteBus<B> {
    fn publish(&self, event: Event) -> BusFuture<'_, Result<()>> {
        let span = spans::publish(self.core.broker.capabilities().backend, &event);
        let publishing = self.core.publish(event, self.is_inside());
        if span.is_disabled() { BusFuture::new(publishing) } else { BusFuture::new(publishing.instrument(span)) }
    }

    fn enqueue(&self, event: Event) -> BusFuture<'_, Result<Receipt>> {
        let span = spans::publish(self.core.broker.capabilities().backend, &event);
        BusFuture::new(self.core.enqueue(event, self.is_inside()).instrument(span))
    }

    fn publish_all(&self, events: Vec<Event>) -> BusFuture<'_, Vec<Result<()>>> {
        BusFuture::new(self.core.publish_all(events, self.is_inside()))
    }

    fn subscribe(&self, subscribe: Subscribe, handler: Arc<dyn Handler>) -> BusFuture<'_, Result<Subscription>> {
        match Plan::new(subscribe, self.core.broker.capabilities(), handler.name()) {
            Ok(plan) => BusFuture::new(self.begin(plan, handler)),
            Err(error) => BusFuture::ready(Err(error)),
        }
    }

    fn delete_group<'a>(&'a self, group: &'a str) -> BusFuture<'a, Result<bool>> {
        BusFuture::new(
            async move { self.core.delete_group(group).await.map_err(|error| error.during("delete_group").with("group", group)) },
        )
    }

    fn start(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(async {
            self.core.check_not_closed("start")?;
            self.core.release_held().await
        })
    }

    fn dead_letters(&self) -> Result<&dyn DeadLetters> {
        match self.core.broker.letters() {
            Some(_) => Ok(&*self.letters),
            None => Err(Error::unsupported("Bus::dead_letters", self.core.broker.capabilities().backend)),
        }
    }

    fn replies(&self) -> Result<&dyn ReplyTransport> {
        self.core.broker.replies().ok_or_else(|| Error::unsupported("Bus::replies", self.core.broker.capabilities().backend))
    }

    fn flush(&self) -> BusFuture<'_, Result<()>> {
        BusFuture::new(self.core.flush())
    }

    fn health(&self) -> BusFuture<'_, Result<Health>> {
        BusFuture::new(async {
            self.core.check_not_closed("health")?;
            let mut health = self.core.broker.health().await.map_err(|error| error.during("health"))?;
            if self.core.phase() == Phase::Draining {
                health.state = HealthState::Draining;
            }
            Ok(health)
        })
    }

    fn stats(&self) -> BusFuture<'_, Result<BusStats>> {
        BusFuture::new(self.all_stats())
    }

    fn errors(&self) -> ErrorStream {
        self.core.settings.reporter.listen()
    }

    fn capabilities(&self) -> &Capabilities {
        self.core.broker.capabilities()
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

impl<B: Broker> Clone for RemoteBus<B> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), owner: self.owner.clone(), letters: Arc::clone(&self.letters) }
    }
}

impl<B: Broker> fmt::Debug for RemoteBus<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.core.broker.capabilities().backend;
        f.debug_struct("RemoteBus").field("backend", &backend).field("phase", &self.core.phase()).finish_non_exhaustive()
    }
}

/// Makes a backend's own bus type of a [`RemoteBus`]: `remote_bus!(/** … */ pub struct NatsBus(NatsBroker))`.
///
/// Such a type has its own constructors, and hides the rest of the backend.
#[macro_export]
macro_rules! remote_bus {
    ($(#[$docs:meta])* $vis:vis struct $bus:ident($broker:ty)) => {
        $(#[$docs])*
        #[derive(Clone)]
        $vis struct $bus($crate::remote::RemoteBus<$broker>);

        impl ::eventbus_core::Bus for $bus {
            fn publish(&self, event: ::eventbus_core::Event) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<()>> {
                ::eventbus_core::Bus::publish(&self.0, event)
            }

            fn enqueue(
                &self,
                event: ::eventbus_core::Event,
            ) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<::eventbus_core::Receipt>> {
                ::eventbus_core::Bus::enqueue(&self.0, event)
            }

            fn publish_all(
                &self,
                events: ::std::vec::Vec<::eventbus_core::Event>,
            ) -> ::eventbus_core::BusFuture<'_, ::std::vec::Vec<::eventbus_core::Result<()>>> {
                ::eventbus_core::Bus::publish_all(&self.0, events)
            }

            fn subscribe(
                &self,
                subscribe: ::eventbus_core::Subscribe,
                handler: ::std::sync::Arc<dyn ::eventbus_core::Handler>,
            ) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<::eventbus_core::Subscription>> {
                ::eventbus_core::Bus::subscribe(&self.0, subscribe, handler)
            }

            fn delete_group<'a>(&'a self, group: &'a str) -> ::eventbus_core::BusFuture<'a, ::eventbus_core::Result<bool>> {
                ::eventbus_core::Bus::delete_group(&self.0, group)
            }

            fn start(&self) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<()>> {
                ::eventbus_core::Bus::start(&self.0)
            }

            fn dead_letters(&self) -> ::eventbus_core::Result<&dyn ::eventbus_core::DeadLetters> {
                ::eventbus_core::Bus::dead_letters(&self.0)
            }

            fn replies(&self) -> ::eventbus_core::Result<&dyn ::eventbus_core::ReplyTransport> {
                ::eventbus_core::Bus::replies(&self.0)
            }

            fn flush(&self) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<()>> {
                ::eventbus_core::Bus::flush(&self.0)
            }

            fn health(&self) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<::eventbus_core::Health>> {
                ::eventbus_core::Bus::health(&self.0)
            }

            fn stats(&self) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<::eventbus_core::BusStats>> {
                ::eventbus_core::Bus::stats(&self.0)
            }

            fn errors(&self) -> ::eventbus_core::ErrorStream {
                ::eventbus_core::Bus::errors(&self.0)
            }

            fn capabilities(&self) -> &::eventbus_core::Capabilities {
                ::eventbus_core::Bus::capabilities(&self.0)
            }

            fn close(&self) -> ::eventbus_core::BusFuture<'_, ::eventbus_core::Result<()>> {
                ::eventbus_core::Bus::close(&self.0)
            }
        }

        impl ::std::fmt::Debug for $bus {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
