//! A subscription without a stream.
//!
//! The client library drops what a full subscription is not read of, and tells nobody how much that was. So whatever arrives is taken at once
//! into a buffer of our own, which is as large as the subscription says, and what does not fit is dropped by its rule and counted.

use crate::{
    delivery::{self, Token, unreadable},
    filter::{self, Filter},
    health,
    link::Link,
    names,
    unstarted::Unstarted,
};
use async_nats::{Message, Subscriber};
use eventbus_core::{DeadLetterPolicy, Error, ErrorKind, Event, GroupStats, Overflow, Plan, Result};
use eventbus_runtime::{Backlog, Batch, Buried, Fetched, Progress, Run, Settled, Source};
use futures_core::Stream as _;
use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot};

/// A subscription.
pub(crate) struct CoreSource {
    shared: Arc<Shared>,
    link: Link,
    prefix: String,
    at_once: usize,
    /// Whoever sends here is told when all that had arrived is in the buffer.
    fences: mpsc::Sender<oneshot::Sender<()>>,
    taking: tokio::task::JoinHandle<()>,
}

/// What taking in and fetching share.
pub(crate) struct Shared {
    group: Option<String>,
    buffer: usize,
    buffer_bytes: usize,
    drop_oldest: bool,
    filter: Filter,
    queue: Mutex<Queue>,
    arrived: Notify,
    progress: Progress,
    left: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Event, Token, Option<Error>)>,
    bytes: usize,
    /// What the engine has fetched and not started, and not settled.
    unstarted: Unstarted,
    unsettled: BTreeMap<u64, Token>,
    dropped: u64,
    /// How many messages have arrived: what names one that cannot be read.
    count: u64,
    /// The subscription has come to its end.
    ended: bool,
}

impl CoreSource {
    pub(crate) async fn begin(link: &Link, prefix: &str, plan: &Plan) -> Result<Self> {
        // One subscription for all patterns, since two would not keep the order of events.
        let subject = filter::subjects(prefix, &plan.patterns, false).pop().unwrap_or_else(|| format!("{prefix}.>"));
        let exact = filter::subjects(prefix, &plan.patterns, true) == [subject.clone()] && filter::is_narrow(&plan.patterns);
        let subscribed = match &plan.group {
            Some(group) => link.client.queue_subscribe(subject, names::consumer(group)).await,
            None => link.client.subscribe(subject).await,
        };
        let arriving =
            subscribed.map_err(|error| Error::new(ErrorKind::Unavailable, "the subscription could not be made").caused_by(error))?;
        // Once a message to ourselves is back, the server knows of the subscription.
        health::round_trip(link).await?;
        let shared = Arc::new(Shared {
            group: plan.group.clone(),
            buffer: plan.buffer,
            buffer_bytes: plan.buffer_bytes,
            drop_oldest: plan.overflow == Overflow::DropOldest,
            filter: Filter::new(prefix, &plan.patterns, exact),
            queue: Mutex::default(),
            arrived: Notify::new(),
            progress: Progress::default(),
            left: AtomicBool::new(false),
        });
        let (fences, fenced) = mpsc::channel(8);
        let taking = tokio::spawn(take_in(Arc::clone(&shared), arriving, fenced));
        let at_once = plan.concurrency.saturating_mul(plan.batch.map_or(1, |batch| batch.max));
        Ok(Self { shared, link: link.clone(), prefix: prefix.to_owned(), at_once, fences, taking })
    }

    pub(crate) fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(crate) fn leave(&self) {
        self.shared.left.store(true, SeqCst);
        self.taking.abort();
    }

    /// Waits until all that the server had sent is in the buffer.
    async fn until_taken_in(&self) -> Result<()> {
        health::round_trip(&self.link).await?;
        let (told, telling) = oneshot::channel();
        if self.fences.send(told).await.is_ok() {
            // Where the task has ended meanwhile, nothing arrives any more.
            let _ = telling.await;
        }
        Ok(())
    }
}

impl Drop for CoreSource {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Takes in whatever arrives.
async fn take_in(shared: Arc<Shared>, mut arriving: Subscriber, mut fenced: mpsc::Receiver<oneshot::Sender<()>>) {
    loop {
        // Arrivals first: whoever asks is answered when there is nothing left.
        tokio::select! {
            biased;
            message = poll_fn(|cx| std::pin::Pin::new(&mut arriving).poll_next(cx)) => match message {
                Some(message) => shared.take(&message),
                None => break,
            },
            Some(fence) = fenced.recv() => {
                let _ = fence.send(());
            }
        }
    }
    shared.queue().ended = true;
    shared.arrived.notify_one();
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(SeqCst)
    }

    /// Adds what this member has to the figures of its group.
    pub(crate) fn add_to(&self, stats: &mut GroupStats) {
        let mut queue = self.queue();
        stats.members += 1;
        stats.lag += queue.lag();
        let unstarted = queue.unstarted.len(self.progress.started());
        stats.in_flight += queue.unsettled.len().saturating_sub(unstarted) as u64;
        let held = queue.unsettled.first_key_value().map(|(_, token)| token.waited());
        stats.oldest_unacknowledged = stats.oldest_unacknowledged.max(held).max(queue.oldest());
    }

    fn take(&self, message: &Message) {
        if !self.filter.wants(&message.subject) {
            return;
        }
        let mut queue = self.queue();
        queue.count += 1;
        let count = queue.count;
        let (event, read) = delivery::read(message, &self.filter, || format!("message-{count}"));
        let fault = read.err().map(|error| unreadable(error, &message.subject, count));
        let token = Token { sequence: count, ..Token::of_message(message.length) };
        let started = self.progress.started();
        while !queue.has_room(self, token.bytes, started) {
            queue.dropped += 1;
            // What the engine has fetched is no longer here to be dropped.
            let oldest = if self.drop_oldest { queue.waiting.pop_front() } else { None };
            let Some((_, oldest, _)) = oldest else { return };
            queue.bytes -= oldest.bytes;
        }
        queue.bytes += token.bytes;
        queue.waiting.push_back((event, token, fault));
        drop(queue);
        self.arrived.notify_one();
    }
}

impl Queue {
    fn has_room(&mut self, limits: &Shared, bytes: usize, started: u64) -> bool {
        let count = self.waiting.len() + self.unstarted.len(started);
        let waiting = self.bytes + self.unstarted.bytes(started);
        // One is let in, however large.
        count < limits.buffer && (count == 0 || waiting + bytes <= limits.buffer_bytes)
    }

    fn fetch(&mut self, max: usize) -> Option<Fetched<Token>> {
        let (event, token, fault) = self.waiting.pop_front_if(|_| max > 0)?;
        self.hand_over(&token);
        if let Some(fault) = fault {
            return Some(Fetched::Undecodable(Run::one(event, token, 1), fault));
        }
        let mut deliveries = vec![(event, token)];
        while deliveries.len() < max
            && let Some((event, token, _)) = self.waiting.pop_front_if(|(_, _, fault)| fault.is_none())
        {
            self.hand_over(&token);
            deliveries.push((event, token));
        }
        let batch: Batch<Token> = deliveries.into_iter().collect();
        let places = batch.places();
        Some(Fetched::Run(Run::new(Arc::new(batch), 0..places, 1)))
    }

    fn hand_over(&mut self, token: &Token) {
        self.bytes -= token.bytes;
        self.unsettled.insert(token.sequence, token.clone());
        self.unstarted.add(token.bytes);
    }

    fn lag(&self) -> u64 {
        (self.waiting.len() + self.unsettled.len()) as u64
    }

    /// How long the first has waited that the engine does not have.
    fn oldest(&self) -> Option<Duration> {
        self.waiting.front().map(|(_, token, _)| token.waited())
    }

    /// Whatever became of them, they do not come again.
    fn let_go(&mut self, run: &Run<Token>) {
        for (_, token) in run.iter() {
            self.unsettled.remove(&token.sequence);
        }
    }
}

impl Source for CoreSource {
    type Token = Token;

    async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        loop {
            {
                let mut queue = self.shared.queue();
                if let Some(fetched) = queue.fetch(max) {
                    return Ok(fetched);
                }
                if queue.ended {
                    break;
                }
            }
            self.shared.arrived.notified().await;
        }
        Err(self.link.gone().await)
    }

    async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        let mut queue = self.shared.queue();
        settled.drain(..).for_each(|settled| queue.let_go(&settled.run));
        Ok(())
    }

    async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        if let DeadLetterPolicy::Publish(target) = &buried.policy {
            let message = crate::publish::Outgoing::new(&self.prefix, &buried.letter.to_event(Some(target)))?;
            self.link.check()?;
            self.link.publish(message.subject, Some(message.headers), message.payload).await?;
        }
        self.shared.queue().let_go(&buried.run);
        Ok(())
    }

    fn prefetch(&self) -> usize {
        // What may be dropped must stay where it can be.
        if self.shared.drop_oldest { self.at_once } else { usize::MAX }
    }

    fn waiting_since(&self, token: &Token) -> Option<Duration> {
        Some(token.waited())
    }

    fn measure(&self) -> impl Future<Output = Result<()>> + Send {
        self.until_taken_in()
    }

    fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    fn backlog(&self) -> Backlog {
        let queue = self.shared.queue();
        let mut backlog = Backlog::default();
        backlog.lag = Some(queue.lag());
        backlog.oldest = queue.oldest();
        backlog.dropped = queue.dropped;
        backlog
    }
}
