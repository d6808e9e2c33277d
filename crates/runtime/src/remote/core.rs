//! What all handles of one bus share.

use super::{Broker, broker::is_outage, counts::Counts, hold::Hold, in_flight::InFlight};
use crate::{Engine, Reporter};
use eventbus_core::{Error, ErrorKind, Result, Retry};
use slab::Slab;
use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The delays between attempts to reach a server that is away.
pub(super) const AGAIN: Retry = Retry::exponential(Duration::from_millis(50)).max_delay(Duration::from_secs(2)).forever();

/// What a [`RemoteBus`](super::RemoteBus) is told by the backend that makes it.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "made by backends")]
pub struct RemoteSettings {
    /// How long a publish, and whatever else needs the server, tries to reach it.
    pub publish_timeout: Duration,
    /// How long a close waits for handlers.
    pub close_timeout: Duration,
    /// How many events are held back until the start, where the bus is held.
    pub hold: Option<usize>,
    /// How many enqueued events may wait for their acknowledgement.
    pub max_in_flight: usize,
    /// How many bytes of data they may have together.
    pub max_in_flight_bytes: usize,
    /// Where failures go that no call returns.
    pub reporter: Reporter,
}

pub(super) struct Core<B: Broker> {
    pub(super) broker: B,
    pub(super) settings: RemoteSettings,
    pub(super) counts: Counts,
    pub(super) hold: Hold,
    pub(super) in_flight: InFlight,
    phase: AtomicU8,
    engines: Mutex<Slab<Engine<B::Source>>>,
    /// Set once the bus has closed, for those who close it again.
    pub(super) closed: watch::Sender<bool>,
}

/// Where a bus is between its beginning and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    Open,
    Draining,
    Closed,
}

impl<B: Broker> Core<B> {
    pub(super) fn new(broker: B, settings: RemoteSettings) -> Self {
        Self {
            counts: Counts::new(broker.capabilities().backend),
            hold: Hold::new(settings.hold),
            in_flight: InFlight::new(settings.max_in_flight, settings.max_in_flight_bytes),
            phase: AtomicU8::new(Phase::Open as u8),
            engines: Mutex::default(),
            closed: watch::Sender::new(false),
            broker,
            settings,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Goes on to a phase. Returns the one before, which is left only forwards.
    pub(super) fn advance(&self, phase: Phase) -> Phase {
        match self.phase.fetch_max(phase as u8, SeqCst) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Whether the bus takes something: from outside until it closes, from handlers until it is closed.
    pub(super) fn check_open(&self, inside: bool, operation: &'static str) -> Result<()> {
        match self.phase() {
            Phase::Open => Ok(()),
            Phase::Draining if inside => Ok(()),
            Phase::Draining | Phase::Closed => Err(Error::closed(operation)),
        }
    }

    pub(super) fn check_not_closed(&self, operation: &'static str) -> Result<()> {
        if self.phase() == Phase::Closed { Err(Error::closed(operation)) } else { Ok(()) }
    }

    pub(super) fn engines(&self) -> MutexGuard<'_, Slab<Engine<B::Source>>> {
        // No foreign code runs under this lock, so what it protects is consistent even if a panic poisoned it.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.publish_timeout
    }

    /// Tries until the server can be reached, up to a deadline.
    ///
    /// # Errors
    /// What cannot be helped by another attempt, as it is. [`ErrorKind::Unavailable`] at the deadline, with the last failure as its cause.
    pub(super) async fn until_reached<T, F>(&self, deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failures = 0;
        let mut last = None;
        loop {
            match tokio::time::timeout_at(deadline, attempt()).await {
                Ok(Err(error)) if is_outage(&error) => last = Some(error),
                Ok(answer) => return answer,
                Err(_) => return Err(self.not_reached(last)),
            }
            if self.phase() == Phase::Closed {
                return Err(self.given_up(last));
            }
            failures += 1;
            let next = Instant::now() + AGAIN.delay(failures, rand::random());
            if next >= deadline {
                // A failure that is known is worth no wait for an attempt that will not be made.
                return Err(self.not_reached(last));
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// The error for what is not tried again: the bus has closed, or the deadline is over.
    pub(super) fn given_up(&self, last: Option<Error>) -> Error {
        if self.phase() != Phase::Closed {
            return self.not_reached(last);
        }
        last.map_or_else(|| Error::closed(""), |cause| Error::closed("").caused_by(cause))
    }

    fn not_reached(&self, last: Option<Error>) -> Error {
        let timeout = self.settings.publish_timeout;
        let error = Error::new(
            ErrorKind::Unavailable,
            format!("the {} server did not answer within {timeout:?}", self.broker.capabilities().backend),
        );
        match last {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

/// The end.
impl<B: Broker> Core<B> {
    /// Stops everything without waiting.
    pub(super) fn abandon(&self) {
        self.advance(Phase::Closed);
        let engines: Vec<_> = self.engines().iter().map(|(_, engine)| engine.clone()).collect();
        engines.iter().for_each(Engine::abandon);
        // The last handle may be dropped anywhere. Without a runtime nothing goes on that would have to be ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let limit = self.settings.close_timeout;
            for engine in engines {
                runtime.spawn(async move {
                    if tokio::time::timeout(limit, engine.ended()).await.is_err() {
                        engine.give_up();
                    }
                });
            }
        }
        self.settings.reporter.close();
        self.closed.send_replace(true);
    }

    /// Closes the bus. The work is a task of its own, so that it is done also where nobody waits for it to the end.
    pub(super) async fn close(self: &Arc<Self>) -> Result<()> {
        if self.advance(Phase::Draining) != Phase::Open {
            // Somebody else closes it: this call waits for the same end.
            let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
            return Ok(());
        }
        let core = Arc::clone(self);
        let closing = tokio::spawn(async move { core.drain_and_stop().await });
        closing.await.unwrap_or_else(|fault| Err(Error::new(ErrorKind::Closed, "closing was interrupted").during("close").caused_by(fault)))
    }

    async fn drain_and_stop(&self) -> Result<()> {
        let deadline = Instant::now() + self.settings.close_timeout;
        let started = tokio::time::timeout_at(deadline, self.release_held()).await.unwrap_or_else(|_| self.nothing_held());
        let stopped = self.stop_engines(deadline).await;
        let flushed = tokio::time::timeout_at(deadline, self.in_flight.until_none()).await;
        self.advance(Phase::Closed);
        let unpublished = self.in_flight.count();
        let _ = tokio::time::timeout(GOODBYE, self.broker.close()).await;
        self.settings.reporter.close();
        self.closed.send_replace(true);
        started.and(stopped)?;
        if flushed.is_err() && unpublished > 0 {
            return Err(Error::new(
                ErrorKind::Timeout,
                "not everything that was published had been acknowledged before the close deadline",
            )
            .during("close")
            .with("unpublished", unpublished));
        }
        Ok(())
    }

    fn nothing_held(&self) -> Result<()> {
        match self.hold.count() {
            0 => Ok(()),
            held => Err(Error::new(ErrorKind::Timeout, "not everything that was held back was published before the close deadline")
                .during("close")
                .with("undelivered", held)),
        }
    }

    async fn stop_engines(&self, deadline: Instant) -> Result<()> {
        let mut stopping = tokio::task::JoinSet::new();
        for (_, engine) in self.engines().iter() {
            let engine = engine.clone();
            stopping.spawn(async move { engine.stop(deadline).await });
        }
        let mut unfinished = Ok(());
        while let Some(stopped) = stopping.join_next().await {
            if let Ok(Err(error)) = stopped
                && error.kind() == ErrorKind::Timeout
            {
                unfinished = Err(error);
            }
        }
        // Their members leave the server while the connection is there.
        let _ = tokio::time::timeout(GOODBYE, self.counts.until_all_left()).await;
        unfinished
    }
}

/// How long a close waits for the server to hear that it is over.
const GOODBYE: Duration = Duration::from_secs(2);
