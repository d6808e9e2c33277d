//! Events that wait for the start of the bus.

use super::{Broker, core::Core};
use eventbus_core::{Error, ErrorKind, Event, Result};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// How many events are published at once at the start.
const AT_ONCE: usize = 500;

pub(super) struct Hold {
    /// Whether events may have to wait. Looked at before the lock, which a bus that is not held never takes.
    active: AtomicBool,
    capacity: usize,
    waiting: Mutex<VecDeque<Event>>,
    /// One start at a time, so that the order is kept.
    starting: tokio::sync::Mutex<()>,
}

impl Hold {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            active: AtomicBool::new(capacity.is_some()),
            capacity: capacity.unwrap_or(0),
            waiting: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(SeqCst)
    }

    pub(super) fn count(&self) -> usize {
        if self.is_active() { self.waiting().len() } else { 0 }
    }

    /// Keeps an event for the start. Gives it back where the bus has been started.
    pub(super) fn keep(&self, event: Event) -> Result<Option<Event>> {
        let mut waiting = self.waiting();
        if !self.is_active() {
            return Ok(Some(event));
        }
        let limit = self.capacity;
        if waiting.len() >= limit {
            return Err(Error::new(ErrorKind::Full { limit }, format!("the bus is held and {limit} events wait for its start already")));
        }
        waiting.push_back(event);
        Ok(None)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first that wait. They stay until they are published. `None` when there are none, and from then on nothing waits.
    fn first(&self) -> Option<Vec<Event>> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            self.active.store(false, SeqCst);
            return None;
        }
        Some(waiting.iter().take(AT_ONCE).cloned().collect())
    }

    /// Of the first so many, only these still wait.
    fn leave(&self, first: usize, left: Vec<Event>) {
        let mut waiting = self.waiting();
        waiting.drain(..first);
        left.into_iter().rev().for_each(|event| waiting.push_front(event));
    }
}

impl<B: Broker> Core<B> {
    /// Publishes what was held back, in order. From then on nothing is.
    ///
    /// # Errors
    /// That of the first event that could not be published. Those that another attempt can help stay held, and what came after them;
    /// the others are given up, since they would keep all others from being published for ever.
    pub(super) async fn release_held(&self) -> Result<()> {
        if !self.hold.is_active() {
            return Ok(());
        }
        let _one_at_a_time = self.hold.starting.lock().await;
        let mut refused = Ok(());
        while let Some(events) = self.hold.first() {
            let (count, outcomes) = (events.len(), self.deliver_all(&events).await);
            let mut left = Vec::new();
            let mut unreached = Ok(());
            for (event, outcome) in events.into_iter().zip(outcomes) {
                match outcome {
                    Err(error) if error.is_retryable() => {
                        left.push(event);
                        unreached = unreached.and(Err(error.during("start")));
                    }
                    Err(error) => {
                        let error = self.counts.refuse(error);
                        self.settings.reporter.report(|| error.clone());
                        refused = refused.and(Err(error.during("start")));
                    }
                    Ok(()) => {}
                }
            }
            self.hold.leave(count, left);
            unreached?;
        }
        refused
    }
}
