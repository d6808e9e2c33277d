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
use eventbus_core::{Context, DeadLetterReason, Error, ErrorKind, Event, EventBatch, Handler, MAX_DURATION, MIN_BACKOFF, Scope, Verdict};
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
    /// What failed and has a key, which waits until it is settled. Kept until the run is over, so that nothing of the key overtakes.
    failed: Failed<T>,
    /// Since when the deliveries in `measured` took their time.
    since: Instant,
    measured: usize,
    losses: u64,
}

struct Failed<T> {
    /// To be tried again.
    retries: Vec<Settled<T>>,
    /// What follows in the key waits for these to come back.
    gates: Vec<Ticket>,
    /// Given up: what follows in the key waits until their letters are stored.
    given_up: Vec<Buried<T>>,
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
        while let Some((run, key)) = self.wait_for_run(lane).await {
            let ctx = ctx.get_or_insert_with(|| self.context(run.first().0));
            match self.settings.batch {
                None => self.walk(lane, handler, run, key, ctx).await,
                // In a box, so that those who take one event at a time do not pay for it.
                Some(batch) => {
                    Box::pin(async {
                        let run = self.gather(lane, run, batch).await;
                        self.handle_batch(lane, handler, run, key, ctx).await;
                    })
                    .await;
                }
            }
            ctx.load(Arc::clone(&nothing));
            if self.settings.concurrency > 1 {
                tokio::task::consume_budget().await;
            }
        }
    }

    async fn wait_for_run(&self, lane: usize) -> Option<Taken<S::Token>> {
        if self.settings.concurrency == 1 { self.pulse.until(|| self.next(lane)).await } else { self.ready.until(|| self.next(lane)).await }
    }

    /// `Some(None)` ends the lane, `None` waits.
    fn next(&self, lane: usize) -> Option<Option<Taken<S::Token>>> {
        if self.is_stopping() {
            return Some(None);
        }
        if self.is_paused() {
            return None;
        }
        let max = match (self.settings.batch, self.settings.concurrency) {
            (Some(batch), _) => batch.max,
            (None, 1) => usize::MAX,
            // What one lane takes, others cannot: one at a time, so that a slow delivery holds back no other.
            (None, _) => 1,
        };
        let mut state = self.state();
        let run = state.schedule.take(max)?;
        if state.schedule.ready_runs() > 0 {
            // What is left is for the next: of a run of many, each lane takes what it can.
            self.call_lane();
        }
        if std::mem::take(&mut state.wants_room) {
            self.pulse.beat();
        }
        state.running.push(Running { lane, run: run.clone(), at_once: 1, lost: Vec::new() });
        let key = state.key(run.first().0);
        Some(Some((run, key)))
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
    async fn handle_batch(self: &Arc<Self>, lane: usize, handler: &dyn Handler, run: Run<S::Token>, key: Option<Key>, ctx: &mut Context) {
        let range = run.range();
        let events = Arc::new(run.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>());
        let mut walk = self.set_out(lane, run, key);
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

    /// Adds to a run what else may be handled with it, waiting for more as long as the batch allows.
    async fn gather(&self, lane: usize, first: Run<S::Token>, batch: eventbus_core::Batch) -> Run<S::Token> {
        let mut runs = vec![first];
        let mut fill = || {
            let mut state = self.state();
            let mut len: usize = runs.iter().map(Run::len).sum();
            while len < batch.max
                && let Some(more) = state.schedule.take_more(&runs[0], batch.max - len)
            {
                len += more.len();
                runs.push(more);
            }
            if std::mem::take(&mut state.wants_room) {
                self.pulse.beat();
            }
            (len >= batch.max || self.is_stopping()).then_some(())
        };
        // When the time is up, what has come is all there is.
        if self.settings.concurrency == 1 {
            let _ = tokio::time::timeout(batch.wait, self.pulse.until(fill)).await;
        } else {
            let _ = tokio::time::timeout(batch.wait, self.ready.until(&mut fill)).await;
        }
        let run = Run::joined(runs);
        let mut state = self.state();
        if let Some(running) = state.running.iter_mut().find(|running| running.lane == lane) {
            running.run = run.clone();
            running.at_once = run.len();
        }
        run
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
        Walk { lane, run, key, unreported, failed: Failed::none(), since: Instant::now(), measured: 0, losses }
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
            match walk.key {
                Some(_) => walk.failed.given_up.push(buried),
                None => self.bury(vec![buried], |_| {}),
            }
            return walk.key.is_none();
        }
        let after = match verdict {
            Verdict::RetryAfter(delay) => delay.clamp(MIN_BACKOFF, MAX_DURATION),
            _ => self.settings.retry.delay(attempt, rand::random()),
        };
        tracing::debug!(target: "eventbus", subscription = %self.settings.name, id = event.id(), attempt, ?after, error = %failure, "an attempt failed");
        let mut state = self.state();
        if walk.key.is_none() {
            state.settled.push(Settled { run: one, outcome: Outcome::Retry { after, ticket: None } });
            return true;
        }
        let ticket = state.ticket();
        walk.failed.gates.push(ticket);
        walk.failed.retries.push(Settled { run: one, outcome: Outcome::Retry { after, ticket: Some(ticket) } });
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
        let Failed { mut retries, gates, given_up } = std::mem::replace(&mut walk.failed, Failed::none());
        let mut state = self.state();
        self.note(&mut walk, end, &mut state);
        state.running.retain(|running| running.lane != walk.lane);
        // The gates stand before anything is tried again, which could otherwise be back before them.
        state.schedule.wait_for(walk.key, gates);
        state.settled.append(&mut retries);
        if given_up.is_empty() {
            state.schedule.finish(walk.key);
        }
        drop(state);
        if !given_up.is_empty() {
            let key = walk.key;
            self.bury(given_up, move |schedule| schedule.finish(key));
        }
        // Its deliveries are let go of before the settling loop looks at them, so that it can be the last to do so.
        drop(walk);
        self.pulse.beat();
        self.call_lane();
    }
}

impl<T> Failed<T> {
    const fn none() -> Self {
        Self { retries: Vec::new(), gates: Vec::new(), given_up: Vec::new() }
    }
}
