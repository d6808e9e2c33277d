//! What the consumer engine fetches from and settles with: a member of a group, a reader of its own, or a listener.

pub(crate) mod fanout;
pub(crate) mod group;
pub(crate) mod listener;

use crate::{
    entry::{Decoded, Entry, EntryId},
    error::unavailable,
};
use eventbus_core::{EventType, Plan, Result};
use eventbus_runtime::{Backlog, Buried, Fetched, Progress, Run, Settled, Source};
use fanout::FanOut;
use group::GroupMember;
use listener::Listener;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Work that goes on while nobody waits for it, and is never lost half-way.
pub(crate) type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that asks several times, one after the other, and gets on with that while nobody polls. It ends where nobody has it any more.
pub(crate) fn by_itself<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Step<Result<T>> {
    let mut task = tokio::task::JoinSet::new();
    task.spawn(work);
    Box::pin(async move {
        let outcome = task.join_next().await.and_then(std::result::Result::ok);
        outcome.unwrap_or_else(|| Err(unavailable("what was asked of the server was interrupted")))
    })
}

/// Where a delivery comes from.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) partition: u32,
    pub(crate) id: EntryId,
    /// Of deliveries of a group.
    pub(crate) lease: Option<Arc<Lease>>,
}

/// Until when a member surely has what arrived together, by the server's clock in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Lease(AtomicU64);

impl Lease {
    pub(crate) fn until(millis: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(millis)))
    }

    pub(crate) fn extend(&self, millis: u64) {
        self.0.fetch_max(millis, Relaxed);
    }

    pub(crate) fn end(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The source of one subscription.
pub(crate) enum RedisSource {
    Group(Box<GroupMember>),
    FanOut(Box<FanOut>),
    Listener(Box<Listener>),
}

/// Calls the same on whichever source it is.
macro_rules! each {
    ($self:expr, $source:ident => $call:expr) => {
        match $self {
            Self::Group($source) => $call,
            Self::FanOut($source) => $call,
            Self::Listener($source) => $call,
        }
    };
}

impl Source for RedisSource {
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
        match self {
            Self::Listener(listener) => listener.prefetch(),
            Self::Group(_) | Self::FanOut(_) => usize::MAX,
        }
    }

    fn lease(&self) -> Option<Duration> {
        match self {
            Self::Group(member) => Some(member.lease()),
            Self::FanOut(_) | Self::Listener(_) => None,
        }
    }

    async fn extend(&self, held: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        match self {
            Self::Group(member) => member.extend(held).await,
            Self::FanOut(_) | Self::Listener(_) => Ok(Vec::new()),
        }
    }

    fn waiting_since(&self, token: &Token) -> Option<Duration> {
        Some(token.id.age())
    }

    fn sequence(&self, token: &Token) -> Option<u64> {
        match self {
            Self::Group(member) => member.sequence(token),
            Self::FanOut(reader) => reader.sequence(token),
            Self::Listener(_) => None,
        }
    }

    fn progress(&self) -> &Progress {
        each!(self, source => source.progress())
    }

    async fn measure(&self) -> Result<()> {
        each!(self, source => source.measure().await)
    }

    fn backlog(&self) -> Backlog {
        each!(self, source => source.backlog())
    }
}

/// What an entry is to a subscription: nothing where no pattern of it wants the entry. What is no event and says no type that could be
/// used is everybody's.
pub(crate) fn sift(plan: &Plan, entry: &Entry, stream: &str) -> Option<Decoded> {
    let matches = |event_type: &EventType| plan.patterns.iter().any(|pattern| pattern.matches(event_type));
    if let Some(Ok(said)) = entry.said_type().map(EventType::new)
        && !matches(&said)
    {
        return None;
    }
    let event = entry.event(stream);
    // A structured event says its type inside.
    if event.as_ref().is_ok_and(|event| !matches(event.event_type())) { None } else { Some(event) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test(start_paused = true)]
    async fn what_asks_several_times_gets_on_while_nobody_polls_and_ends_with_its_owner() {
        let ((first, answered), (second, mut asked)) = (oneshot::channel::<()>(), oneshot::channel());
        let step = by_itself(async {
            answered.await.unwrap();
            second.send(()).unwrap();
            Ok(())
        });
        first.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), &mut asked).await.expect("it asks again").unwrap();
        step.await.unwrap();

        let (mut third, nobody) = oneshot::channel::<()>();
        drop(by_itself(async { nobody.await.map_err(|_| unavailable("gone")) }));
        tokio::time::timeout(Duration::from_secs(60), third.closed()).await.expect("it ended");
    }
}
