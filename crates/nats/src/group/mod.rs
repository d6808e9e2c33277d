//! One member of a group: a durable consumer of the stream, which all members share.

mod declaration;
mod fetch;
mod gap;
mod lease;
mod ledger;
mod members;
mod recover;
mod released;
mod settle;
mod settled;

pub(crate) use self::{
    declaration::{Declaration, beginning},
    members::{Lag, Members},
    released::ReleasedCounts,
};

use self::{fetch::Reading, gap::Trace, ledger::Ledger};
use crate::{
    api::{Api, ConsumerInfo, StreamInfo, found, reason},
    delivery::Token,
    filter::{self, Filter},
    letters::Letters,
    publish::Publisher,
    pull::Puller,
};
use eventbus_core::{Plan, Result};
use eventbus_runtime::{Backlog, Buried, Fetched, Progress, Run, Settled, Source};
use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// What all members of a bus share.
#[derive(Clone)]
pub(crate) struct Grounds {
    pub(crate) api: Api,
    pub(crate) publisher: Publisher,
    pub(crate) stream: String,
    pub(crate) prefix: Arc<str>,
    /// Whether the server takes several filters.
    pub(crate) filters: bool,
    pub(crate) lease: Duration,
    pub(crate) confirmed_acks: bool,
    pub(crate) letters: Arc<Letters>,
    pub(crate) released: ReleasedCounts,
}

/// A member of a group.
pub(crate) struct GroupSource {
    grounds: Grounds,
    plan: Plan,
    declaration: Declaration,
    /// The name of the consumer.
    name: String,
    reading: tokio::sync::Mutex<Reading>,
    ledger: Mutex<Ledger>,
    known: Mutex<Known>,
    lag: Arc<Lag>,
    progress: Progress,
    /// Something was started, so that there may be room.
    progressed: Notify,
    lease: Duration,
}

/// What is known of stream and consumer.
#[derive(Debug, Clone)]
struct Known {
    /// When the stream was made.
    stream_born: String,
    /// A word that only this consumer of the name has.
    born: Arc<str>,
    /// Up to where everything is settled.
    floor: u64,
    /// Of which incarnation of the stream deliveries are.
    epoch: u64,
}

impl GroupSource {
    /// Joins a group, which is made where there is none.
    pub(crate) async fn join(grounds: Grounds, plan: &Plan, group: &str) -> Result<Self> {
        let declaration = Declaration::of(plan, group);
        let stream = grounds.api.stream(&grounds.stream).await?;
        let consumer = make(&grounds, plan, &declaration, beginning(&plan.start)).await?;
        let filter = filter(&grounds, plan, &consumer)?;
        if let Err(error) = grounds.released.prepare().await {
            tracing::warn!(target: "eventbus", group, %error, "what members give back unstarted will count as an attempt");
        }
        let connection = grounds.api.link.connection();
        let puller = Puller::new(&grounds.api.link, &grounds.stream, &consumer.name).await?;
        let lease = if consumer.config.ack_wait.is_zero() { grounds.lease } else { consumer.config.ack_wait };
        Ok(Self {
            name: consumer.name.clone(),
            known: Mutex::new(Known::of(&stream, &consumer, 0)),
            reading: tokio::sync::Mutex::new(Reading::new(puller, filter, Trace::from(&consumer, connection))),
            ledger: Mutex::new(Ledger::new(&consumer)),
            lag: Arc::default(),
            progress: Progress::default(),
            progressed: Notify::new(),
            plan: plan.clone(),
            declaration,
            grounds,
            lease,
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn epoch(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    fn learn(&self, learn: impl FnOnce(&mut Known)) {
        learn(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether a delivery is of the stream that is there now. Outcomes of another one mean nothing.
    fn is_current(&self, token: &Token) -> bool {
        token.epoch == self.epoch()
    }

    /// What its group has not acknowledged.
    pub(crate) fn lag(&self) -> &Arc<Lag> {
        &self.lag
    }

    /// The group that it is a member of.
    pub(crate) fn group(&self) -> &str {
        &self.declaration.group
    }

    /// Asks the server what waits.
    pub(crate) async fn measure(&self) -> Result<()> {
        let asked = Instant::now();
        let info = self.grounds.api.consumer(&self.grounds.stream, &self.name).await?;
        self.note(asked, &info);
        Ok(())
    }

    fn note(&self, asked: Instant, info: &ConsumerInfo) {
        let floor = info.ack_floor.stream_seq;
        if *self.known().born == *born(info) {
            self.learn(|known| known.floor = known.floor.max(floor));
            self.ledger().settle_to(floor);
        }
        self.lag.note(asked, info.num_pending + info.num_ack_pending);
    }
}

impl Known {
    fn of(stream: &StreamInfo, consumer: &ConsumerInfo, epoch: u64) -> Self {
        Self { stream_born: stream.created.clone(), born: born(consumer).into(), floor: consumer.ack_floor.stream_seq, epoch }
    }
}

/// A word that only this consumer of the name has. The time when it was made is none: servers change it a little when they are restarted.
fn born(consumer: &ConsumerInfo) -> String {
    Declaration::read(consumer).map_or_else(String::new, |declaration| declaration.born)
}

/// Finds the consumer of a group or makes it. Several may do so at once.
async fn make(grounds: &Grounds, plan: &Plan, declaration: &Declaration, deliver: crate::api::DeliverPolicy) -> Result<ConsumerInfo> {
    let subjects = filter::subjects(&grounds.prefix, &plan.patterns, grounds.filters);
    let wanted = declaration.consumer(deliver, subjects, grounds.lease);
    let (api, stream) = (&grounds.api, &grounds.stream);
    if let Some(info) = found(api.consumer(stream, &wanted.name).await, &[reason::NO_CONSUMER])? {
        declaration.check(&info)?;
        return Ok(info);
    }
    let info = match api.create_consumer(stream, &wanted).await {
        Ok(info) => info,
        Err(failure) if failure.is(reason::CONSUMER_EXISTS) || failure.is(reason::CONSUMER_IN_USE) => {
            api.consumer(stream, &wanted.name).await?
        }
        Err(failure) => return Err(failure.into()),
    };
    declaration.check(&info)?;
    Ok(info)
}

/// What is left to us of filtering.
fn filter(grounds: &Grounds, plan: &Plan, consumer: &ConsumerInfo) -> Result<Filter> {
    let exact = declaration::is_exact(&grounds.prefix, plan, consumer)?;
    Ok(Filter::new(&grounds.prefix, &plan.patterns, exact))
}

impl Source for GroupSource {
    type Token = Token;

    async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        self.fetch_some(max).await
    }

    async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        self.settle_all(settled).await
    }

    async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        self.bury_one(buried).await
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    async fn extend(&self, held: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        self.extend_all(held).await
    }

    fn progressed(&self) {
        self.progressed.notify_one();
    }

    fn waiting_since(&self, token: &Token) -> Option<Duration> {
        Some(token.waited())
    }

    fn sequence(&self, token: &Token) -> Option<u64> {
        Some(token.sequence)
    }

    fn measure(&self) -> impl Future<Output = Result<()>> + Send {
        self.measure()
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.lag = self.lag.get();
        backlog.oldest = self.ledger().oldest();
        backlog
    }
}
