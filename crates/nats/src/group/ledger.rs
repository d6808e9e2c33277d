//! What a member of a group has, and what it has given back.
//!
//! Plain bookkeeping without waiting, shared by fetching, settling and the keeping of leases.

use crate::{delivery::Token, unstarted::Unstarted};
use eventbus_core::{Error, Event};
use eventbus_runtime::{Batch, Fetched, Run, Ticket};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long what was put back is remembered after it was due, where nothing waits for it.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many such memories there are before the old ones are cleared away.
const MEMORIES: usize = 1024;

#[derive(Default)]
pub(super) struct Ledger {
    /// What has arrived and the engine has not asked for.
    arrived: VecDeque<Arrived>,
    /// The highest place in the stream of what has arrived.
    highest: u64,
    /// What the engine has, by its place in the stream.
    held: HashMap<u64, (), RandomState>,
    /// What was given back to be tried again, by its place in the stream.
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
}

/// A delivery that was given back.
#[derive(Debug, Clone, Copy)]
struct Back {
    ticket: Option<Ticket>,
    delivered: u64,
    uncounted: u64,
    due: Instant,
    /// How often the server has shown since that it is well, without bringing this back.
    shown: u32,
}

impl Ledger {
    /// Takes in a message. False where the engine has that very event: the server takes it for lost and is wrong.
    pub(super) fn arrive(&mut self, event: Event, mut token: Token, fault: Option<Error>) -> bool {
        let mut counted = token.delivered <= 1;
        let mut ticket = None;
        // A server that was killed may have forgotten that it has delivered it.
        let is_known = !counted || token.sequence <= self.highest;
        self.highest = self.highest.max(token.sequence);
        if is_known {
            if self.held.contains_key(&token.sequence) {
                return false;
            }
            if let Some(at) = self.arrived.iter().position(|arrived| arrived.token.sequence == token.sequence) {
                ticket = self.arrived.remove(at).and_then(|older| older.ticket);
            }
            if let Some(back) = self.back.remove(&token.sequence) {
                ticket = ticket.or(back.ticket);
                // Nobody had it in between, so nothing has changed.
                counted |= token.delivered == back.delivered + 1;
                token.uncounted = back.uncounted;
            }
        }
        self.arrived.push_back(Arrived { event, token, fault, counted, ticket });
        true
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
        let at = if max == 0 { self.arrived.iter().position(|arrived| arrived.ticket.is_some())? } else { 0 };
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
        let mut deliveries = vec![(event, token)];
        while deliveries.len() < max
            && let Some(next) = self.arrived.pop_front_if(|next| next.is_like(attempt))
        {
            self.hold(&next.token);
            deliveries.push((next.event, next.token));
        }
        let batch: Batch<Token> = deliveries.into_iter().collect();
        let places = batch.places();
        Some(Fetched::Run(Run::new(Arc::new(batch), 0..places, attempt)))
    }

    fn hold(&mut self, token: &Token) {
        self.held.insert(token.sequence, ());
        self.unstarted.add(token.bytes);
    }

    /// The engine is done with a delivery.
    pub(super) fn let_go(&mut self, token: &Token) {
        self.held.remove(&token.sequence);
    }

    /// A delivery goes back to be tried again.
    pub(super) fn put_back(&mut self, token: &Token, due: Instant, ticket: Option<Ticket>) {
        self.let_go(token);
        if self.back.len() >= MEMORIES {
            let now = Instant::now();
            self.back.retain(|_, back| back.ticket.is_some() || back.due + REMEMBERED > now);
        }
        let Token { sequence, delivered, uncounted, .. } = *token;
        self.back.insert(sequence, Back { ticket, delivered, uncounted, due, shown: 0 });
    }

    /// Whether an event is here, or is awaited here.
    pub(super) fn knows(&self, sequence: u64) -> bool {
        self.held.contains_key(&sequence)
            || self.back.contains_key(&sequence)
            || self.arrived.iter().any(|arrived| arrived.token.sequence == sequence)
    }

    /// How many messages wait for the engine to ask for them.
    pub(super) fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// When the first of what others wait for is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.back.values().filter(|back| back.ticket.is_some()).map(|back| back.due).min()
    }

    /// Whether something that others wait for should have come back by now.
    pub(super) fn is_overdue(&self, by: Duration) -> bool {
        self.next_due().is_some_and(|due| due + by <= Instant::now())
    }

    /// The server has shown that it is well and that everything up to `floor` is settled. What is settled will not come back, and what it
    /// would have brought by now is with another member.
    pub(super) fn give_up_waiting(&mut self, floor: u64, by: Duration, shows: u32) {
        let now = Instant::now();
        let gone = &mut self.gone;
        self.back.retain(|sequence, back| {
            let Some(ticket) = back.ticket.filter(|_| back.due + by <= now) else { return true };
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

    /// What was given back, and when each is due.
    pub(super) fn each_back(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.back.iter().map(|(sequence, back)| (*sequence, back.due))
    }

    /// What has arrived and was not asked for: it goes back. What others wait for they go on waiting for.
    pub(super) fn take_arrived(&mut self) -> Vec<Token> {
        let due = Instant::now();
        let mut tokens = Vec::with_capacity(self.arrived.len());
        for Arrived { token, ticket, .. } in self.arrived.drain(..) {
            if ticket.is_some() {
                // This delivery counts for nothing.
                let (delivered, uncounted) = (token.delivered, token.uncounted + 1);
                self.back.insert(token.sequence, Back { ticket, delivered, uncounted, due, shown: 0 });
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

    /// The stream is another one: its places mean something else. Whatever waits for the old ones goes on.
    pub(super) fn forget(&mut self) {
        self.gone.extend(self.arrived.drain(..).filter_map(|arrived| arrived.ticket));
        self.highest = 0;
        self.held.clear();
        self.gone.extend(self.back.drain().filter_map(|(_, back)| back.ticket));
    }
}

impl Arrived {
    /// Whether it can be in one run with others that are on this attempt.
    fn is_like(&self, attempt: u32) -> bool {
        self.counted && self.ticket.is_none() && self.fault.is_none() && self.token.attempt() == attempt
    }
}

#[cfg(test)]
mod tests;
