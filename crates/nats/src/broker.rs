//! What the bus needs of NATS, in either mode.

use crate::{
    acks,
    config::{Mode, NatsConfig},
    core::{Core, CoreSource},
    delivery::Token,
    group::GroupSource,
    health,
    jetstream::JetStream,
    letters::Letters,
    link::Link,
    reader::ReaderSource,
    replies::Replies,
};
use eventbus_core::{Capabilities, ErrorKind, Event, Health, HealthState, Plan, ReplyTransport, Result};
use eventbus_runtime::{
    Backlog, Buried, Fetched, Progress, Run, Settled, Source,
    remote::{Broker, Figures, Stored, send_each},
};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A server, and how it is used.
pub(crate) struct NatsBroker {
    link: Link,
    /// Whether the connection is ours to end.
    is_own: bool,
    kind: Kind,
    capabilities: Capabilities,
    replies: Replies,
}

enum Kind {
    JetStream(Box<JetStream>),
    Core(Box<Core>),
}

impl NatsBroker {
    pub(crate) async fn open(link: Link, is_own: bool, config: &NatsConfig) -> Result<Self> {
        let (kind, capabilities) = match config.mode {
            Mode::JetStream => {
                let (jetstream, capabilities) = JetStream::open(link.clone(), config).await?;
                (Kind::JetStream(Box::new(jetstream)), capabilities)
            }
            Mode::Core => {
                let (core, capabilities) = Core::new(link.clone(), config);
                (Kind::Core(Box::new(core)), capabilities)
            }
        };
        Ok(Self { replies: Replies::new(link.clone()), link, is_own, kind, capabilities })
    }
}

/// The answer to an event that was sent.
pub(crate) enum Ack {
    /// JetStream has it.
    Stored(acks::Ack),
    /// It was written to the connection, of which core NATS says no more.
    Written(Pin<Box<dyn Future<Output = Result<Stored>> + Send>>),
}

impl Future for Ack {
    type Output = Result<Stored>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Stored(ack) => Pin::new(ack).poll(cx),
            Self::Written(written) => written.as_mut().poll(cx),
        }
    }
}

impl Broker for NatsBroker {
    type Source = NatsSource;
    type Ack = Ack;
    type Letters = Letters;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, event: &Event) -> Result<Ack> {
        match &self.kind {
            Kind::JetStream(jetstream) => jetstream.send(event).await.map(Ack::Stored),
            Kind::Core(core) => core.send(event).await.map(Ack::Written),
        }
    }

    fn takes_batches(&self) -> bool {
        match &self.kind {
            Kind::JetStream(jetstream) => jetstream.is_atomic(),
            Kind::Core(_) => true,
        }
    }

    async fn send_all(&self, events: &[Event]) -> Vec<Result<Stored>> {
        match &self.kind {
            Kind::JetStream(jetstream) if jetstream.is_atomic() && events.len() > 1 => jetstream.send_all_or_none(events).await,
            Kind::JetStream(_) => send_each(self, events).await,
            Kind::Core(core) => core.send_all(events).await,
        }
    }

    async fn subscribe(&self, plan: &Plan) -> Result<NatsSource> {
        Ok(match (&self.kind, &plan.group) {
            (Kind::JetStream(jetstream), Some(group)) => NatsSource::Group(Box::new(jetstream.join(plan, group).await?)),
            (Kind::JetStream(jetstream), None) => NatsSource::Reader(Box::new(jetstream.read(plan).await?)),
            (Kind::Core(core), _) => NatsSource::Core(Box::new(core.subscribe(plan).await?)),
        })
    }

    async fn leave(&self, source: &NatsSource) {
        match (&self.kind, source) {
            (Kind::JetStream(jetstream), NatsSource::Group(source)) => jetstream.leave(source).await,
            (_, NatsSource::Reader(source)) => source.leave().await,
            (_, NatsSource::Core(source)) => source.leave(),
            (Kind::Core(_), NatsSource::Group(_)) => {}
        }
    }

    async fn delete_group(&self, group: &str) -> Result<bool> {
        match &self.kind {
            Kind::JetStream(jetstream) => jetstream.delete_group(group).await,
            // There is nothing of a queue group but its members.
            Kind::Core(_) => Ok(false),
        }
    }

    fn letters(&self) -> Option<&Letters> {
        match &self.kind {
            Kind::JetStream(jetstream) => Some(jetstream.letters()),
            Kind::Core(_) => None,
        }
    }

    fn replies(&self) -> Option<&dyn ReplyTransport> {
        Some(&self.replies)
    }

    async fn health(&self) -> Result<Health> {
        let mut health = health::of_connection(&self.link).await?;
        match &self.kind {
            Kind::JetStream(jetstream) if health.state == HealthState::Connected => match jetstream.warnings().await {
                Ok(warnings) => health.warnings = warnings,
                Err(error) if error.kind() == ErrorKind::Unavailable => health.warnings.push(format!("JetStream does not answer: {error}")),
                Err(error) => return Err(error),
            },
            Kind::JetStream(_) => {}
            Kind::Core(_) => {
                health.warnings.push("mode=core keeps nothing: whoever is not subscribed when an event is published misses it".to_owned());
            }
        }
        Ok(health)
    }

    async fn figures(&self) -> Result<Figures> {
        match &self.kind {
            Kind::JetStream(jetstream) => jetstream.figures().await,
            Kind::Core(core) => Ok(core.figures()),
        }
    }

    async fn close(&self) {
        if self.is_own && self.link.is_up() {
            // What was sent last leaves before the connection ends.
            let _ = self.link.client.flush().await;
        }
        if self.is_own {
            let _ = self.link.client.drain().await;
        }
    }
}

/// What a subscription fetches from.
pub(crate) enum NatsSource {
    Group(Box<GroupSource>),
    Reader(Box<ReaderSource>),
    Core(Box<CoreSource>),
}

/// Does the same with each kind of source.
macro_rules! each {
    ($source:expr, $inner:ident => $does:expr) => {
        match $source {
            NatsSource::Group($inner) => $does,
            NatsSource::Reader($inner) => $does,
            NatsSource::Core($inner) => $does,
        }
    };
}

impl Source for NatsSource {
    type Token = Token;

    async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        each!(self, source => source.fetch(max).await)
    }

    async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        each!(self, source => source.settle(settled).await)
    }

    async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        each!(self, source => source.bury(buried).await)
    }

    fn prefetch(&self) -> usize {
        each!(self, source => source.prefetch())
    }

    fn lease(&self) -> Option<Duration> {
        each!(self, source => source.lease())
    }

    async fn extend(&self, held: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        each!(self, source => source.extend(held).await)
    }

    fn progressed(&self) {
        each!(self, source => source.progressed());
    }

    fn waiting_since(&self, token: &Token) -> Option<Duration> {
        each!(self, source => source.waiting_since(token))
    }

    fn sequence(&self, token: &Token) -> Option<u64> {
        each!(self, source => source.sequence(token))
    }

    async fn measure(&self) -> Result<()> {
        each!(self, source => Source::measure(&**source).await)
    }

    fn progress(&self) -> &Progress {
        each!(self, source => source.progress())
    }

    fn backlog(&self) -> Backlog {
        each!(self, source => source.backlog())
    }
}
