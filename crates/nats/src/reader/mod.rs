//! A subscription without a group: reads the stream from its place on, by a consumer of its own that acknowledges nothing.
//!
//! All that matters is here and dies with the process: how far it has read, and what failed and waits to be tried again. The consumer at the
//! server may be lost at any time; another one then goes on behind the last event that arrived.

mod fetch;

use self::fetch::Reading;
use crate::{
    api::{AckPolicy, ConsumerConfig, DeliverPolicy, found, reason},
    delivery::Token,
    filter,
    group::Grounds,
    unstarted::Unstarted,
};
use eventbus_core::{DeadLetterPolicy, Error, Event, Plan, Result, Start};
use eventbus_runtime::{Backlog, Buried, Fetched, Outcome, Progress, PutBack, Settled, Source};
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// For how long a server keeps the consumer of a process that is gone.
const INACTIVE: Duration = Duration::from_secs(300);

/// A reader of the stream.
pub(crate) struct ReaderSource {
    grounds: Grounds,
    plan: Plan,
    reading: tokio::sync::Mutex<Reading>,
    state: Mutex<State>,
    back: PutBack<Token>,
    progress: Progress,
    progressed: Notify,
    /// What its dead letters are told apart by.
    name: String,
}

struct State {
    arrived: VecDeque<(Event, Token, Option<Error>)>,
    /// Where to go on.
    place: From,
    /// When the newest was stored of what has arrived, as [`Token::stored_at`]; 0 where nothing has.
    newest: u64,
    /// When the stream was made.
    stream_born: String,
    consumer: Consumer,
    /// Deliveries that the engine has fetched and that are not settled.
    unsettled: u64,
    unstarted: Unstarted,
    lost_to_retention: u64,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// The place of the next event.
    Sequence(u64),
    /// The first event from then on.
    Time(String),
}

/// The consumer that is asked at the moment.
#[derive(Debug, Clone, Default)]
struct Consumer {
    name: String,
    /// How many deliveries of it have arrived.
    arrived: u64,
    /// How many it will have made when everything known was delivered.
    known: u64,
}

impl ReaderSource {
    pub(crate) async fn begin(grounds: Grounds, plan: &Plan) -> Result<Self> {
        let stream = grounds.api.stream(&grounds.stream).await?;
        let place = match &plan.start {
            Start::Earliest => From::Sequence(1),
            Start::Sequence(sequence) => From::Sequence(*sequence),
            Start::Time(time) => From::Time(time.to_string()),
            _ => From::Sequence(stream.state.last_seq + 1),
        };
        let (consumer, reading) = fetch::begin(&grounds, plan, &place).await?;
        let name = reading.puller.name().to_owned();
        let state = State {
            arrived: VecDeque::new(),
            place,
            newest: 0,
            stream_born: stream.created,
            consumer,
            unsettled: 0,
            unstarted: Unstarted::default(),
            lost_to_retention: 0,
        };
        Ok(Self {
            grounds,
            plan: plan.clone(),
            reading: tokio::sync::Mutex::new(reading),
            state: Mutex::new(state),
            back: PutBack::new(plan),
            progress: Progress::default(),
            progressed: Notify::new(),
            name,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server what waits.
    async fn ask_what_waits(&self) -> Result<()> {
        let name = self.state().consumer.name.clone();
        let (api, stream) = (&self.grounds.api, &self.grounds.stream);
        let Some(info) = found(api.consumer(stream, &name).await, &[reason::NO_CONSUMER])? else {
            // It will be made again when something is fetched. Until then all that can be said is whether anything is there.
            let last = api.stream(stream).await?.state.last_seq;
            let mut state = self.state();
            let may_wait = !matches!(state.place, From::Sequence(next) if next > last);
            state.consumer.known = state.consumer.arrived + u64::from(may_wait);
            return Ok(());
        };
        let mut state = self.state();
        if state.consumer.name == name {
            state.consumer.known = info.delivered.consumer_seq + info.num_pending;
        }
        Ok(())
    }

    fn is_done(&self, deliveries: usize) {
        let mut state = self.state();
        state.unsettled = state.unsettled.saturating_sub(deliveries as u64);
    }

    /// The reader leaves: its consumer is of no use to anybody.
    pub(crate) async fn leave(&self) {
        if self.grounds.api.link.is_up() {
            let name = self.state().consumer.name.clone();
            let _ = self.grounds.api.delete_consumer(&self.grounds.stream, &name).await;
        }
    }
}

/// The consumer to be made.
fn consumer(grounds: &Grounds, plan: &Plan, place: &From, name: String) -> ConsumerConfig {
    let deliver = match place {
        From::Sequence(sequence) => DeliverPolicy::ByStartSequence { opt_start_seq: *sequence },
        From::Time(time) => DeliverPolicy::ByStartTime { opt_start_time: time.clone() },
    };
    let config = ConsumerConfig {
        name,
        durable_name: None,
        description: String::new(),
        deliver,
        ack_policy: AckPolicy::None,
        ack_wait: Duration::ZERO,
        max_deliver: -1,
        max_ack_pending: 0,
        filter_subject: String::new(),
        filter_subjects: Vec::new(),
        inactive_threshold: INACTIVE,
        num_replicas: 1,
        mem_storage: true,
        headers_only: false,
    };
    config.with_filters(filter::subjects(&grounds.prefix, &plan.patterns, grounds.filters))
}

impl Source for ReaderSource {
    type Token = Token;

    async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        self.fetch_some(max).await
    }

    async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        for Settled { run, outcome } in settled.drain(..) {
            match outcome {
                Outcome::Retry { after, ticket } => self.back.put(&run, after, ticket),
                _ => self.is_done(run.len()),
            }
        }
        Ok(())
    }

    async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        let id = format!("{}#{}", self.name, buried.run.first().1.sequence);
        match &buried.policy {
            DeadLetterPolicy::Discard => {}
            DeadLetterPolicy::Publish(target) => self.grounds.letters.publish(&buried.letter, target, &id).await?,
            _ => self.grounds.letters.store(&buried.letter, &id).await?,
        }
        self.is_done(1);
        Ok(())
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
        self.ask_what_waits()
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn backlog(&self) -> Backlog {
        let state = self.state();
        let Consumer { arrived, known, .. } = state.consumer;
        let mut backlog = Backlog::default();
        backlog.lag = Some(known.saturating_sub(arrived) + state.arrived.len() as u64 + state.unsettled);
        backlog.oldest = state.arrived.front().map(|(_, token, _)| token.waited());
        backlog.lost_to_retention = state.lost_to_retention;
        drop(state);
        self.back.each(|run| backlog.oldest = backlog.oldest.max(Some(run.first().1.waited())));
        backlog
    }
}
