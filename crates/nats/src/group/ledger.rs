//! What a member of a group has, and what it has given back.
//!
//! Plain bookkeeping without waiting, shared by fetching, settling and the keeping of leases.

use super::settled::Places;
use crate::{api::ConsumerInfo, delivery::Token, unstarted::Unstarted};
use eventbus_core::{Error, Event};
use eventbus_runtime::{Batch, Fetched, Run, Ticket};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long what was put back is remembered after it was due, where nothing waits for it.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many such memories there are before the old ones are cleared away.
const MEMORIES: usize = 1024;
/// After about so many smaller messages a large one is forgotten.
const LATE: usize = 512;

#[derive(Default)]
pub(super) struct Ledger {
    /// What has arrived and the engine has not asked for.
    arrived: VecDeque<Arrived>,
    /// The highest place in the stream of what has arrived.
    highest: u64,
    /// When the newest of it was stored, as [`Token::stored_at`].
    newest: u64,
    /// The size of the largest message, of those that came of late.
    pub(super) largest: usize,
    /// The last delivery that the server is known to have counted.
    pub(super) delivery: u64,
    /// What the engine has, by its place in the stream.
    held: HashMap<u64, Held, RandomState>,
    settled: Places,
    /// Whether another member may have had what comes again.
    pub(super) is_shared: bool,
    /// What a server that was killed has forgotten to have delivered, until it has delivered it again.
    forgotten: Option<RangeInclusive<u64>>,
    /// What was given back and is to come again, by its place in the stream.
    back: HashMap<u64, Back, RandomState>,
    /// Tickets of what will not come back.
    pub(super) gone: Vec<Ticket>,
    pub(super) unstarted: Unstarted,
    /// Since when the server is known to leave us what we have.
    pub(super) extended: Option<Instant>,
    /// What is to be given back when the server can be reached.
    pub(super) returning: Vec<Token>,
}

/// A message that has arrived.
pub(super) struct Arrived {
    pub(super) event: Event,
    pub(super) token: Token,
    /// Why the message is no event.
    pub(super) fault: Option<Error>,
    /// Whether it is known how many of its deliveries count for nothing.
    pub(super) counted: bool,
    ticket: Option<Ticket>,
    /// When it may be tried again, where it came too early: a server that was killed forgets that it should wait.
    due: Option<Instant>,
}

/// What a message is that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It waits for the engine to ask for it.
    Waiting,
    /// The engine has that very event: the server takes it for lost and is wrong.
    Held,
    /// It was settled here: the server has not heard of it, or forgot it.
    Settled,
}

/// How often the server has delivered again what the engine has.
#[derive(Debug, Clone, Copy)]
struct Held {
    delivered: u64,
    uncounted: u64,
}

/// A delivery that was given back.
#[derive(Debug, Clone)]
pub(super) struct Back {
    ticket: Option<Ticket>,
    pub(super) token: Token,
    /// Nobody tried it: it shall come again at once, and in the order of the stream.
    pub(super) unstarted: bool,
    pub(super) due: Instant,
    /// How often the server has shown since that it is well, without bringing this back.
    shown: u32,
}

impl Ledger {
    /// Of a member that joins a group which has got so far.
    pub(super) fn new(group: &ConsumerInfo) -> Self {
        let mut ledger = Self { delivery: group.delivered.consumer_seq, ..Self::default() };
        ledger.settle_to(group.ack_floor.stream_seq);
        ledger
    }

    /// The connection was lost and made again, and the server says how far the group has got. One that was killed has forgotten the last
    /// deliveries.
    pub(super) fn resume(&mut self, group: &ConsumerInfo) {
        self.delivery = group.delivered.consumer_seq;
        let next = group.delivered.stream_seq + 1;
        if next <= self.highest {
            let forgotten = self.forgotten.take().unwrap_or(next..=self.highest);
            self.forgotten = Some(next.min(*forgotten.start())..=self.highest);
        }
    }

    /// Whether a message stands where another one stood: a server that was cut off from its disk may have lost the end of the stream, and
    /// give the places of what it lost to what it stores next.
    pub(super) fn is_overwritten_by(&self, token: &Token) -> bool {
        token.sequence <= self.highest && token.stored_at > self.newest
    }

    /// Takes in a message.
    pub(super) fn arrive(&mut self, event: Event, mut token: Token, fault: Option<Error>) -> Arrival {
        let mut counted = token.delivered <= 1;
        let (mut ticket, mut due) = (None, None);
        // A server that was killed may have forgotten that it has delivered it.
        let is_known = !counted || token.sequence <= self.highest;
        self.highest = self.highest.max(token.sequence);
        self.newest = self.newest.max(token.stored_at);
        self.largest = token.bytes.max(self.largest - self.largest / LATE);
        if is_known {
            if let Some(held) = self.held.get_mut(&token.sequence) {
                held.deliver_again(token.delivered);
                return Arrival::Held;
            }
            // But nobody forbids that a group is made to begin again: then it is new.
            let is_forgotten = counted && self.forgotten.as_ref().is_some_and(|forgotten| forgotten.contains(&token.sequence));
            if (is_forgotten || !counted) && self.settled.contains(token.sequence) {
                return Arrival::Settled;
            }
            if let Some(arrived) = self.arrived.iter_mut().find(|arrived| arrived.token.sequence == token.sequence) {
                // It keeps its place, since later ones may be behind it.
                arrived.deliver_again(token, self.is_shared);
                return Arrival::Waiting;
            }
            if let Some(back) = self.back.remove(&token.sequence) {
                (ticket, due) = (back.ticket, Some(back.due).filter(|due| *due > Instant::now()));
                // A server that has forgotten deliveries takes none of them back.
                token.delivered = token.delivered.max(back.token.delivered + 1);
                // What was delivered in between nobody had: it was lost on its way here.
                let lost = token.delivered - back.token.delivered - 1;
                counted |= lost == 0 || !self.is_shared;
                token.uncounted = back.token.uncounted + u64::from(back.unstarted) + lost;
            }
        }
        if counted && self.forgotten.as_ref().is_some_and(|forgotten| token.sequence > *forgotten.end()) {
            self.forgotten = None;
        }
        self.arrived.push_back(Arrived { event, token, fault, counted, ticket, due });
        Arrival::Waiting
    }

    /// What has arrived without it being known how many of its deliveries count.
    pub(super) fn uncounted(&self) -> Vec<u64> {
        self.arrived.iter().filter(|arrived| !arrived.counted).map(|arrived| arrived.token.sequence).collect()
    }

    /// Says how many deliveries of an event count for nothing.
    pub(super) fn count(&mut self, sequence: u64, uncounted: u64) {
        for arrived in self.arrived.iter_mut().filter(|arrived| arrived.token.sequence == sequence) {
            arrived.token.uncounted = uncounted;
            arrived.counted = true;
        }
    }

    /// Hands at most `max` deliveries to the engine; with a `max` of 0 only what others wait for.
    pub(super) fn take(&mut self, max: usize) -> Option<Fetched<Token>> {
        if let Some(ticket) = self.gone.pop() {
            return Some(Fetched::Elsewhere(ticket));
        }
        let now = Instant::now();
        let at = self.arrived.iter().position(|arrived| arrived.is_due(now) && (max > 0 || arrived.ticket.is_some()))?;
        if !self.arrived.get(at)?.counted {
            return None;
        }
        let Arrived { event, token, fault, ticket, .. } = self.arrived.remove(at)?;
        let attempt = token.attempt();
        self.hold(&token);
        if let Some(fault) = fault {
            return Some(Fetched::Undecodable(Run::one(event, token, attempt).with_ticket(ticket), fault));
        }
        if ticket.is_some() {
            return Some(Fetched::Run(Run::one(event, token, attempt).with_ticket(ticket)));
        }
        let mut deliveries = Vec::with_capacity(max.min(1 + self.arrived.len()));
        deliveries.push((event, token));
        while deliveries.len() < max
            && at == 0
            && let Some(next) = self.arrived.pop_front_if(|next| next.is_like(attempt, now))
        {
            self.hold(&next.token);
            deliveries.push((next.event, next.token));
        }
        let batch: Batch<Token> = deliveries.into_iter().collect();
        let places = batch.places();
        Some(Fetched::Run(Run::new(Arc::new(batch), 0..places, attempt)))
    }

    fn hold(&mut self, token: &Token) {
        self.held.insert(token.sequence, Held { delivered: token.delivered, uncounted: token.uncounted });
        self.unstarted.add(token.bytes);
    }

    /// The server was told that a delivery is done with.
    pub(super) fn settle(&mut self, token: &Token) {
        self.let_go(token);
        self.settled.insert(token.sequence);
    }

    /// The group has settled everything up to a place.
    pub(super) fn settle_to(&mut self, floor: u64) {
        self.settled.insert_to(floor);
    }

    /// The engine does not have a delivery any more.
    pub(super) fn let_go(&mut self, token: &Token) {
        self.held.remove(&token.sequence);
    }

    /// A delivery goes back to be tried again.
    pub(super) fn put_back(&mut self, token: &Token, due: Instant, ticket: Option<Ticket>) {
        let token = self.renewed(token);
        self.let_go(&token);
        self.forget_old_memories();
        self.back.insert(token.sequence, Back { ticket, token, unstarted: false, due, shown: 0 });
    }

    /// A delivery goes back that nobody tried. Whoever waits for it goes on waiting.
    pub(super) fn give_back(&mut self, token: &Token) {
        self.let_go(token);
        self.forget_old_memories();
        let (sequence, due) = (token.sequence, Instant::now());
        let back = Back { ticket: None, token: token.clone(), unstarted: true, due, shown: 0 };
        match self.back.get_mut(&sequence) {
            Some(before) => *before = Back { ticket: before.ticket, due: before.due, ..back },
            None => drop(self.back.insert(sequence, back)),
        }
    }

    fn forget_old_memories(&mut self) {
        if self.back.len() >= MEMORIES {
            let now = Instant::now();
            self.back.retain(|_, back| back.ticket.is_some() || back.due + REMEMBERED > now);
        }
    }

    /// Deliveries are to be given back that the engine did not start.
    pub(super) fn give_back_later<'a>(&mut self, tokens: impl Iterator<Item = &'a Token>) {
        let tokens: Vec<Token> = tokens.map(|token| self.renewed(token)).collect();
        self.returning.extend(tokens);
    }

    /// A delivery with what the server has counted since the engine got it.
    fn renewed(&self, token: &Token) -> Token {
        let held = self.held.get(&token.sequence).map(|held| (held.delivered, held.uncounted));
        let (delivered, uncounted) = held.unwrap_or((token.delivered, token.uncounted));
        Token { delivered, uncounted, ..token.clone() }
    }

    /// Whether a delivery is here: it is settled no more than put back.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.held.contains_key(&sequence) || self.arrived.iter().any(|arrived| arrived.token.sequence == sequence)
    }

    /// Whether an event is here, is awaited here, or was settled here.
    pub(super) fn knows(&self, sequence: u64) -> bool {
        self.has(sequence) || self.settled.contains(sequence) || self.back.contains_key(&sequence)
    }

    /// How many messages wait for the engine to ask for them.
    pub(super) fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// When the first of what others wait for is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.awaited().map(|back| back.due).min()
    }

    /// When the first is due of what has come too early.
    pub(super) fn next_early(&self) -> Option<Instant> {
        self.arrived.iter().filter_map(|arrived| arrived.due).min()
    }

    /// What others wait for and should have come back by now.
    pub(super) fn overdue(&self, by: Duration) -> impl Iterator<Item = &Back> {
        let now = Instant::now();
        self.awaited().filter(move |back| back.due + by <= now)
    }

    fn awaited(&self) -> impl Iterator<Item = &Back> {
        self.back.values().filter(|back| back.ticket.is_some())
    }

    /// The server has shown that it is well, that everything up to `floor` is settled, and that it has delivered up to `reached`. What is settled
    /// will not come back, and what it would have brought by now is with another member.
    pub(super) fn give_up_waiting(&mut self, floor: u64, reached: u64, by: Duration, shows: u32) {
        let now = Instant::now();
        let gone = &mut self.gone;
        self.back.retain(|sequence, back| {
            let is_overdue = back.due + by <= now && *sequence <= reached;
            let Some(ticket) = back.ticket.filter(|_| is_overdue) else { return true };
            back.shown += 1;
            let is_gone = *sequence <= floor || back.shown > shows;
            gone.extend(is_gone.then_some(ticket));
            !is_gone
        });
    }

    /// The server may have been away: what it has shown does not count.
    pub(super) fn wait_on(&mut self) {
        self.back.values_mut().for_each(|back| back.shown = 0);
    }

    /// What was given back.
    pub(super) fn each_back(&self) -> impl Iterator<Item = &Back> {
        self.back.values()
    }

    /// What has arrived and was not asked for: it goes back. What others wait for they go on waiting for.
    pub(super) fn take_arrived(&mut self) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(self.arrived.len());
        for Arrived { token, ticket, due, .. } in self.arrived.drain(..) {
            if ticket.is_some() {
                let due = due.unwrap_or_else(Instant::now);
                self.back.insert(token.sequence, Back { ticket, token: token.clone(), unstarted: true, due, shown: 0 });
            }
            tokens.push(token);
        }
        tokens
    }

    /// The deliveries that wait here.
    pub(super) fn each_arrived(&self) -> impl Iterator<Item = &Token> {
        self.arrived.iter().map(|arrived| &arrived.token)
    }

    /// Since when the oldest has waited that the engine does not have.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.arrived.front().map(|arrived| arrived.token.waited())
    }

    /// The consumer is another one, which may bring on purpose what was settled before.
    pub(super) fn begin_again(&mut self, group: &ConsumerInfo) {
        self.delivery = group.delivered.consumer_seq;
        self.settled.clear();
        self.forgotten = None;
    }

    /// The stream is another one, or its end is: its places mean something else. Whatever waits for the old ones goes on.
    pub(super) fn forget(&mut self) {
        self.gone.extend(self.arrived.drain(..).filter_map(|arrived| arrived.ticket));
        self.highest = 0;
        self.held.clear();
        self.settled.clear();
        self.forgotten = None;
        self.gone.extend(self.back.drain().filter_map(|(_, back)| back.ticket));
    }
}

impl Arrived {
    /// Whether it can be in one run with others that are on this attempt.
    fn is_like(&self, attempt: u32, now: Instant) -> bool {
        self.counted && self.ticket.is_none() && self.fault.is_none() && self.is_due(now) && self.token.attempt() == attempt
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// The server has delivered it again, before anybody tried it.
    fn deliver_again(&mut self, token: Token, is_shared: bool) {
        let more = token.delivered.saturating_sub(self.token.delivered);
        // Somebody else may have had it in between.
        self.counted &= more < 2 || !is_shared;
        let (delivered, uncounted) = (self.token.delivered + more, self.token.uncounted + more);
        self.token = Token { delivered, uncounted, ..token };
    }
}

impl Held {
    /// It was here all the time, so that it was no attempt.
    fn deliver_again(&mut self, delivered: u64) {
        if delivered > self.delivered {
            self.uncounted += delivered - self.delivered;
            self.delivered = delivered;
        }
    }
}

#[cfg(test)]
mod tests;
