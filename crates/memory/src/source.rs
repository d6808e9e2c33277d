//! What the consumer engine fetches from and settles with.

use crate::{
    broker::{Arrival, Broker, Dealt, Joined, Link, MemberId, Next, Reader, Token, Wakes},
    clock::nanos,
    core::Core,
};
use eventbus_core::{DeadLetterPolicy, Overflow, Plan, Result};
use eventbus_runtime::{Backlog, Buried, Fetched, Progress, Run, Settled, Source};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{Ordering::SeqCst, fence},
    },
    task::{Poll, Waker, ready},
    time::{Duration, SystemTime},
};
use tokio::time::{Sleep, sleep_until};

/// One member's view of the broker.
pub(crate) struct MemorySource {
    core: Arc<Core>,
    member: MemberId,
    link: Arc<Link>,
    /// Where it is in its chain. Only the engine's fetching uses it.
    reader: Option<Mutex<Reader>>,
    prefetch: usize,
}

impl MemorySource {
    pub(crate) fn new(core: Arc<Core>, joined: Joined, plan: &Plan) -> Self {
        let Joined { member, link, reader } = joined;
        // What may be dropped must stay where it can be.
        let prefetch = match plan.overflow {
            Overflow::Block => usize::MAX,
            _ => plan.concurrency.saturating_mul(plan.batch.map_or(1, |batch| batch.max)),
        };
        Self { core, member, link, reader: reader.map(Mutex::new), prefetch }
    }

    /// Runs `act` on the broker, unless the member was removed from it.
    pub(crate) fn with_broker<T>(&self, act: impl FnOnce(&mut Broker, MemberId) -> T) -> Option<T> {
        let mut broker = self.core.broker();
        (!self.link.removed.load(SeqCst)).then(|| act(&mut broker, self.member))
    }

    /// Removes the member, if that has not been done. Returns how many events its consumer left, where the consumer went with it.
    pub(crate) fn remove(&self) -> u64 {
        let mut wakes = Wakes::default();
        let left = self.with_broker(|broker, member| broker.remove(member, &mut wakes));
        wakes.wake();
        if let Some(left) = left {
            self.link.left.store(left, SeqCst);
        }
        self.link.left.load(SeqCst)
    }

    fn reader(&self) -> Option<MutexGuard<'_, Reader>> {
        self.reader.as_ref().map(|reader| reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What comes next, found without the broker where possible. Where there is nothing, `waker` is woken when there is.
    fn next(&self, max: usize, waker: &Waker) -> Option<Next> {
        let mut reader = self.reader();
        if let Some(reader) = reader.as_deref_mut()
            && !self.link.besides.load(SeqCst)
            && let Some(run) = reader.read(max, self.link.end.load(SeqCst))
        {
            self.link.fetched(run.len() as u64, Some(reader));
            return Some(Next::Run(run));
        }
        let mut wakes = Wakes::default();
        let next = self.with_broker(|broker, member| {
            let next = broker.fetch(member, max, reader.as_deref_mut(), &mut wakes);
            if matches!(next, Next::Nothing(_)) {
                broker.park(member, max, waker, reader.as_deref_mut(), &mut wakes);
            }
            next
        });
        drop(reader);
        wakes.wake();
        next
    }

    fn deal(&self, dealt: impl Iterator<Item = Dealt>) {
        let mut wakes = Wakes::default();
        self.with_broker(|broker, member| broker.settle(member, dealt, &mut wakes));
        wakes.wake();
    }

    fn has_progressed(&self, patient: bool) {
        let mut wakes = Wakes::default();
        self.with_broker(|broker, member| broker.progressed(member, patient, &mut wakes));
        wakes.wake();
    }
}

impl Source for MemorySource {
    type Token = Token;

    fn fetch(&self, max: usize) -> impl Future<Output = Result<Fetched<Token>>> + Send {
        // In a box, since a subscription mostly waits for events, not for time to pass.
        let mut alarm: Option<Pin<Box<Sleep>>> = None;
        poll_fn(move |cx| {
            loop {
                let due = match self.next(max, cx.waker()) {
                    Some(Next::Run(run)) => return Poll::Ready(Ok(Fetched::Run(run))),
                    Some(Next::Nothing(Some(due))) => due,
                    Some(Next::Nothing(None)) | None => return Poll::Pending,
                };
                let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
                if alarm.deadline() != due {
                    alarm.as_mut().reset(due);
                }
                ready!(alarm.as_mut().poll(cx));
            }
        })
    }

    async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        // What is done of a chain only has to be counted, and most is.
        let is_done = |settled: &Settled<Token>| matches!(settled.outcome, eventbus_runtime::Outcome::Ack);
        if self.reader.is_some() && settled.iter().all(is_done) {
            let mut watched = false;
            for Settled { run, .. } in settled.drain(..) {
                watched |= self.link.done(run.len() as u64, bytes(&run));
            }
            if watched {
                self.has_progressed(true);
            }
        } else {
            // Prepared first, since that may drop events, which is not for under the lock.
            let dealt: Vec<Dealt> = settled.drain(..).map(Dealt::new).collect();
            self.deal(dealt.into_iter());
        }
        Ok(())
    }

    async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        match &buried.policy {
            DeadLetterPolicy::Discard => {}
            DeadLetterPolicy::Publish(target) => {
                let event = buried.letter.to_event(Some(target));
                // Its id is that of the original: it is meant to be published again.
                let arrival = Arrival::again(event, buried.run.first().1.latch.clone());
                self.core.publish_when_room(arrival, true).await?;
            }
            _ => self.core.broker().store_letter(buried.letter.clone())?,
        }
        self.deal(std::iter::once(Dealt::done(&buried.run)));
        Ok(())
    }

    fn prefetch(&self) -> usize {
        self.prefetch
    }

    fn sequence(&self, token: &Token) -> Option<u64> {
        Some(token.sequence)
    }

    fn waiting_since(&self, token: &Token) -> Option<Duration> {
        Some(waited(token))
    }

    fn progressed(&self) {
        // Either this sees that somebody waits, or they see the progress.
        fence(SeqCst);
        if self.link.watched.load(SeqCst) {
            self.has_progressed(false);
        }
    }

    fn ended(&self) {
        self.remove();
    }

    fn progress(&self) -> &Progress {
        &self.link.progress
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = self.with_broker(|broker, member| broker.backlog(member)).unwrap_or_default();
        let unread = self.reader().as_deref().and_then(Reader::first).map(waited);
        backlog.oldest = backlog.oldest.max(unread);
        backlog
    }
}

fn bytes(run: &Run<Token>) -> u64 {
    run.iter().map(|(_, token)| u64::from(token.bytes)).sum()
}

/// How long ago an event was admitted.
fn waited(token: &Token) -> Duration {
    Duration::from_nanos(nanos(SystemTime::now()).saturating_sub(token.at))
}
