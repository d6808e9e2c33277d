//! A source that does what a test says.

use eventbus_core::{Capabilities, DeadLetterReason, Error, ErrorKind, Event, Handler, Plan, Result, Subscribe};
use eventbus_runtime::{Backlog, Buried, Engine, EngineContext, Fetched, Outcome, Progress, Reporter, Run, Settled, Source, Ticket};
use eventbus_testing::{Gate, NoopBus};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Notify;

/// Numbers are events and their tokens at once. Cheap to clone; clones are the same source.
#[derive(Clone)]
pub(crate) struct Script(Arc<Inner>);

struct Inner {
    lease: Option<Duration>,
    progress: Progress,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    incoming: VecDeque<Result<Fetched<u64>>>,
    /// What was settled, in order.
    pub(crate) settled: Vec<(u64, Outcome)>,
    pub(crate) buried: Vec<(u64, DeadLetterReason, u32)>,
    /// What each fetch asked for.
    pub(crate) asked: Vec<usize>,
    /// The tokens in each extension of leases.
    pub(crate) extended: Vec<Vec<u64>>,
    /// What the next extension says is lost.
    pub(crate) to_lose: Vec<u64>,
    /// Opened in the moment of a loss.
    pub(crate) open_at_loss: Option<Gate>,
    /// So many calls fail first.
    pub(crate) settle_faults: usize,
    pub(crate) bury_faults: usize,
    pub(crate) ended: bool,
}

/// An event with a number as its data and its partition key out of `keys`.
pub(crate) fn event(number: u64, keys: u64) -> Event {
    Event::builder("a").id(number.to_string()).data(number).partition_key((number % keys).to_string()).build().unwrap()
}

pub(crate) fn unreachable() -> Error {
    Error::new(ErrorKind::Unavailable, "the server is away")
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::with_lease(None)
    }

    pub(crate) fn with_lease(lease: Option<Duration>) -> Self {
        Self(Arc::new(Inner { lease, progress: Progress::default(), state: Mutex::default(), changed: Notify::new() }))
    }

    /// Starts an engine on this source.
    pub(crate) fn run(&self, subscribe: Subscribe, handler: impl Handler) -> Engine<Self> {
        self.run_reporting(subscribe, handler, Reporter::new())
    }

    pub(crate) fn run_reporting(&self, subscribe: Subscribe, handler: impl Handler, reporter: Reporter) -> Engine<Self> {
        let plan = Plan::new(subscribe.name("scripted"), &Capabilities::all("script"), "handler").unwrap();
        let context = EngineContext { bus: Arc::new(NoopBus::new()), reporter, backend: "script" };
        Engine::start(self.clone(), Arc::new(handler), plan, context)
    }

    pub(crate) fn bring(&self, fetched: Result<Fetched<u64>>) {
        self.state().incoming.push_back(fetched);
        self.0.changed.notify_waiters();
    }

    /// Brings these numbers as one run of first attempts.
    pub(crate) fn bring_numbers(&self, numbers: std::ops::Range<u64>) {
        let batch: eventbus_runtime::Batch<u64> = numbers.map(|number| (event(number, 3), number)).collect();
        let places = batch.places();
        self.bring(Ok(Fetched::Run(Run::new(Arc::new(batch), 0..places, 1))));
    }

    /// Brings a delivery back, as the attempt that it is on now.
    pub(crate) fn bring_back(&self, number: u64, attempt: u32, ticket: Option<Ticket>) {
        self.bring(Ok(Fetched::Run(Run::one(event(number, 3), number, attempt).with_ticket(ticket))));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.0.changed.notified();
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            tokio::time::timeout(Duration::from_secs(3600), changed).await.expect("what the test waits for never came");
        }
    }

    /// Waits until so many deliveries are acknowledged, and returns which, in order.
    pub(crate) async fn acked(&self, count: usize) -> Vec<u64> {
        self.until(|state| {
            let acked: Vec<_> = state.settled.iter().filter(|(_, outcome)| *outcome == Outcome::Ack).map(|(number, _)| *number).collect();
            (acked.len() >= count).then_some(acked)
        })
        .await
    }

    /// Waits until this delivery was put back, and returns after which delay and with which ticket.
    pub(crate) async fn put_back(&self, number: u64) -> (Duration, Option<Ticket>) {
        self.until(|state| {
            state.settled.iter().rev().find_map(|settled| match settled {
                (of, Outcome::Retry { after, ticket }) if *of == number => Some((*after, *ticket)),
                _ => None,
            })
        })
        .await
    }
}

impl Source for Script {
    type Token = u64;

    async fn fetch(&self, max: usize) -> Result<Fetched<u64>> {
        self.state().asked.push(max);
        self.0.changed.notify_waiters();
        self.until(|state| {
            // Where there is no room, only what others wait for may come.
            let comes = |next: &Result<Fetched<u64>>| max > 0 || matches!(next, Ok(Fetched::Run(run)) if run.attempt() > 1);
            let at = state.incoming.iter().position(comes)?;
            let mut next = state.incoming.remove(at)?;
            if let Ok(Fetched::Run(run)) = &mut next
                && let Some(rest) = run.split_off(max.max(1))
            {
                state.incoming.push_front(Ok(Fetched::Run(rest)));
            }
            Some(next)
        })
        .await
    }

    async fn settle(&self, settled: &mut Vec<Settled<u64>>) -> Result<()> {
        let mut state = self.state();
        if state.settle_faults > 0 {
            state.settle_faults -= 1;
            self.0.changed.notify_waiters();
            return Err(unreachable());
        }
        for Settled { run, outcome } in settled.drain(..) {
            state.settled.extend(run.iter().map(|(_, token)| (*token, outcome)));
        }
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn bury(&self, buried: &Buried<u64>) -> Result<()> {
        let mut state = self.state();
        if state.bury_faults > 0 {
            state.bury_faults -= 1;
            self.0.changed.notify_waiters();
            return Err(unreachable());
        }
        state.buried.push((*buried.run.first().1, buried.letter.reason, buried.letter.attempts));
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    fn lease(&self) -> Option<Duration> {
        self.0.lease
    }

    async fn extend(&self, held: &[Run<u64>]) -> Result<Vec<Run<u64>>> {
        let mut state = self.state();
        let tokens = held.iter().flat_map(|run| run.iter().map(|(_, token)| *token)).collect();
        state.extended.push(tokens);
        let to_lose = std::mem::take(&mut state.to_lose);
        if let Some(gate) = state.open_at_loss.take_if(|_| !to_lose.is_empty()) {
            gate.open();
        }
        drop(state);
        self.0.changed.notify_waiters();
        let one_by_one =
            held.iter().flat_map(|run| run.range().map(|place| Run::new(Arc::clone(run.batch()), place..place + 1, run.attempt())));
        Ok(one_by_one.filter(|run| to_lose.contains(run.first().1)).collect())
    }

    fn ended(&self) {
        self.state().ended = true;
    }

    fn progress(&self) -> &Progress {
        &self.0.progress
    }

    fn backlog(&self) -> Backlog {
        Backlog::default()
    }
}
