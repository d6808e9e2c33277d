//! A lane runs handlers: one delivery after the other, or one batch after the other.

use super::{
    Shared,
    failure::{self, Begun, Failure, Waiting},
    schedule::Key,
    state::{Running, State},
};
use crate::{
    Source,
    source::{Buried, Outcome, Run, Settled, Ticket},
    spans,
};
use eventbus_core::{
    Batch, Context, DeadLetterReason, Error, ErrorKind, Event, EventBatch, Handler, MAX_DURATION, MIN_BACKOFF, Scope, Verdict,
};
use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::time::Instant;
use tracing::Instrument as _;

/// What a lane was given: a run and its key.
type Taken<T> = (Run<T>, Option<Key>);

/// A lane's way through one run.
struct Walk<T> {
    lane: usize,
    run: Run<T>,
    key: Option<Key>,
    /// The first delivery whose success is not known to the settling loop.
    unreported: usize,
    /// Further keys, where the run is a batch of several.
    more_keys: Vec<Key>,
    /// What failed and has a key, which waits until it is settled. Kept until the run is over, so that nothing of the key overtakes.
    failed: Vec<Failed<T>>,
    /// Since when the deliveries in `measured` took their time.
    since: Instant,
    measured: usize,
    losses: u64,
}

struct Failed<T> {
    key: Key,
    then: Then<T>,
}

/// What is to become of a delivery that failed.
enum Then<T> {
    /// What follows in its key waits for it to come back.
    Retry(Settled<T>, Ticket),
    /// What follows in its key waits until its letter is stored.
    GiveUp(Buried<T>),
}

/// How handlers ended, where that needs more than counting.
enum Ended<T> {
    /// The handler returned, panicked or ran out of time.
    Returned(Result<T, Failure>),
    /// The lease was lost: whatever came of it settles nothing.
    Lost,
    /// The close deadline passed.
    Aborted,
}

impl<S: Source> Shared<S> {
    /// Runs what may start, until the subscription stops.
    pub(super) async fn lane(self: &Arc<Self>, lane: usize, handler: &dyn Handler) {
        // One context serves all deliveries of the lane, one after the other. Between them it holds on to no event.
        let mut ctx: Option<Context> = None;
        let nothing: Arc<dyn EventBatch> = Arc::new(Vec::new());
        loop {
            match self.settings.batch {
                None => {
                    let Some((run, key)) = self.look(|| self.next(lane)).await else { return };
                    let ctx = ctx.get_or_insert_with(|| self.context(run.first().0));
                    self.walk(lane, handler, run, key, ctx).await;
                }
                // In boxes, so that those who take one event at a time do not pay for it.
                Some(batch) => {
                    let Some(run) = Box::pin(self.wait_for_batch(lane, batch)).await else { return };
                    let ctx = ctx.get_or_insert_with(|| self.context(run.first().0));
                    Box::pin(self.handle_batch(lane, handler, run, ctx)).await;
                }
            }
            if let Some(ctx) = &mut ctx {
                ctx.load(Arc::clone(&nothing));
            }
            if self.settings.concurrency > 1 {
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Looks until there is something, as a lane does.
    async fn look<R>(&self, look: impl FnMut() -> Option<R>) -> R {
        if self.settings.concurrency == 1 { self.pulse.until(look).await } else { self.ready.until(look).await }
    }

    /// `Some(None)` ends the lane, `None` waits.
    fn next(&self, lane: usize) -> Option<Option<Taken<S::Token>>> {
        if self.is_stopping() {
            return Some(None);
        }
        if self.is_paused() {
            return None;
        }
        // What one lane takes, others cannot: one at a time, so that a slow delivery holds back no other.
        let max = if self.settings.concurrency == 1 { usize::MAX } else { 1 };
        let mut state = self.state();
        let run = state.schedule.take(max)?;
        let key = state.key(run.first().0);
        self.start(&mut state, Running { lane, run: run.clone(), at_once: 1, lost: Vec::new() });
        Some(Some((run, key)))
    }

    fn start(&self, state: &mut State<S::Token>, running: Running<S::Token>) {
        state.running.push(running);
        if state.schedule.ready_runs() > 0 {
            // What is left is for the next: of a run of many, each lane takes what it can.
            self.call_lane();
        }
        if std::mem::take(&mut state.wants_room) {
            self.pulse.beat();
        }
    }

    /// Waits for a batch to fill, or for its time to be up. Until then its events stay where others can find them. `None` ends the lane.
    async fn wait_for_batch(&self, lane: usize, batch: Batch) -> Option<Run<S::Token>> {
        let full = batch.max.min(self.settings.buffer);
        while self.look(|| self.may_start(1)).await {
            // When the time is up, what has come is all there is.
            let _ = tokio::time::timeout(batch.wait, self.look(|| self.may_start(full))).await;
            if let Some(run) = self.take_batch(lane, batch.max) {
                return Some(run);
            }
        }
        None
    }

    /// Whether a batch of this size may start: `Some(false)` where none will, `None` where it has to wait.
    fn may_start(&self, size: usize) -> Option<bool> {
        if self.is_stopping() {
            return Some(false);
        }
        (!self.is_paused() && self.state().schedule.has_batch(size)).then_some(true)
    }

    fn take_batch(&self, lane: usize, max: usize) -> Option<Run<S::Token>> {
        if self.is_stopping() || self.is_paused() {
            return None;
        }
        let mut state = self.state();
        let runs = state.schedule.take_batch(max);
        if runs.is_empty() {
            return None;
        }
        let run = Run::joined(runs);
        self.start(&mut state, Running { lane, run: run.clone(), at_once: run.len(), lost: Vec::new() });
        Some(run)
    }

    fn context(&self, event: &Event) -> Context {
        let scope =
            Scope { subscription: self.settings.name.clone(), group: self.settings.group.clone(), bus: Arc::clone(&self.context.bus) };
        Context::new(scope, event.clone())
    }

    /// Handles the deliveries of a run one after the other, until one of them holds back the rest.
    async fn walk(self: &Arc<Self>, lane: usize, handler: &dyn Handler, run: Run<S::Token>, key: Option<Key>, ctx: &mut Context) {
        let alone = self.is_alone();
        let (batch, range) = (Arc::clone(run.batch()), run.range());
        let mut walk = self.set_out(lane, run, key);
        ctx.load(batch.clone());
        for position in range.clone() {
            if self.is_stopping() || self.is_paused() {
                self.turn_back(&mut walk, position);
                break;
            }
            if walk.losses != self.losses.load(Relaxed) && self.skip_lost(&mut walk, position) {
                continue;
            }
            self.source.progress().start(alone);
            let (event, token) = batch.get(position);
            ctx.begin(position, walk.run.attempt(), self.source.sequence(token), self.deadline(&walk));
            let span = spans::process(self.context.backend, &self.settings.name, event, walk.run.attempt());
            let beginning = failure::begin(handler, ctx, event);
            let ended = match if span.is_disabled() { beginning.await } else { beginning.instrument(span.clone()).await } {
                Begun::Done(outcome) => Ended::Returned(outcome),
                Begun::Waiting(handling) => {
                    // It may wait for long: what came before is reported now.
                    self.report(&mut walk, position);
                    self.source.progressed();
                    self.wait(&walk, position..position + 1, handling).instrument(span).await
                }
            };
            ctx.end();
            walk.measured += 1;
            let ended = if self.is_lost(&walk, position) { Ended::Lost } else { ended };
            if let Ended::Returned(Ok(Ok(()))) = ended {
                continue;
            }
            self.report(&mut walk, position);
            walk.unreported = position + 1;
            let goes_on = match ended {
                Ended::Returned(outcome) => self.conclude(&mut walk, position, outcome.and_then(|handled| handled.map_err(Failure::Error))),
                Ended::Lost => true,
                Ended::Aborted => {
                    self.abort_one(&walk, position);
                    false
                }
            };
            if !goes_on {
                self.turn_back(&mut walk, position + 1);
                break;
            }
        }
        self.arrive(walk, range.end);
    }

    /// Handles all deliveries of a run at once and settles each by its own outcome.
    async fn handle_batch(self: &Arc<Self>, lane: usize, handler: &dyn Handler, run: Run<S::Token>, ctx: &mut Context) {
        let range = run.range();
        let events = Arc::new(run.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>());
        let mut keys = self.state().schedule.keys_of(&run).into_iter();
        let mut walk = self.set_out(lane, run, keys.next());
        walk.more_keys = keys.collect();
        for _ in range.clone() {
            self.source.progress().start(self.is_alone());
        }
        ctx.load(events.clone());
        ctx.begin(0, walk.run.attempt(), self.source.sequence(walk.run.first().1), self.deadline(&walk));
        let span = spans::process(self.context.backend, &self.settings.name, &events[0], walk.run.attempt());
        let ended = match failure::begin_batch(handler, ctx, &events).instrument(span.clone()).await {
            Begun::Done(outcome) => Ended::Returned(outcome),
            Begun::Waiting(handling) => {
                self.source.progressed();
                self.wait(&walk, range.clone(), handling).instrument(span).await
            }
        };
        ctx.end();
        walk.measured += events.len();
        let outcomes: Vec<Result<(), Failure>> = match ended {
            Ended::Returned(Ok(outcomes)) if outcomes.len() == events.len() => {
                outcomes.into_iter().map(|outcome| outcome.map_err(Failure::Error)).collect()
            }
            Ended::Returned(Ok(outcomes)) => {
                events.iter().map(|_| Err(Failure::Miscounted { outcomes: outcomes.len(), events: events.len() })).collect()
            }
            Ended::Returned(Err(failure)) => events.iter().map(|_| Err(failure.again())).collect(),
            Ended::Lost => {
                walk.unreported = range.end;
                Vec::new()
            }
            Ended::Aborted => {
                range.clone().for_each(|position| self.abort_one(&walk, position));
                walk.unreported = range.end;
                Vec::new()
            }
        };
        for (position, outcome) in range.clone().zip(outcomes) {
            if self.is_lost(&walk, position) {
                self.report(&mut walk, position);
                walk.unreported = position + 1;
            } else if outcome.is_err() {
                self.report(&mut walk, position);
                walk.unreported = position + 1;
                self.conclude(&mut walk, position, outcome);
            }
        }
        self.arrive(walk, range.end);
    }

    /// Waits for a handler: until it returns, runs out of time, loses the lease of all that it has, or is aborted.
    async fn wait<T>(&self, walk: &Walk<S::Token>, positions: Range<usize>, handling: Waiting<'_, T>) -> Ended<T> {
        let interrupted = self.lifecycle.watch(|aborting| match aborting {
            true => Some(Ended::Aborted),
            false => positions.clone().all(|position| self.is_lost(walk, position)).then_some(Ended::Lost),
        });
        tokio::select! {
            biased;
            returned = handling => Ended::Returned(returned),
            ended = interrupted => ended,
            () = tokio::time::sleep(self.settings.timeout) => Ended::Returned(Err(Failure::Timeout(self.settings.timeout))),
        }
    }

    /// Whether only the task of this lane counts progress.
    fn is_alone(&self) -> bool {
        self.settings.concurrency == 1 && self.source.lease().is_none()
    }

    fn set_out(&self, lane: usize, run: Run<S::Token>, key: Option<Key>) -> Walk<S::Token> {
        let mut losses = self.losses.load(Relaxed);
        if losses > 0 && self.state().has_lost_any(lane) {
            // Something of this run was lost since it was taken: not the number that it is compared with.
            losses -= 1;
        }
        let unreported = run.range().start;
        Walk { lane, run, key, unreported, more_keys: Vec::new(), failed: Vec::new(), since: Instant::now(), measured: 0, losses }
    }

    fn deadline(&self, walk: &Walk<S::Token>) -> Option<std::time::Instant> {
        Some((walk.since + self.settings.timeout).into_std())
    }

    /// Decides what becomes of a delivery. Returns whether the next one of the run may start.
    fn conclude(self: &Arc<Self>, walk: &mut Walk<S::Token>, position: usize, outcome: Result<(), Failure>) -> bool {
        let Err(failure) = outcome else {
            self.state().settled.push(Settled { run: walk.run.part(position..position + 1), outcome: Outcome::Ack });
            return true;
        };
        let one = walk.run.part(position..position + 1);
        let attempt = one.attempt();
        let event = one.first().0;
        // Its own: those of a batch have several, or none.
        let key = self.state().key(event);
        self.metrics().failed(failure.kind());
        self.context.reporter.report(|| {
            Error::new(ErrorKind::Handler, failure.to_string())
                .during("handle")
                .with("subscription", &self.settings.name)
                .with("event_type", event.event_type())
                .with("id", event.id())
                .with("attempt", attempt)
        });
        let verdict = failure.verdict();
        let reason = match verdict {
            Verdict::Reject => Some(DeadLetterReason::Rejected),
            _ if !self.settings.retry.allows_another(attempt) => Some(DeadLetterReason::Exhausted),
            _ => None,
        };
        if let Some(reason) = reason {
            let buried = self.give_up(one, reason, failure.to_string(), attempt);
            match key {
                Some(key) => walk.failed.push(Failed { key, then: Then::GiveUp(buried) }),
                None => self.bury(vec![buried], |_| {}),
            }
            return key.is_none();
        }
        let after = match verdict {
            Verdict::RetryAfter(delay) => delay.clamp(MIN_BACKOFF, MAX_DURATION),
            _ => self.settings.retry.delay(attempt, rand::random()),
        };
        tracing::debug!(target: "eventbus", subscription = %self.settings.name, id = event.id(), attempt, ?after, error = %failure, "an attempt failed");
        let mut state = self.state();
        let Some(key) = key else {
            state.settled.push(Settled { run: one, outcome: Outcome::Retry { after, ticket: None } });
            return true;
        };
        let ticket = state.ticket();
        let settled = Settled { run: one, outcome: Outcome::Retry { after, ticket: Some(ticket) } };
        walk.failed.push(Failed { key, then: Then::Retry(settled, ticket) });
        false
    }

    /// The close deadline passed while a handler had this delivery: it goes back as a failed attempt.
    fn abort_one(&self, walk: &Walk<S::Token>, position: usize) {
        self.counters.aborted.fetch_add(1, Relaxed);
        let run = walk.run.part(position..position + 1);
        self.state().settled.push(Settled { run, outcome: Outcome::Retry { after: MIN_BACKOFF, ticket: None } });
    }

    /// Gives back what was not started.
    fn turn_back(&self, walk: &mut Walk<S::Token>, from: usize) {
        self.report(walk, from.min(walk.run.range().end));
        walk.unreported = walk.run.range().end;
        if from < walk.run.range().end {
            let rest = walk.run.part(from..walk.run.range().end);
            self.state().schedule.give_back(walk.key, rest);
        }
    }

    /// Whether this consumer has lost a delivery since the lane set out, so that whatever became of it here settles nothing.
    fn is_lost(&self, walk: &Walk<S::Token>, position: usize) -> bool {
        walk.losses != self.losses.load(Relaxed) && self.state().has_lost(walk.lane, position)
    }

    fn skip_lost(&self, walk: &mut Walk<S::Token>, position: usize) -> bool {
        let lost = self.state().has_lost(walk.lane, position);
        if lost {
            self.report(walk, position);
            walk.unreported = position + 1;
            self.source.progress().give_back(1);
            self.counters.released.fetch_add(1, Relaxed);
        } else {
            // Another lane's, or a later one of this run: looked up again when there is a further loss, or at that position.
            walk.losses = if self.state().has_lost_any(walk.lane) { walk.losses } else { self.losses.load(Relaxed) };
        }
        lost
    }

    /// Reports that everything before `end` was handled, and how long that took.
    fn report(&self, walk: &mut Walk<S::Token>, end: usize) {
        let mut state = self.state();
        if self.note(walk, end, &mut state) {
            drop(state);
            self.pulse.beat();
        }
    }

    /// Returns whether there is something to settle.
    fn note(&self, walk: &mut Walk<S::Token>, end: usize, state: &mut State<S::Token>) -> bool {
        let count = std::mem::take(&mut walk.measured);
        if count > 0 {
            let took = walk.since.elapsed();
            walk.since += took;
            state.pace.note(count, took);
            self.counters.handling_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
            let metrics = self.metrics();
            metrics.delivered.increment(count as u64);
            metrics.handling.record_many(took.as_secs_f64() / count as f64, count);
        }
        let handled = walk.unreported < end;
        if handled {
            state.settled.push(Settled { run: walk.run.part(walk.unreported..end), outcome: Outcome::Ack });
            walk.unreported = end;
        }
        handled
    }

    /// Ends the run: what waits for its key goes on, unless it has to wait for something that failed.
    fn arrive(self: &Arc<Self>, mut walk: Walk<S::Token>, end: usize) {
        let mut given_up: Vec<(Key, Buried<S::Token>)> = Vec::new();
        let mut state = self.state();
        self.note(&mut walk, end, &mut state);
        state.running.retain(|running| running.lane != walk.lane);
        for Failed { key, then } in walk.failed.drain(..) {
            match then {
                Then::Retry(settled, ticket) => {
                    // The gate stands before anything is tried again, which could otherwise be back before it.
                    state.schedule.wait_for(key, ticket);
                    state.settled.push(settled);
                }
                Then::GiveUp(buried) => given_up.push((key, buried)),
            }
        }
        for key in walk.key.into_iter().chain(walk.more_keys.drain(..)) {
            if !given_up.iter().any(|(waits, _)| *waits == key) {
                state.schedule.finish(key);
            }
        }
        drop(state);
        while let Some(key) = given_up.first().map(|(key, _)| *key) {
            let letters = given_up.extract_if(.., |(of, _)| *of == key).map(|(_, buried)| buried).collect();
            self.bury(letters, move |schedule| schedule.finish(key));
        }
        // Its deliveries are let go of before the settling loop looks at them, so that it can be the last to do so.
        drop(walk);
        self.pulse.beat();
        self.call_lane();
    }
}
