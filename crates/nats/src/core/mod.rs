//! Core NATS: plain messages, which whoever is subscribed at that moment gets, at most once.

mod source;

pub(crate) use self::source::CoreSource;

use self::source::Shared;
use crate::{
    BACKEND,
    config::NatsConfig,
    link::Link,
    publish::{Limits, Outgoing},
};
use eventbus_core::{Capabilities, Event, GroupStats, Plan, Result, cloudevents::nats};
use eventbus_runtime::remote::{Figures, Stored};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Mutex, PoisonError, Weak},
};

/// Publishing and subscribing without a stream.
pub(crate) struct Core {
    link: Link,
    prefix: String,
    limits: Limits,
    /// The subscriptions of this process.
    sources: Mutex<Vec<Weak<Shared>>>,
}

impl Core {
    pub(crate) fn new(link: Link, config: &NatsConfig) -> (Self, Capabilities) {
        let limits = Limits::of(link.client.max_payload(), config.max_payload);
        let mut capabilities = Capabilities::none(BACKEND);
        // Queue groups: they share the events as long as there are members.
        capabilities.groups = true;
        capabilities.drops = true;
        capabilities.requests = true;
        capabilities.hold = config.hold.is_some();
        capabilities.max_payload = limits.payload;
        (Self { link, prefix: config.prefix.clone(), limits, sources: Mutex::default() }, capabilities)
    }

    /// Hands an event to the connection. It is acknowledged when it has been written there: no server says more.
    pub(crate) async fn send(&self, event: &Event) -> Result<Pin<Box<dyn Future<Output = Result<Stored>> + Send>>> {
        let written = self.written();
        self.hand_over(event).await?;
        Ok(Box::pin(async move { written.await.map(|()| Stored::New) }))
    }

    /// The same for several, which are written together.
    pub(crate) async fn send_all(&self, events: &[Event]) -> Vec<Result<Stored>> {
        let (written, mut handed) = (self.written(), Vec::with_capacity(events.len()));
        for event in events {
            handed.push(self.hand_over(event).await);
        }
        let written = written.await;
        handed.into_iter().map(|handed| handed.and_then(|()| written.clone()).map(|()| Stored::New)).collect()
    }

    async fn hand_over(&self, event: &Event) -> Result<()> {
        let message = Outgoing::new(&self.prefix, event)?.with_id(&nats::message_id(event));
        message.check_size(self.limits.message)?;
        self.link.check()?;
        self.link.publish(message.subject, Some(message.headers), message.payload).await
    }

    /// Resolves when all that was handed over before it is first polled has been written to the connection. One that is lost from now on has
    /// taken with it what was handed over.
    fn written(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let (client, link) = (self.link.client.clone(), self.link.clone());
        let flushed = self.link.answered("".into(), async move { client.flush().await });
        async move {
            match flushed.await? {
                Ok(()) => Ok(()),
                Err(error) => Err(link.gone().await.caused_by(error)),
            }
        }
    }

    pub(crate) async fn subscribe(&self, plan: &Plan) -> Result<CoreSource> {
        self.link.check()?;
        let source = CoreSource::begin(&self.link, &self.prefix, plan).await?;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        sources.push(source.shared());
        Ok(source)
    }

    /// The groups of this process. Of others nobody knows.
    pub(crate) fn figures(&self) -> Figures {
        let sources: Vec<_> = self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        let mut groups: BTreeMap<String, GroupStats> = BTreeMap::new();
        for source in sources {
            let Some(group) = source.group().filter(|_| !source.has_left()) else { continue };
            let stats = groups.entry(group.to_owned()).or_default();
            group.clone_into(&mut stats.name);
            source.add_to(stats);
        }
        Figures { groups: groups.into_values().collect(), ..Figures::default() }
    }
}
