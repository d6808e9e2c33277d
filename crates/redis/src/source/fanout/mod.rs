//! A subscription without a group: every matching event from a position on, kept by nobody but this process.
//!
//! All such subscriptions of a bus share one reader of what is new, the [tail]: an event is fetched and decoded once, however many want
//! it. One that begins in the past, or that fell behind its buffer, reads by itself until it has caught up with the tail.

pub(crate) mod tail;

use super::{Step, Token};
use crate::{letters::Undertaker, tally::Tally};
use eventbus_core::{Plan, Result};
use eventbus_runtime::{Backlog, Batch, Buried, Fetched, Outcome, Progress, PutBack, Run, Settled};
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tail::{Next, Pages, Reader, Tail};

pub(crate) struct FanOut {
    tail: Arc<Tail>,
    reader: Arc<Reader>,
    place: usize,
    undertaker: Undertaker,
    progress: Progress,
    put_back: PutBack<Token>,
    /// A read from where this subscription is, while it is behind.
    catching_up: Mutex<Option<Step<Result<Pages>>>>,
}

impl FanOut {
    pub(crate) async fn begin(tail: &Arc<Tail>, plan: &Plan, undertaker: Undertaker) -> Result<Self> {
        let (place, reader) = tail.join(plan).await?;
        Ok(Self {
            tail: Arc::clone(tail),
            reader,
            place,
            undertaker,
            progress: Progress::default(),
            put_back: PutBack::new(plan),
            catching_up: Mutex::default(),
        })
    }

    pub(crate) fn sequence(&self, token: &Token) -> Option<u64> {
        if self.tail.partitions() == 1 { token.id.sequence() } else { None }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        if max == 0 {
            return Ok(Fetched::Run(self.put_back.due(true).await));
        }
        tokio::select! {
            biased;
            run = self.put_back.due(false) => Ok(Fetched::Run(run)),
            fetched = poll_fn(|cx| self.poll_next(max, cx)) => fetched,
        }
    }

    fn poll_next(&self, max: usize, cx: &mut Context<'_>) -> Poll<Result<Fetched<Token>>> {
        loop {
            // What failed is kept by this process alone. Where that is much, some of it comes next, when it is due.
            if self.put_back.is_full() {
                return Poll::Pending;
            }
            if let Some(fetched) = self.take(max) {
                return Poll::Ready(Ok(fetched));
            }
            if let Some(error) = self.tail.failure() {
                return Poll::Ready(Err(error));
            }
            match self.reader.next(cx.waker()) {
                Next::Take => continue,
                Next::Wait => return Poll::Pending,
                Next::Read => {}
            }
            let mut catching_up = self.catching_up();
            let step = catching_up.get_or_insert_with(|| Box::pin(Arc::clone(&self.tail).read_from(Arc::clone(&self.reader))));
            let Poll::Ready(pages) = step.as_mut().poll(cx) else { return Poll::Pending };
            *catching_up = None;
            match pages {
                Ok(pages) => self.tail.caught(&self.reader, pages),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn take(&self, max: usize) -> Option<Fetched<Token>> {
        let mut queue = self.reader.queue();
        let mut open = Vec::new();
        while open.len() < max {
            match queue.pop_if(|item| open.is_empty() || item.is_event()) {
                Some((Ok(event), token)) => open.push((event, token)),
                Some((Err((event, error)), token)) => return Some(Fetched::Undecodable(Run::one(event, token, 1), error)),
                None => break,
            }
        }
        drop(queue);
        if open.is_empty() {
            return None;
        }
        let batch: Batch<Token> = open.into_iter().collect();
        let places = 0..batch.places();
        Some(Fetched::Run(Run::new(Arc::new(batch), places, 1)))
    }

    pub(crate) async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        for Settled { run, outcome } in settled.drain(..) {
            match outcome {
                Outcome::Retry { after, ticket } => self.put_back.put(&run, after, ticket),
                _ => self.tally().settled(run.len() as u64, false),
            }
        }
        Ok(())
    }

    pub(crate) async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        let token = buried.run.first().1;
        let place = format!("{}/{}", self.tail.stream(token.partition), token.id);
        self.undertaker.bury(buried, &place, self.reader.name()).await?;
        self.tally().settled(1, false);
        Ok(())
    }

    pub(crate) async fn measure(&self) -> Result<()> {
        self.tail.measure(&self.reader).await
    }

    pub(crate) fn backlog(&self) -> Backlog {
        self.tail.note_scanned(&self.reader);
        self.tally().backlog_beside()
    }

    pub(crate) fn leave(&self) {
        self.tail.leave(self.place);
    }

    fn tally(&self) -> &Tally {
        self.reader.tally()
    }

    fn catching_up(&self) -> MutexGuard<'_, Option<Step<Result<Pages>>>> {
        self.catching_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
