//! From consumers to their engines and back.

use super::{
    Broker, ConsumerId, MemberId, Token, Wakes,
    chain::Reader,
    consumer::{Delayed, Stream},
    publishing::{wake_member, wake_readers},
};
use eventbus_runtime::{Outcome, Run, Settled, Ticket};
use std::{collections::VecDeque, sync::atomic::Ordering::SeqCst, task::Waker, time::Duration};
use tokio::time::Instant;

/// What a member gets.
pub(crate) enum Next {
    Run(Run<Token>),
    /// Nothing yet; something is due then.
    Nothing(Option<Instant>),
}

/// What a member has dealt with, prepared without the lock.
pub(crate) enum Dealt {
    /// So many are done, which had so many bytes.
    Done {
        count: u64,
        bytes: u64,
    },
    Again {
        run: Run<Token>,
        after: Duration,
        ticket: Option<Ticket>,
    },
    Back(Run<Token>),
}

impl Dealt {
    pub(crate) fn new(settled: Settled<Token>) -> Self {
        let Settled { run, outcome } = settled;
        match outcome {
            Outcome::Retry { after, ticket } => {
                let (event, token) = run.first();
                // A batch of its own, so that one event does not keep the others of its batch in memory until it is due.
                Self::Again { run: Run::one(event.clone(), token.clone(), run.attempt().saturating_add(1)), after, ticket }
            }
            Outcome::Release => Self::Back(run),
            _ => Self::done(&run),
        }
    }

    pub(crate) fn done(run: &Run<Token>) -> Self {
        Self::Done { count: run.len() as u64, bytes: run.iter().map(|(_, token)| u64::from(token.bytes)).sum() }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Done { count, .. } => *count,
            Self::Again { run, .. } | Self::Back(run) => run.len() as u64,
        }
    }
}

impl Broker {
    /// Deliveries for a member: first what is to be tried again and what was given back, then what is new.
    pub(crate) fn fetch(&mut self, id: MemberId, max: usize, mut reader: Option<&mut Reader>, wakes: &mut Wakes) -> Next {
        let next = self.next(id, max, reader.as_deref_mut());
        if let Next::Run(run) = &next {
            self.members[id].link.fetched(run.len() as u64, reader.as_deref());
            self.pass_on(id, wakes);
        }
        next
    }

    /// A member of a group got something: it waits no more, and what is left is for another who does.
    fn pass_on(&mut self, id: MemberId, wakes: &mut Wakes) {
        let member = &mut self.members[id];
        let consumer = &mut self.consumers[member.consumer];
        let Stream::Queue(queue) = &mut consumer.stream else { return };
        if std::mem::take(&mut member.parked) {
            queue.parked.retain(|other| *other != id);
        }
        if queue.len() > 0 || !consumer.returned.is_empty() {
            wake_member(queue, &mut self.members, wakes);
        }
    }

    fn next(&mut self, id: MemberId, max: usize, reader: Option<&mut Reader>) -> Next {
        let member = &mut self.members[id];
        if member.leaving || member.paused {
            return Next::Nothing(None);
        }
        let consumer = &mut self.consumers[member.consumer];
        let mut due = None;
        let heaps = [Some(&mut member.delayed), (max > 0).then_some(&mut consumer.orphans)];
        for heap in heaps.into_iter().flatten() {
            let Some(first) = heap.peek() else { continue };
            if first.due > Instant::now() {
                due = Some(due.map_or(first.due, |earlier: Instant| earlier.min(first.due)));
            } else if let Some(Delayed { run, ticket, .. }) = heap.pop() {
                return Next::Run(run.with_ticket(ticket));
            }
        }
        if max == 0 {
            return Next::Nothing(due);
        }
        let run = take_first(&mut consumer.returned, max).or_else(|| take_first(&mut consumer.replay, max)).or_else(|| {
            match (&mut consumer.stream, reader) {
                (Stream::Chain { .. }, Some(reader)) => {
                    let besides = due.is_some() || !consumer.orphans.is_empty();
                    member.link.besides.store(besides, SeqCst);
                    reader.read(max, member.link.end.load(SeqCst))
                }
                (Stream::Queue(queue), _) => {
                    // Members share what there is, so that one does not take it all while others have nothing to do.
                    let share = queue.len().div_ceil(consumer.members.len().max(1) as u64);
                    queue.take(max.min(usize::try_from(share).unwrap_or(usize::MAX)))
                }
                (Stream::Chain { .. }, None) => None,
            }
        });
        run.map_or(Next::Nothing(due), Next::Run)
    }

    /// Remembers whom to wake when there is something for a member.
    pub(crate) fn park(&mut self, id: MemberId, max: usize, waker: &Waker, reader: Option<&mut Reader>, wakes: &mut Wakes) {
        let member = &mut self.members[id];
        match &mut member.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        match &mut self.consumers[member.consumer].stream {
            Stream::Chain { chain, .. } => {
                let chain = &mut self.chains[*chain];
                if let Some(reader) = reader {
                    chain.let_go();
                    reader.go_on();
                }
                if !std::mem::replace(&mut member.parked, true) {
                    chain.parked.push(id);
                }
            }
            // Who has no room waits for nothing that others could have.
            Stream::Queue(_) if max == 0 => {}
            Stream::Queue(queue) => {
                if !std::mem::replace(&mut member.parked, true) {
                    queue.parked.push_back(id);
                }
            }
        }
        let consumer = member.consumer;
        if max > 0 && !self.consumers[consumer].blocked.is_empty() {
            // All that the member has may wait for one handler that takes long, and then nobody gets on who would say that there is room.
            self.wake_watchers(consumer, 1, wakes);
        }
    }

    /// Takes back what a member has dealt with. What is done of a chain needs no lock and is counted by the caller.
    pub(crate) fn settle(&mut self, id: MemberId, dealt: impl Iterator<Item = Dealt>, wakes: &mut Wakes) {
        let consumer_id = self.members[id].consumer;
        for dealt in dealt {
            let consumer = &mut self.consumers[consumer_id];
            let member = &mut self.members[id];
            member.link.settled.fetch_add(dealt.count(), SeqCst);
            match (dealt, &mut consumer.stream) {
                (Dealt::Done { bytes, .. }, Stream::Queue(queue)) => queue.bytes = queue.bytes.saturating_sub(bytes),
                (Dealt::Done { bytes, .. }, Stream::Chain { .. }) => {
                    member.link.bytes_done.fetch_add(bytes, SeqCst);
                }
                (Dealt::Again { run, after, ticket }, _) => {
                    member.delayed.push(Delayed { due: Instant::now() + after, run, ticket });
                    self.changed(consumer_id);
                    // Its engine waits until something is due, and this may be due earlier.
                    if let Some(waker) = self.members[id].waker.take() {
                        wakes.add(waker);
                    }
                }
                (Dealt::Back(run), _) => {
                    consumer.give_back(run);
                    self.changed(consumer_id);
                    self.wake_consumer(consumer_id, wakes);
                }
            }
        }
        self.wake_watchers(consumer_id, self.worth_waking(id), wakes);
    }

    /// A member has got on: whoever waits for that may go on.
    pub(crate) fn progressed(&mut self, id: MemberId, patient: bool, wakes: &mut Wakes) {
        let consumer = self.members[id].consumer;
        let least = if patient { self.worth_waking(id) } else { 1 };
        self.wake_watchers(consumer, least, wakes);
    }

    /// How much room is worth waking a publisher for, as long as handlers go on.
    fn worth_waking(&self, id: MemberId) -> u64 {
        let member = &self.members[id];
        // Not every place that gets free: a publisher that is woken should find room for many. Where handlers do not go on, the engine says
        // so, and then any place will do; and so where it waits for events, since then this may have been all that it could do.
        if member.parked { 1 } else { self.quarter(member.consumer) }
    }

    /// There is something to fetch besides the chain, and less room than was thought.
    pub(super) fn changed(&mut self, id: ConsumerId) {
        let consumer = &self.consumers[id];
        if let Stream::Chain { chain, .. } = consumer.stream {
            self.chains[chain].room_until = 0;
        }
        consumer.members.iter().for_each(|member| self.members[*member].link.besides.store(true, SeqCst));
    }

    pub(super) fn wake_consumer(&mut self, id: ConsumerId, wakes: &mut Wakes) {
        match &mut self.consumers[id].stream {
            Stream::Chain { chain, .. } => wake_readers(&mut self.chains[*chain], &mut self.members, wakes),
            Stream::Queue(queue) => wake_member(queue, &mut self.members, wakes),
        }
    }

    /// Wakes publishers if there is room for at least so many, and those who wait for the end if it may have come.
    fn wake_watchers(&mut self, id: ConsumerId, least: u64, wakes: &mut Wakes) {
        if !self.consumers[id].blocked.is_empty() && self.room(id) >= least {
            wakes.add_all(self.consumers[id].blocked.drain());
        }
        if !self.idle.is_empty() && self.lag(id) == 0 {
            wakes.add_all(self.idle.drain());
        }
        let watched = !self.idle.is_empty() || !self.consumers[id].blocked.is_empty();
        self.consumers[id].members.iter().for_each(|member| self.members[*member].link.watched.store(watched, SeqCst));
    }
}

/// Who is done.
impl Broker {
    /// Whether everybody who is there to handle events has handled all. What is paused is not waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.consumers.iter().all(|(id, _)| self.is_consumer_idle(id))
    }

    /// Wakes `waker` when somebody has handled all, or is gone. What happened before this call may have been missed: look again. Returns the
    /// number to end it by.
    pub(crate) fn watch(&mut self, waker: &Waker) -> u64 {
        self.waits += 1;
        self.idle.join(self.waits, waker.clone());
        self.members.iter().for_each(|(_, member)| member.link.watched.store(true, SeqCst));
        self.waits
    }

    /// Who has watched does so no longer. Returns the waker if that was not used, to be dropped without the lock.
    pub(crate) fn unwatch(&mut self, number: u64) -> Option<Waker> {
        self.idle.leave(number)
    }

    /// Whether a member has nothing left that it was promised, or is paused.
    pub(crate) fn is_done(&self, member: MemberId) -> bool {
        let member = &self.members[member];
        member.paused || self.lag(member.consumer) == 0
    }

    fn is_consumer_idle(&self, id: ConsumerId) -> bool {
        let members = &self.consumers[id].members;
        members.is_empty() || members.iter().all(|member| self.members[*member].paused) || self.lag(id) == 0
    }

    /// Events of a consumer that are not settled.
    pub(super) fn lag(&self, id: ConsumerId) -> u64 {
        let consumer = &self.consumers[id];
        let count = |runs: &VecDeque<Run<Token>>| runs.iter().map(|run| run.len() as u64).sum::<u64>();
        let members = || consumer.members.iter().map(|member| &self.members[*member]);
        let unread = match &consumer.stream {
            Stream::Chain { chain, joined, .. } => {
                let link = members().next().map(|member| &member.link);
                // The position first: what lies before it has been counted as fetched.
                let position = link.map_or(*joined, |link| link.position.load(SeqCst));
                let end = link.map_or(u64::MAX, |link| link.end.load(SeqCst)).min(self.chains[*chain].tail());
                end.saturating_sub(position)
            }
            Stream::Queue(queue) => queue.len(),
        };
        let with_members = members().map(|member| member.delayed.len() as u64 + member.link.unsettled()).sum::<u64>();
        unread + with_members + count(&consumer.returned) + count(&consumer.replay) + consumer.orphans.len() as u64
    }
}

fn take_first(runs: &mut VecDeque<Run<Token>>, max: usize) -> Option<Run<Token>> {
    let mut run = runs.pop_front()?;
    if let Some(rest) = run.split_off(max) {
        runs.push_front(rest);
    }
    Some(run)
}

#[cfg(test)]
mod tests;
