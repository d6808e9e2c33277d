//! The broker: everything an in-process bus knows, behind one lock.
//!
//! A plain state machine without waiting. What it cannot do at once it answers with whom to wait for, and it returns the wakers of those
//! who can go on, to be woken when the lock is released. Subscriptions that only read along find new events [without the lock](chain).

mod chain;
mod consumer;
mod consuming;
mod dedup;
mod letters;
mod line;
mod log;
mod publishing;
mod queue;
mod room;
mod routes;
mod stats;
mod subscribing;

use self::{
    chain::Chain,
    consumer::{Consumer, Member},
    dedup::Window,
    letters::Letters,
    line::Line,
    log::Log,
    routes::Routes,
};
pub(crate) use self::{
    chain::Reader,
    consumer::Link,
    consuming::{Dealt, Next},
    publishing::{Admission, Arrival},
    subscribing::Joined,
};
use crate::config::MemoryBuilder;
use eventbus_core::{DeadLetter, DeadLetterFilter, Pattern, Result};
use slab::Slab;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Weak},
    task::Waker,
};
use tokio::sync::oneshot;

type ChainId = usize;
type ConsumerId = usize;
pub(crate) type MemberId = usize;

/// Resolves when everything that holds it is gone: the publisher of an event waits for that with inline dispatch.
pub(crate) type Latch = Arc<oneshot::Sender<()>>;

/// What belongs to an event on its way to a consumer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Token {
    /// Its position in the log, from 1.
    pub(crate) sequence: u64,
    /// When it was admitted, in nanoseconds since the Unix epoch.
    pub(crate) at: u64,
    /// What it counts towards `buffer_bytes`.
    pub(crate) bytes: u32,
    pub(crate) latch: Option<Latch>,
}

/// Whether the bus delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// What is published is held back.
    Held,
    Open,
    /// What is there is delivered; only handlers may publish.
    Draining,
    Closed,
}

/// Those who can go on. Woken where no lock is held.
#[derive(Default)]
pub(crate) struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    fn add(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    fn add_all(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        wakers.into_iter().for_each(|waker| self.add(waker));
    }

    pub(crate) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.more.into_iter().for_each(Waker::wake);
        }
    }
}

pub(crate) struct Broker {
    phase: Phase,
    log: Log,
    window: Window,
    letters: Letters,
    routes: Routes,
    chains: Slab<Chain>,
    chain_of: HashMap<Vec<Pattern>, ChainId>,
    consumers: Slab<Consumer>,
    members: Slab<Member>,
    groups: BTreeMap<Box<str>, ConsumerId>,
    /// What was published before the start.
    held: VecDeque<Arrival>,
    /// Those who wait until nothing is left to be delivered.
    idle: Line,
    /// How often somebody has got in a line.
    waits: u64,
    /// The latest admission. The system's clock may step back; positions in time do not.
    now: u64,
    published: u64,
    duplicates: u64,
    /// With inline dispatch: who waits for the event of a sequence.
    cascades: BTreeMap<u64, Weak<oneshot::Sender<()>>>,
    config: Limits,
}

/// The settings that the broker itself needs.
struct Limits {
    hold: usize,
    inline: bool,
    /// What is kept for a group without members.
    group_events: u64,
    group_bytes: u64,
}

impl Broker {
    pub(crate) fn new(config: &MemoryBuilder) -> Self {
        Self {
            phase: if config.hold.is_some() { Phase::Held } else { Phase::Open },
            log: Log::new(config.retention),
            window: Window::new(config.dedup_window, config.dedup_events),
            letters: Letters::new(config.max_dead_letters),
            routes: Routes::default(),
            chains: Slab::new(),
            chain_of: HashMap::new(),
            consumers: Slab::new(),
            members: Slab::new(),
            groups: BTreeMap::new(),
            held: VecDeque::new(),
            idle: Line::default(),
            waits: 0,
            now: 0,
            published: 0,
            duplicates: 0,
            cascades: BTreeMap::new(),
            config: Limits {
                hold: config.hold.unwrap_or(0),
                inline: config.inline,
                group_events: config.retention.events as u64,
                group_bytes: config.retention.bytes as u64,
            },
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes no more from outside, or no more at all. Publishers that wait for room look again, to learn that there will be none.
    pub(crate) fn end(&mut self, phase: Phase, wakes: &mut Wakes) {
        self.phase = phase;
        self.consumers.iter_mut().for_each(|(_, consumer)| wakes.add_all(consumer.blocked.drain()));
    }

    /// Who waits for the event of a sequence, with inline dispatch.
    pub(crate) fn cascade(&self, sequence: Option<u64>) -> Option<Latch> {
        self.cascades.get(&sequence?)?.upgrade()
    }
}

/// Dead letters.
impl Broker {
    pub(crate) fn store_letter(&mut self, letter: DeadLetter) -> Result<()> {
        self.letters.store(letter)
    }

    pub(crate) fn letters(&self, filter: &DeadLetterFilter) -> Vec<DeadLetter> {
        self.letters.list(filter)
    }

    pub(crate) fn letter_numbers(&self, filter: &DeadLetterFilter) -> Vec<u64> {
        self.letters.numbers(filter)
    }

    pub(crate) fn take_letter(&mut self, number: u64) -> Option<DeadLetter> {
        self.letters.take(number)
    }

    pub(crate) fn put_back_letter(&mut self, number: u64, letter: DeadLetter) {
        self.letters.put_back(number, letter);
    }
}
