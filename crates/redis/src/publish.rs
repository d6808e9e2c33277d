//! Publishing: what is sent at the same time shares one way to the server and back.
//!
//! An event that finds nothing else on its way is sent at once, by its publisher. While answers are awaited, further events gather, and go
//! together in lots, of which two are on their way at a time. So one alone waits for nothing, many are as fast as if they were one, and
//! the server works on one lot while the next is written.
//!
//! Where the server cannot be reached, or takes nothing now, what waits behind the lot that found out is not sent but told the same: it
//! would be stored before that lot is sent again, and would wait for a connection of its own first.

use crate::{
    encode::Encoder,
    link::{Link, Live},
    trim::Trimmer,
};
use eventbus_core::{Error, ErrorKind, Event, Result};
use eventbus_runtime::remote::{Stored, is_outage};
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};

/// How many events go together at the most.
const MOST: usize = 128;
/// The same where the server stores nothing: it is done with them before the next lot is written, and each way costs more than that.
const MOST_UNSTORED: usize = 512;
/// How many lots are on their way at the most.
const LOTS: usize = 2;
/// How many bytes of data they have at the most, unless one event alone has more.
const MOST_BYTES: usize = 1024 * 1024;
/// How many events may gather before publishers have to wait.
const GATHERED: usize = 8192;

/// Sends events to one server.
pub(crate) struct Publisher {
    way: Arc<Way>,
    queue: mpsc::Sender<Job>,
    task: tokio::task::JoinHandle<()>,
}

/// The way to the server and back.
struct Way {
    link: Arc<Link>,
    encoder: Arc<Encoder>,
    trimmer: Arc<Trimmer>,
    /// How many events were handed over and are not answered.
    unanswered: AtomicUsize,
    /// How many outages were found by lots that had gathered.
    outages: AtomicU64,
}

/// An event and its partition, and whom to tell.
struct Job {
    post: (Event, u32),
    /// How many outages there had been when it was handed over, or the first of those that were handed over together.
    outages: u64,
    answer: oneshot::Sender<Result<Stored>>,
}

/// A lot on its way, and what becomes of its events.
type Sending = Pin<Box<dyn Future<Output = Vec<Result<Stored>>> + Send>>;

/// The server's answer to an event.
pub(crate) enum Ack {
    Alone(Pin<Box<dyn Future<Output = Result<Stored>> + Send>>),
    Together(oneshot::Receiver<Result<Stored>>),
    Known(Option<Result<Stored>>),
}

impl Publisher {
    pub(crate) fn new(link: Arc<Link>, encoder: Arc<Encoder>, trimmer: Arc<Trimmer>) -> Self {
        let (queue, jobs) = mpsc::channel(GATHERED);
        let way = Arc::new(Way { link, encoder, trimmer, unanswered: AtomicUsize::new(0), outages: AtomicU64::new(0) });
        let task = tokio::spawn(send_gathered(Arc::clone(&way), jobs));
        Self { way, queue, task }
    }

    /// Hands an event over, in the order of the calls.
    pub(crate) async fn send(&self, event: &Event, partition: u32) -> Result<Ack> {
        Encoder::check(event)?;
        let post = (event.clone(), partition);
        if let Some(live) = self.way.link.live()
            && self.way.unanswered.compare_exchange(0, 1, SeqCst, SeqCst).is_ok()
        {
            return Ok(self.way.send_alone(live, post).await);
        }
        self.gather(post, self.way.outages()).await
    }

    /// Sends events in their order and waits for all answers. Where nothing else is on its way they go as they are, else with the rest.
    pub(crate) async fn send_all(&self, posts: Vec<(Event, u32)>) -> Vec<Result<Stored>> {
        let writable = posts.iter().all(|(event, _)| Encoder::check(event).is_ok());
        if writable && self.way.unanswered.compare_exchange(0, posts.len(), SeqCst, SeqCst).is_ok() {
            let _counted = Unanswered(&self.way, posts.len());
            return self.send_in_lots(posts).await;
        }
        let outages = self.way.outages();
        let mut acks = Vec::with_capacity(posts.len());
        for post in posts {
            acks.push(match Encoder::check(&post.0) {
                Ok(()) => self.gather(post, outages).await,
                Err(error) => Err(error),
            });
        }
        let mut outcomes = Vec::with_capacity(acks.len());
        for ack in acks {
            outcomes.push(match ack {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    async fn send_in_lots(&self, mut posts: Vec<(Event, u32)>) -> Vec<Result<Stored>> {
        let mut outcomes: Vec<Result<Stored>> = Vec::with_capacity(posts.len());
        let mut sending = VecDeque::with_capacity(LOTS);
        let mut away = None;
        while !posts.is_empty() && away.is_none() {
            if sending.len() == LOTS || !sending.is_empty() && !self.way.is_clear() {
                let answered = first(&mut sending).await;
                away = outage(&answered).cloned();
                outcomes.extend(answered);
                continue;
            }
            let rest = posts.split_off(self.way.fitting(posts.iter().map(|(event, _)| event)));
            let lot = std::mem::replace(&mut posts, rest);
            sending.push_back(self.way.set_out(lot).await);
        }
        while !sending.is_empty() {
            outcomes.extend(first(&mut sending).await);
        }
        outcomes.extend(away.iter().flat_map(|error| posts.iter().map(|_| Err(error.clone()))));
        outcomes
    }

    async fn gather(&self, post: (Event, u32), outages: u64) -> Result<Ack> {
        let (answer, answered) = oneshot::channel();
        let place = self.queue.reserve().await.map_err(|_| Error::closed("publish"))?;
        self.way.unanswered.fetch_add(1, SeqCst);
        place.send(Job { post, outages, answer });
        Ok(Ack::Together(answered))
    }

    /// Ends the task. What has gathered is not sent any more.
    pub(crate) fn close(&self) {
        self.task.abort();
        self.way.link.disconnect();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.close();
    }
}

impl Way {
    /// Sends an event without a detour through the task. It is on its way when this returns.
    async fn send_alone(self: &Arc<Self>, live: Live, post: (Event, u32)) -> Ack {
        let way = Arc::clone(self);
        let mut sending: Pin<Box<dyn Future<Output = Result<Stored>> + Send>> = Box::pin(async move {
            let _counted = Unanswered(&way, 1);
            let answer = way.deliver(std::slice::from_ref(&post), Some(live)).await.pop();
            answer.unwrap_or_else(|| Err(Error::closed("publish")))
        });
        // Polled once, which hands it to the connection: what is sent after it cannot overtake it.
        let answer = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        });
        match answer.await {
            Some(answer) => Ack::Known(Some(answer)),
            None => Ack::Alone(sending),
        }
    }

    /// Whether a lot may follow others: on a connection that is there it cannot overtake them.
    fn is_clear(&self) -> bool {
        self.link.live().is_some()
    }

    fn outages(&self) -> u64 {
        self.outages.load(SeqCst)
    }

    fn most(&self) -> usize {
        if self.encoder.is_stored() { MOST } else { MOST_UNSTORED }
    }

    /// How many of these may go together, at least one.
    fn fitting<'a>(&self, events: impl Iterator<Item = &'a Event>) -> usize {
        let mut bytes = 0;
        let fit = events.take(self.most()).take_while(|event| {
            bytes += event.data().size_hint();
            bytes <= MOST_BYTES
        });
        fit.count().max(1)
    }

    /// Sends a lot. It is on its way when this returns, where the connection is there.
    async fn set_out(self: &Arc<Self>, posts: Vec<(Event, u32)>) -> Sending {
        let way = Arc::clone(self);
        let live = self.link.live();
        let mut sending: Sending = Box::pin(async move { way.deliver(&posts, live).await });
        let mut known = None;
        // Polled once, which hands it to the connection: what is sent after it cannot overtake it.
        poll_fn(|cx| {
            if let Poll::Ready(outcomes) = sending.as_mut().poll(cx) {
                known = Some(outcomes);
            }
            Poll::Ready(())
        })
        .await;
        match known {
            Some(outcomes) => Box::pin(std::future::ready(outcomes)),
            None => sending,
        }
    }

    async fn deliver(&self, posts: &[(Event, u32)], live: Option<Live>) -> Vec<Result<Stored>> {
        let delivered = async {
            let encoded = self.encoder.encode(posts)?;
            let live = match live {
                Some(live) => live,
                None => self.link.connection().await?,
            };
            let answers = self.link.run_all_on(live, encoded.commands()).await?;
            Ok(encoded.outcomes(answers))
        };
        let outcomes = delivered.await.unwrap_or_else(|error: Error| posts.iter().map(|_| Err(error.clone())).collect());
        for ((_, partition), outcome) in posts.iter().zip(&outcomes) {
            match outcome {
                Ok(Stored::New) => self.trimmer.stored(*partition),
                Err(error) if matches!(error.kind(), ErrorKind::Full { .. }) => self.trimmer.refused(*partition),
                _ => {}
            }
        }
        outcomes
    }
}

/// Counts events off that were not answered.
struct Unanswered<'a>(&'a Way, usize);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(self.1, SeqCst);
    }
}

/// The outcomes of the first of several lots.
async fn first(sending: &mut VecDeque<Sending>) -> Vec<Result<Stored>> {
    let Some(lot) = sending.front_mut() else { return Vec::new() };
    let outcomes = lot.await;
    sending.pop_front();
    outcomes
}

/// The first of these errors that says that the server may take the same a little later.
fn outage(outcomes: &[Result<Stored>]) -> Option<&Error> {
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).find(|error| is_outage(error))
}

/// Sends what has gathered, lot after lot.
async fn send_gathered(way: Arc<Way>, mut jobs: mpsc::Receiver<Job>) {
    let most = way.most();
    let mut gathered = Vec::with_capacity(most);
    let mut sending: VecDeque<Sending> = VecDeque::with_capacity(LOTS);
    let mut answers: VecDeque<Vec<oneshot::Sender<Result<Stored>>>> = VecDeque::with_capacity(LOTS);
    let mut is_over = false;
    let mut away = None;
    loop {
        let may_follow = sending.is_empty() || sending.len() < LOTS && way.is_clear();
        tokio::select! {
            biased;
            outcomes = first(&mut sending), if !sending.is_empty() => {
                let _counted = Unanswered(&way, outcomes.len());
                if let Some(error) = outage(&outcomes) {
                    way.outages.fetch_add(1, SeqCst);
                    away = Some(error.clone());
                }
                for (answer, outcome) in answers.pop_front().into_iter().flatten().zip(outcomes) {
                    // Whoever does not wait any more is told nothing.
                    let _ = answer.send(outcome);
                }
            }
            more = jobs.recv_many(&mut gathered, most), if may_follow && gathered.is_empty() && !is_over => is_over = more == 0,
            () = std::future::ready(()), if may_follow && !gathered.is_empty() => {}
            else => return,
        }
        if gathered.is_empty() || !(sending.is_empty() || sending.len() < LOTS && way.is_clear()) {
            continue;
        }
        while gathered.len() < most
            && let Ok(job) = jobs.try_recv()
        {
            gathered.push(job);
        }
        if let Some(error) = &away {
            let outages = way.outages();
            for Job { answer, .. } in gathered.extract_if(.., |job| job.outages < outages) {
                let _counted = Unanswered(&way, 1);
                let _ = answer.send(Err(error.clone()));
            }
            if gathered.is_empty() {
                continue;
            }
        }
        let rest = gathered.split_off(way.fitting(gathered.iter().map(|job| &job.post.0)));
        let lot = std::mem::replace(&mut gathered, rest);
        let (posts, tellers): (Vec<_>, Vec<_>) = lot.into_iter().map(|job| (job.post, job.answer)).unzip();
        sending.push_back(way.set_out(posts).await);
        answers.push_back(tellers);
    }
}

impl Future for Ack {
    type Output = Result<Stored>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = || Err(Error::closed("publish"));
        match self.get_mut() {
            Self::Alone(sending) => sending.as_mut().poll(cx),
            Self::Together(answered) => Pin::new(answered).poll(cx).map(|answer| answer.unwrap_or_else(|_| closed())),
            Self::Known(answer) => Poll::Ready(answer.take().unwrap_or_else(closed)),
        }
    }
}
