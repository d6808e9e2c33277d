//! The consumer engine: runs the handler of one subscription over what its [`Source`] fetches.
//!
//! One subscription is a few loops over shared state:
//!
//! - [`fetch`] keeps the [`schedule`] filled, as far as buffer and handlers allow;
//! - [lanes](lane), as many as the subscription's concurrency, run handlers;
//! - [`settle`] hands outcomes back to the source, many at once.
//!
//! With a concurrency of 1 they are one task. Further lanes are tasks of their own, so that handlers run in parallel. What most
//! subscriptions never need begins when it is needed: [`bury`] stores a dead letter, trying again until it succeeds, and [`lease`] keeps
//! what is held from being taken away.

mod bury;
mod failure;
mod fetch;
mod lane;
mod lease;
mod pace;
mod schedule;
mod settle;
mod signal;
mod state;

use self::{
    signal::{Lifecycle, Phase, Pulse, Signal},
    state::State,
};
use crate::{
    Reporter, Source,
    metrics::SubscriptionMetrics,
    source::{Outcome, Run, Settled},
};
use eventbus_core::{Batch, Bus, DeadLetterPolicy, Error, ErrorKind, Handler, Plan, Result, Retry, SubscriptionStats};
use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The delays between attempts to reach a backend that is away.
const AGAIN: Retry = Retry::exponential(Duration::from_millis(100)).max_delay(Duration::from_secs(2)).forever();
/// How long a closing subscription waits for the backend after its deadline, to hand back what dropped handlers held.
const HAND_BACK: Duration = Duration::from_secs(1);

/// A running subscription: the handle of its engine. Cheap to clone. Dropping it does not end the subscription.
pub struct Engine<S: Source>(Arc<Shared<S>>);

/// What an engine needs besides its source and its handler.
#[derive(Debug, Clone)]
pub struct EngineContext {
    /// The bus that handlers publish on.
    pub bus: Arc<dyn Bus>,
    /// Where failures go that no call returns.
    pub reporter: Reporter,
    /// The name of the backend, for metrics and spans.
    pub backend: &'static str,
}

struct Shared<S: Source> {
    source: S,
    context: EngineContext,
    settings: Settings,
    /// Made with the first delivery, since most subscriptions of a large process may never get one.
    metrics: OnceLock<Box<SubscriptionMetrics>>,
    counters: Counters,
    state: Mutex<State<S::Token>>,
    /// For the loops of the main task: there may be room to fetch, something to settle, something to start.
    pulse: Pulse,
    /// For lanes with tasks of their own: something may start.
    ready: Signal,
    /// How many running deliveries were lost. Every loss is signalled as a move of the lifecycle.
    losses: AtomicU64,
    paused: AtomicBool,
    lifecycle: Lifecycle,
    verdict: OnceLock<Error>,
}

/// What is left of a [`Plan`] once the source has taken its part.
struct Settings {
    name: Box<str>,
    group: Option<Box<str>>,
    concurrency: usize,
    buffer: usize,
    retry: Retry,
    timeout: Duration,
    dead_letter: DeadLetterPolicy,
    batch: Option<Batch>,
}

#[derive(Default)]
struct Counters {
    released: AtomicU64,
    acked: AtomicU64,
    retried: AtomicU64,
    dead_lettered: AtomicU64,
    dead_letter_failures: AtomicU64,
    aborted: AtomicU64,
    handling_nanos: AtomicU64,
}

impl<S: Source> Engine<S> {
    /// Begins to fetch from the source and to run the handler.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(source: S, handler: Arc<dyn Handler>, plan: Plan, context: EngineContext) -> Self {
        let shared = Arc::new(Shared {
            source,
            context,
            state: Mutex::new(State::new(plan.ordering)),
            settings: Settings {
                name: plan.name.into(),
                group: plan.group.map(Into::into),
                concurrency: plan.concurrency,
                buffer: plan.buffer,
                retry: plan.retry,
                timeout: plan.timeout,
                dead_letter: plan.dead_letter,
                batch: plan.batch,
            },
            metrics: OnceLock::new(),
            counters: Counters::default(),
            pulse: Pulse::new(),
            ready: Signal::new(),
            losses: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            lifecycle: Lifecycle::new(),
            verdict: OnceLock::new(),
        });
        if let Some(lease) = shared.source.lease() {
            tokio::spawn(Arc::clone(&shared).keep_leases(lease));
        }
        tokio::spawn(Arc::clone(&shared).run(handler));
        Self(shared)
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.0.source
    }

    /// The name of the subscription.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// The group that it is a member of.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.0.settings.group.as_deref()
    }

    /// Starts no more handlers and fetches no more, until [resumed](Self::resume).
    pub fn pause(&self) {
        self.0.paused.store(true, Relaxed);
    }

    /// Goes on after a [pause](Self::pause).
    pub fn resume(&self) {
        self.0.paused.store(false, Relaxed);
        self.0.look_again();
    }

    /// Stops fetching, lets running handlers finish until `deadline`, gives back what had not started, and settles everything.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] where handlers had to be dropped, with their number as `unfinished`, or where outcomes could not be settled in
    /// time, with their number as `unsettled`; or why the subscription had ended before.
    pub async fn stop(&self, deadline: Instant) -> Result<()> {
        let shared = &self.0;
        shared.stop(Phase::Stopping);
        if tokio::time::timeout_at(deadline, shared.lifecycle.until(Phase::Ended)).await.is_err() {
            shared.lifecycle.run_out();
            shared.look_again();
            let _ = tokio::time::timeout(HAND_BACK, shared.lifecycle.until(Phase::Ended)).await;
        }
        let aborted = shared.counters.aborted.load(Relaxed);
        if aborted > 0 || !shared.lifecycle.reached(Phase::Ended) {
            return Err(Error::new(ErrorKind::Timeout, "handlers did not finish before the close deadline")
                .during("close")
                .with("subscription", self.name())
                .with("unfinished", aborted.max(1)));
        }
        let unsettled: usize = shared.state().settled.iter().map(|settled| settled.run.len()).sum();
        if unsettled > 0 {
            return Err(Error::new(ErrorKind::Timeout, "the backend could not be told what was handled; it will deliver that again")
                .during("close")
                .with("subscription", self.name())
                .with("unsettled", unsettled));
        }
        shared.verdict.get().cloned().map_or(Ok(()), Err)
    }

    /// Stops without waiting: handlers that run may finish, nothing else is started.
    pub fn abandon(&self) {
        self.0.stop(Phase::Stopping);
    }

    /// After an [`abandon`](Self::abandon): a backend that cannot be reached now is told no more what was handled. It will deliver that
    /// again.
    pub fn give_up(&self) {
        self.0.lifecycle.give_up();
        self.0.look_again();
    }

    /// Resolves when the subscription has ended.
    ///
    /// # Errors
    /// Why it could not go on, where it ended by itself.
    pub async fn ended(&self) -> Result<()> {
        self.0.lifecycle.until(Phase::Ended).await;
        self.0.verdict.get().cloned().map_or(Ok(()), Err)
    }

    /// Whether the subscription has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.lifecycle.reached(Phase::Ended)
    }

    /// The figures of the subscription.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        let shared = &self.0;
        let backlog = shared.source.backlog();
        let held = shared.state().held();
        let held = held.iter().filter_map(|run| shared.source.waiting_since(run.first().1)).max();
        let counters = &shared.counters;
        let mut stats = SubscriptionStats::default();
        stats.name = shared.settings.name.to_string();
        stats.group = shared.settings.group.as_deref().map(str::to_owned);
        stats.delivered = shared.source.progress().started().saturating_sub(counters.released.load(Relaxed));
        stats.acked = counters.acked.load(Relaxed);
        stats.retried = counters.retried.load(Relaxed);
        stats.dead_lettered = counters.dead_lettered.load(Relaxed);
        stats.dead_letter_failures = counters.dead_letter_failures.load(Relaxed);
        stats.dropped = backlog.dropped;
        stats.lost_to_retention = backlog.lost_to_retention;
        stats.in_flight = shared.state().in_flight() as u64;
        stats.lag = backlog.lag;
        stats.oldest_unacknowledged = backlog.oldest.max(held);
        stats.paused = shared.paused.load(Relaxed);
        stats.handling = Duration::from_nanos(counters.handling_nanos.load(Relaxed));
        if let Some(metrics) = shared.metrics.get() {
            metrics.show(&stats);
        }
        stats
    }
}

impl<S: Source> Shared<S> {
    /// Runs the subscription to its end. The handler is let go of there, whoever still has a handle of the subscription.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    fn run(self: Arc<Self>, handler: Arc<dyn Handler>) -> impl Future<Output = ()> {
        async move {
            {
                let loops = pin!(async {
                    tokio::join!(self.fetch(), self.handle_and_settle(&handler));
                });
                self.pulse.drive(loops).await;
            }
            failure::let_go(handler);
            self.source.ended();
            self.lifecycle.advance(Phase::Ended);
        }
    }

    /// Everything but fetching. It takes its memory when there is something to do, which for most subscriptions of a large process may be
    /// never.
    async fn handle_and_settle(self: &Arc<Self>, handler: &Arc<dyn Handler>) {
        self.pulse.until(|| (self.is_stopping() || self.state().has_work()).then_some(())).await;
        Box::pin(async {
            let handling = pin!(self.handle(handler));
            tokio::join!(handling, self.settle());
        })
        .await;
    }

    /// Runs the handlers, and when that is over gives back what is left.
    async fn handle(self: &Arc<Self>, handler: &Arc<dyn Handler>) {
        if self.settings.concurrency == 1 {
            self.lane(0, &**handler).await;
        } else {
            Box::pin(self.lanes(handler)).await;
        }
        self.pulse.until(|| (!self.state().fetching).then_some(())).await;
        self.release_rest();
        // Dead letters that are being stored may still succeed.
        self.pulse.until(|| self.state().burying.is_empty().then_some(())).await;
        self.lifecycle.advance(Phase::Finishing);
        self.pulse.beat();
    }

    /// Runs several lanes, each a task of its own.
    async fn lanes(self: &Arc<Self>, handler: &Arc<dyn Handler>) {
        let mut lanes = tokio::task::JoinSet::new();
        for number in 0..self.settings.concurrency {
            let (shared, handler) = (Arc::clone(self), Arc::clone(handler));
            lanes.spawn(async move {
                shared.lane(number, &*handler).await;
                failure::let_go(handler);
            });
        }
        while lanes.join_next().await.is_some() {}
    }

    /// Gives back what was fetched and not started.
    fn release_rest(&self) {
        let mut state = self.state();
        for run in state.schedule.drain() {
            self.release(&mut state, run);
        }
    }

    fn release(&self, state: &mut State<S::Token>, run: Run<S::Token>) {
        let count = run.len() as u64;
        self.source.progress().give_back(count);
        self.counters.released.fetch_add(count, Relaxed);
        state.settled.push(Settled { run, outcome: Outcome::Release });
    }

    fn stop(&self, phase: Phase) {
        self.lifecycle.advance(phase);
        self.look_again();
    }

    fn look_again(&self) {
        self.pulse.beat();
        self.ready.notify_all();
    }

    /// Says that something may start, for lanes with tasks of their own. One is enough: who leaves something calls the next.
    fn call_lane(&self) {
        match (self.settings.concurrency, self.settings.batch) {
            (1, _) => {}
            (_, None) => self.ready.notify_one(),
            // Who gathers a batch hears this too and may not take what there is.
            (_, Some(_)) => self.ready.notify_all(),
        }
    }

    /// Ends the subscription because it cannot go on.
    fn fail(&self, error: Error) {
        let error = error.with("subscription", &self.settings.name);
        tracing::error!(target: "eventbus", %error, "a subscription cannot go on");
        let _ = self.verdict.set(error.clone());
        self.context.reporter.report(|| error);
        self.stop(Phase::Stopping);
    }

    fn metrics(&self) -> &SubscriptionMetrics {
        self.metrics.get_or_init(|| Box::new(SubscriptionMetrics::new(self.context.backend, &self.settings.name)))
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    fn is_stopping(&self) -> bool {
        self.lifecycle.reached(Phase::Stopping)
    }

    fn state(&self) -> MutexGuard<'_, State<S::Token>> {
        // No foreign code runs under this lock, so what it protects is consistent even if a panic poisoned it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("subscription", &self.name()).finish_non_exhaustive()
    }
}
