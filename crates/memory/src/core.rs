//! What all handles of one in-process bus share.

use crate::{
    BACKEND,
    broker::{Admission, Arrival, Broker, Phase, Wakes},
    clock::nanos,
    config::MemoryBuilder,
    replies::Inboxes,
    source::MemorySource,
    watch,
};
use eventbus_core::{Capabilities, Error, ErrorKind, Event, Result, cloudevents};
use eventbus_runtime::{Engine, Reporter, metrics};
use slab::Slab;
use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::SystemTime,
};
use tokio::time::Instant;

pub(crate) struct Core {
    broker: Mutex<Broker>,
    pub(crate) config: MemoryBuilder,
    pub(crate) capabilities: Capabilities,
    pub(crate) reporter: Reporter,
    pub(crate) inboxes: Inboxes,
    /// The running subscriptions.
    engines: Mutex<Slab<Engine<MemorySource>>>,
    refused: AtomicU64,
    /// Set once the bus has closed, for those who close it again.
    closed: tokio::sync::watch::Sender<bool>,
}

/// How a try to publish ended.
pub(crate) enum Tried {
    Accepted,
    /// Somebody has no room: try again from there.
    Wait(Box<Arrival>, usize),
}

impl Core {
    pub(crate) fn new(config: MemoryBuilder) -> Self {
        let mut capabilities = Capabilities::none(BACKEND);
        let replay = config.retention.events > 0;
        capabilities.at_least_once = true;
        capabilities.groups = true;
        capabilities.replay = replay;
        capabilities.replay_by_sequence = replay;
        capabilities.replay_by_time = replay;
        capabilities.dedup_window = config.dedup_window.filter(|window| !window.is_zero() && config.dedup_events > 0);
        capabilities.redelivery = true;
        capabilities.dead_letters = true;
        capabilities.drops = true;
        capabilities.requests = true;
        capabilities.hold = config.hold.is_some();
        capabilities.confirmed_acks = true;
        capabilities.max_payload = config.max_payload;
        Self {
            broker: Mutex::new(Broker::new(&config)),
            capabilities,
            reporter: Reporter::new(),
            inboxes: Inboxes::default(),
            engines: Mutex::default(),
            refused: AtomicU64::new(0),
            closed: tokio::sync::watch::Sender::new(false),
            config,
        }
    }

    pub(crate) fn broker(&self) -> MutexGuard<'_, Broker> {
        // No foreign code runs under this lock, so what it protects is consistent even if a panic poisoned it.
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn engines(&self) -> MutexGuard<'_, Slab<Engine<MemorySource>>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of an engine, and with it of its handler.
    pub(crate) fn forget(&self, place: usize) {
        let engine = self.engines().try_remove(place);
        drop(engine);
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// Publishing.
impl Core {
    /// Checks an event and makes it ready to be published.
    pub(crate) fn arrive(&self, mut event: Event) -> Result<Arrival> {
        event.check()?;
        let size = event.data().size_hint();
        if size > self.config.max_payload {
            return Err(Error::too_large(self.config.max_payload, size).with("event_type", event.event_type()).with("id", event.id()));
        }
        let fresh = event.mint();
        let at = nanos(match event.minted_at() {
            Some(at) if fresh => at,
            _ => SystemTime::now(),
        });
        let mut bytes = size;
        if self.config.strict {
            event = round_trip(&event)?;
            bytes = event.data().size_hint();
            if bytes > self.config.max_payload {
                return Err(Error::too_large(self.config.max_payload, bytes).with("event_type", event.event_type()).with("id", event.id()));
            }
        }
        Ok(Arrival { event, fresh, again: false, at, bytes: u32::try_from(bytes).unwrap_or(u32::MAX), latch: None })
    }

    /// Publishes if there is room for it now.
    pub(crate) fn try_publish(&self, arrival: Arrival, inside: bool) -> Result<Tried> {
        let mut wakes = Wakes::default();
        let mut arrival = Some(arrival);
        let admission = self.broker().publish(&mut arrival, inside, &mut wakes);
        wakes.wake();
        match (admission, arrival) {
            (Admission::Admitted { expired }, _) => {
                // Here, where the lock is not held.
                drop(expired);
                Ok(Tried::Accepted)
            }
            (Admission::Blocked(consumer), Some(arrival)) => Ok(Tried::Wait(Box::new(arrival), consumer)),
            (Admission::Duplicate, _) => {
                metrics::duplicates(BACKEND).increment(1);
                Ok(Tried::Accepted)
            }
            (Admission::Closed, _) => Err(Error::closed("publish")),
            (Admission::HoldFull { limit }, _) => {
                Err(Error::new(ErrorKind::Full { limit }, format!("the bus is held and {limit} events wait for its start already"))
                    .during("publish"))
            }
            (Admission::Held | Admission::Blocked(_), _) => Ok(Tried::Accepted),
        }
    }

    /// Publishes, waiting for room up to the publish timeout.
    pub(crate) async fn publish_when_room(&self, arrival: Arrival, inside: bool) -> Result<()> {
        match self.try_publish(arrival, inside)? {
            Tried::Accepted => Ok(()),
            Tried::Wait(arrival, consumer) => self.wait_and_publish(*arrival, consumer, inside).await,
        }
    }

    pub(crate) async fn wait_and_publish(&self, mut arrival: Arrival, mut consumer: usize, inside: bool) -> Result<()> {
        let deadline = Instant::now() + self.config.publish_timeout;
        loop {
            let room = self.room_at(consumer);
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("no room within {:?} in a subscription that blocks publishers", self.config.publish_timeout),
                )
                .during("publish")
                .with("event_type", arrival.event.event_type())
                .with("id", arrival.event.id()));
            }
            match self.try_publish(arrival, inside)? {
                Tried::Accepted => return Ok(()),
                Tried::Wait(again, at) => (arrival, consumer) = (*again, at),
            }
        }
    }

    /// Waits until a consumer may have room.
    async fn room_at(&self, consumer: usize) {
        let mut place = None;
        poll_fn(|cx| {
            // Woken once is reason enough to try.
            if place.is_some() {
                return Poll::Ready(());
            }
            let number = self.broker().wait_for_room(consumer, cx.waker());
            place = number.map(|number| Place { core: self, consumer, number });
            if place.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Counts and reports a publish that failed.
    pub(crate) fn refuse(&self, error: Error) -> Error {
        self.refused.fetch_add(1, Relaxed);
        metrics::refused(BACKEND).increment(1);
        error.during("publish")
    }

    /// Delivers what was held back, in order, and what is published from now on.
    pub(crate) async fn start(&self) -> Result<()> {
        loop {
            let mut wakes = Wakes::default();
            let released = {
                let mut broker = self.broker();
                if broker.phase() == Phase::Closed {
                    return Err(Error::closed("start"));
                }
                broker.release_held(&mut wakes)
            };
            wakes.wake();
            match released {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(consumer) => self.room_at(consumer).await,
            }
        }
    }
}

/// A publisher's place in the line for room. It is given up also where the publisher runs out of time or is dropped, since its waker would
/// otherwise stay for as long as there is no room, and keep its task in memory.
struct Place<'a> {
    core: &'a Core,
    consumer: usize,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // In two steps: a waker may run foreign code as it goes, which is not for under the lock.
        let waker = self.core.broker().leave_line(self.consumer, self.number);
        drop(waker);
    }
}

/// An event as it would be after a way through a broker.
fn round_trip(event: &Event) -> Result<Event> {
    let bytes = cloudevents::json::encode(event)?;
    let back = cloudevents::json::decode(&bytes)?;
    if back != *event {
        return Err(Error::new(ErrorKind::Encode, "the event does not survive its way through the codec unchanged")
            .with("event_type", event.event_type())
            .with("id", event.id()));
    }
    Ok(back)
}

/// The end.
impl Core {
    /// Stops everything without waiting.
    pub(crate) fn abandon(&self) {
        let mut wakes = Wakes::default();
        self.broker().end(Phase::Closed, &mut wakes);
        wakes.wake();
        let engines = std::mem::take(&mut *self.engines());
        engines.iter().for_each(|(_, engine)| engine.abandon());
        self.reporter.close();
        self.closed.send_replace(true);
    }

    /// Closes the bus. The work is a task of its own, so that it is done also where nobody waits for it to the end.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        let mut wakes = Wakes::default();
        let phase = {
            let mut broker = self.broker();
            let phase = broker.phase();
            if matches!(phase, Phase::Held | Phase::Open) {
                broker.end(Phase::Draining, &mut wakes);
            }
            phase
        };
        wakes.wake();
        if !matches!(phase, Phase::Held | Phase::Open) {
            // Somebody else closes it: this call waits for the same end.
            let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
            return Ok(());
        }
        let core = Arc::clone(self);
        let closing = tokio::spawn(async move { core.drain_and_stop().await });
        closing.await.unwrap_or_else(|fault| Err(Error::new(ErrorKind::Closed, "closing was interrupted").during("close").caused_by(fault)))
    }

    async fn drain_and_stop(&self) -> Result<()> {
        let deadline = Instant::now() + self.config.close_timeout;
        let drained = async {
            self.start().await?;
            self.until_idle().await;
            Ok::<_, Error>(())
        };
        let _ = tokio::time::timeout_at(deadline, drained).await;
        let outcome = self.stop_engines(deadline).await;
        self.reporter.close();
        self.closed.send_replace(true);
        outcome
    }

    /// Waits until everything that was published has been handled.
    pub(crate) async fn until_idle(&self) {
        watch::until(self, || self.broker().is_idle()).await;
    }

    async fn stop_engines(&self, deadline: Instant) -> Result<()> {
        let mut wakes = Wakes::default();
        self.broker().end(Phase::Closed, &mut wakes);
        wakes.wake();
        let engines: Vec<_> = std::mem::take(&mut *self.engines()).into_iter().map(|(_, engine)| engine).collect();
        engines.iter().for_each(Engine::abandon);
        let mut stopping = tokio::task::JoinSet::new();
        for engine in &engines {
            let engine = engine.clone();
            stopping.spawn(async move { engine.stop(deadline).await });
        }
        let mut unfinished = None;
        while let Some(stopped) = stopping.join_next().await {
            if let Ok(Err(error)) = stopped
                && matches!(error.kind(), ErrorKind::Timeout)
            {
                unfinished = Some(error);
            }
        }
        let undelivered: u64 = engines.iter().map(|engine| engine.source().remove()).sum();
        let stranded: u64 = self.broker().stats().groups.iter().map(|group| group.lag).sum();
        if undelivered + stranded == 0 && unfinished.is_none() {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Timeout, "not everything was delivered before the close deadline")
            .during("close")
            .with("undelivered", undelivered + stranded);
        Err(match unfinished {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }
}
