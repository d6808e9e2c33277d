//! What a member fetches, and when: a small machine that is polled by the engine.
//!
//! What is asked of the server goes on while nobody polls, and its answer is kept. So a fetch that is dropped loses nothing.

mod arriving;

use super::{
    member::{GRACE, Member},
    reading::{Claimed, Read, Wanted},
};
use crate::{
    entry::EntryId,
    source::{Step, Token, by_itself},
};
use eventbus_core::{Error, Result};
use eventbus_runtime::{Fetched, Run, Ticket};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How often a member that waits looks for what others left behind.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than anything takes that is under way.
const LONG: Duration = Duration::from_secs(3600);
/// The least time between two attempts to take what is due by the clock here, and not by the server's.
const BRIEF: Duration = Duration::from_millis(10);
/// How many entries are read at once at the most.
const MOST: usize = 1000;
/// How much of what this member put back is claimed at once at the most, whatever the room: the server does nothing else meanwhile.
const MOST_OWN: usize = 256;

type Place = (u32, EntryId);
/// Deliveries, each with its attempt.
pub(super) type Held = HashMap<Place, u32>;

/// A read that is under way.
struct Reading {
    step: Step<Result<Read>>,
    /// What the server gave to it, or may have given, and has been asked for again since: its answer may come late, when all of that is settled.
    overtaken: HashSet<Place>,
}

pub(super) struct Fetching {
    /// What others wait for, come back.
    returned: VecDeque<Fetched<Token>>,
    /// What else was fetched and not handed over.
    stash: VecDeque<Fetched<Token>>,
    /// When the first lease of all that may be over, by the server's clock. It may have been renewed since.
    expiry: u64,
    reading: Vec<Option<Reading>>,
    claiming: Option<Step<Result<Vec<Claimed>>>>,
    /// What was lost with a connection is being asked for. Nothing else is until it is there.
    recovering: Option<Step<Result<Vec<Claimed>>>>,
    /// Whether an answer was lost, and what it brought with it, that nobody has asked for again.
    is_incomplete: bool,
    /// Everything that this process has of the group.
    held: Held,
    /// What was let go while the server was asked for what is missing: its answer may be older than that.
    let_go_meanwhile: HashSet<(Place, u32)>,
    passing: Option<Step<(Vec<Place>, Result<()>)>>,
    /// What no pattern wants and is still to be acknowledged.
    unwanted: Vec<Place>,
    /// What was put back and others wait for, with when it is due.
    expected: BTreeMap<Place, (Ticket, Instant)>,
    /// Where the search for members that are silent goes on, by partition. Empty where it rests.
    cursors: Vec<String>,
    next_claim: Instant,
    /// Which partition is asked first for what is to be taken over.
    first_claim: u32,
    next_search: Instant,
    next_passing: Instant,
    /// How much of what was read was wanted, lately.
    wanted: f64,
    /// How many bytes an entry has, lately.
    size: f64,
    /// What failed while nobody fetched, and is still to be told.
    failures: VecDeque<Error>,
    alarm: Pin<Box<Sleep>>,
    waker: Option<Waker>,
    ended: bool,
}

impl Fetching {
    pub(super) fn new(member: &Member) -> Self {
        let now = Instant::now();
        Self {
            returned: VecDeque::new(),
            stash: VecDeque::new(),
            expiry: 0,
            reading: (0..member.readers()).map(|_| None).collect(),
            claiming: None,
            recovering: None,
            is_incomplete: false,
            held: Held::new(),
            let_go_meanwhile: HashSet::new(),
            passing: None,
            unwanted: Vec::new(),
            expected: BTreeMap::new(),
            cursors: (0..member.partitions()).map(|_| String::new()).collect(),
            next_claim: now,
            first_claim: 0,
            next_search: now,
            next_passing: now,
            wanted: 1.0,
            size: 0.0,
            failures: VecDeque::new(),
            alarm: Box::pin(tokio::time::sleep_until(now)),
            waker: None,
            ended: false,
        }
    }

    /// Hands over what there is, or goes on fetching. With a `max` of 0 only what others wait for is wanted.
    pub(super) fn poll(&mut self, member: &Arc<Member>, max: usize, cx: &mut Context<'_>) -> Poll<Result<Fetched<Token>>> {
        loop {
            if self.ended {
                return Poll::Pending;
            }
            self.give_up_expired(member);
            if let Some(fetched) = self.take(max) {
                return Poll::Ready(Ok(fetched));
            }
            if let Some(error) = self.failures.pop_front() {
                return Poll::Ready(Err(error));
            }
            self.begin(member, max);
            if self.advance(member, cx)? {
                continue;
            }
            let wake = self.wake_at(max);
            if self.alarm.deadline() != wake {
                self.alarm.as_mut().reset(wake);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }

    /// Takes in what has arrived, whether or not anybody fetches: for as long as it is in an answer only, nobody renews its lease.
    pub(super) fn catch_up(&mut self, member: &Arc<Member>) {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.advance(member, &mut cx) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failures.push_back(error),
            }
        }
        // What is under way would wake nobody now. Whoever fetches has to ask for that again, and may find something.
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Goes on with what is under way, and begins nothing. False where nothing has moved.
    fn advance(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Result<bool> {
        let mut moved = self.poll_passing(cx);
        for poll in [Self::poll_recovering, Self::poll_claiming, Self::poll_reading] {
            if let Poll::Ready(outcome) = poll(self, member, cx) {
                outcome?;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn take(&mut self, max: usize) -> Option<Fetched<Token>> {
        if let Some(returned) = self.returned.pop_front() {
            return Some(returned);
        }
        if max == 0 {
            return None;
        }
        match self.stash.pop_front()? {
            Fetched::Run(mut run) => {
                if let Some(rest) = run.split_off(max) {
                    self.stash.push_front(Fetched::Run(rest));
                }
                Some(Fetched::Run(run))
            }
            other => Some(other),
        }
    }

    /// Hands over nothing whose lease ran out while nobody fetched: others may have it by now. What is still this member's comes back
    /// when the server is asked what that is.
    fn give_up_expired(&mut self, member: &Member) {
        let now = member.server_now();
        if now < self.expiry {
            return;
        }
        let end = |fetched: &Fetched<Token>| match fetched {
            Fetched::Run(run) | Fetched::Undecodable(run, _) => run.first().1.lease.as_ref().map_or(u64::MAX, |lease| lease.end()),
            _ => u64::MAX,
        };
        self.expiry = u64::MAX;
        let mut expired = Vec::new();
        for queue in [&mut self.returned, &mut self.stash] {
            for fetched in std::mem::take(queue) {
                let end = end(&fetched);
                if end <= now {
                    expired.push(fetched);
                } else {
                    self.expiry = self.expiry.min(end);
                    queue.push_back(fetched);
                }
            }
        }
        for fetched in expired {
            let (Fetched::Run(run) | Fetched::Undecodable(run, _)) = fetched else { continue };
            self.is_incomplete = true;
            member.tally.lost(run.len() as u64);
            for place in run.iter().map(|(_, token)| (token.partition, token.id)) {
                self.held.remove(&place);
                if let Some(ticket) = run.ticket() {
                    self.expected.insert(place, (ticket, Instant::now()));
                }
            }
        }
    }

    /// Begins what is due and not under way.
    fn begin(&mut self, member: &Arc<Member>, max: usize) {
        let now = Instant::now();
        if self.passing.is_none() && !self.unwanted.is_empty() && now >= self.next_passing {
            self.passing = Some(Box::pin(Arc::clone(member).pass_over(std::mem::take(&mut self.unwanted))));
        }
        if self.is_incomplete && self.recovering.is_none() && self.claiming.is_none() {
            // What is lost from here on is not in the answer.
            self.is_incomplete = false;
            self.recovering = Some(by_itself(Arc::clone(member).recover(self.held.clone())));
        }
        if self.is_incomplete || self.recovering.is_some() {
            return;
        }
        if self.claiming.is_none() && now >= self.claim_at(max) {
            if now >= self.next_search {
                // What got lost in a way that nobody noticed is looked for, too.
                self.is_incomplete = true;
                self.next_search = now + (member.lease() / 3).max(Duration::from_millis(100));
                self.cursors.iter_mut().filter(|cursor| cursor.is_empty()).for_each(|cursor| "-".clone_into(cursor));
            }
            // Another one is first each time, since there may be no room left for those behind it.
            let partitions = member.partitions();
            self.first_claim = (self.first_claim + 1) % partitions;
            let order = (0..partitions).map(|place| (self.first_claim + place) % partitions);
            self.claiming = Some(by_itself(Arc::clone(member).claim(self.want(order, now), max)));
        }
        // What is taken over is older than what is new, so it comes first.
        if max > 0 && self.claiming.is_none() {
            for reader in 0..self.reading.len() {
                if self.reading[reader].is_none() {
                    let count = self.count(member, reader, max);
                    let step = Box::pin(Arc::clone(member).read(reader, count));
                    self.reading[reader] = Some(Reading { step, overtaken: HashSet::new() });
                }
            }
        }
    }

    /// When to look for what is to be taken over.
    fn claim_at(&self, max: usize) -> Instant {
        let returns = self.expected.values().map(|(_, due)| *due).min();
        match (returns, max) {
            (Some(due), 0) => due,
            (None, 0) => Instant::now() + LOOK,
            (Some(due), _) => due.min(self.next_claim),
            (None, _) => self.next_claim,
        }
    }

    fn wake_at(&self, max: usize) -> Instant {
        let claim = if self.claiming.is_some() { Instant::now() + LOOK } else { self.claim_at(max) };
        if self.unwanted.is_empty() || self.passing.is_some() { claim } else { claim.min(self.next_passing) }
    }

    /// What to claim. What is due and finds no place among that is due still when this has been claimed, and comes next.
    fn want(&self, partitions: impl Iterator<Item = u32>, now: Instant) -> Vec<Wanted> {
        let mut left = MOST_OWN;
        let want = |partition| {
            let own = self.expected.range((partition, EntryId::FIRST)..).take_while(|((of, _), _)| *of == partition);
            let own: Vec<_> = own.filter(|(_, (_, due))| *due <= now).map(|((_, id), _)| *id).take(left).collect();
            left -= own.len();
            Wanted { partition, cursor: self.cursors[partition as usize].clone(), own }
        };
        partitions.map(want).collect()
    }

    /// How many entries a reader asks for, so that about `max` of them are wanted, and their bytes fit the buffer. The server counts for
    /// each stream.
    fn count(&self, member: &Member, reader: usize, max: usize) -> usize {
        let streams = self.reading.len().max(1) * member.home.readers[reader].1.len().max(1);
        let share = max.div_ceil(streams);
        let sifted = (share as f64 / self.wanted.clamp(0.002, 1.0)).ceil() as usize;
        let fitting = (member.plan().buffer_bytes as f64 / self.size.max(1.0)) as usize / streams;
        sifted.min(fitting).clamp(1, MOST)
    }

    /// Deliveries are this process's no more.
    pub(super) fn let_go(&mut self, run: &Run<Token>) {
        for (_, token) in run.iter() {
            // What was put back may have come back already, on its next attempt.
            let place = (token.partition, token.id);
            if self.held.get(&place) == Some(&run.attempt()) {
                self.held.remove(&place);
            }
            if self.recovering.is_some() {
                self.let_go_meanwhile.insert((place, run.attempt()));
            }
        }
    }

    /// Deliveries are about to be put back, and others will wait for them. They may be back before it is known here that they are.
    pub(super) fn announce(&mut self, run: &Run<Token>, ticket: Ticket) {
        let later = Instant::now() + LONG;
        self.expected.extend(run.iter().map(|(_, token)| ((token.partition, token.id), (ticket, later))));
    }

    /// Deliveries were put back for a while. Those with a ticket come back to this member first.
    pub(super) fn expect(&mut self, run: &Run<Token>, due: Instant, ticket: Option<Ticket>) {
        self.next_claim = self.next_claim.min(due);
        for (_, token) in run.iter() {
            // What came back already is expected no more.
            if let (Some(ticket), Some(expected)) = (ticket, self.expected.get_mut(&(token.partition, token.id))) {
                *expected = (ticket, due);
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What was fetched and not handed over.
    pub(super) fn waiting(&self) -> Vec<Run<Token>> {
        let runs = self.returned.iter().chain(&self.stash).filter_map(|fetched| match fetched {
            Fetched::Run(run) | Fetched::Undecodable(run, _) => Some(run.clone()),
            _ => None,
        });
        runs.collect()
    }

    /// Forgets a delivery that this member has lost, if it waits here.
    pub(super) fn forget(&mut self, lost: &Run<Token>) -> bool {
        let at = lost.range().start;
        let here = |fetched: &Fetched<Token>| match fetched {
            Fetched::Run(run) | Fetched::Undecodable(run, _) => Arc::ptr_eq(run.batch(), lost.batch()) && run.range().contains(&at),
            _ => false,
        };
        let mut ticket = None;
        let found = [&mut self.returned, &mut self.stash].into_iter().any(|queue| {
            let Some(place) = queue.iter().position(here) else { return false };
            if let Some(Fetched::Run(run) | Fetched::Undecodable(run, _)) = queue.remove(place) {
                // What is left of the run, on both sides.
                for rest in [run.range().start..at, at + 1..run.range().end].into_iter().rev().filter(|rest| !rest.is_empty()) {
                    queue.insert(place, Fetched::Run(Run::new(Arc::clone(run.batch()), rest, run.attempt())));
                }
                ticket = run.ticket();
            }
            true
        });
        if let Some(ticket) = ticket {
            // Others wait for it to come back, which it does elsewhere.
            self.returned.push_back(Fetched::Elsewhere(ticket));
            self.waker.take().into_iter().for_each(Waker::wake);
        }
        found
    }

    /// Fetches nothing more. Returns the reads that wait at the server.
    pub(super) fn end(&mut self) -> Vec<(usize, Step<Result<Read>>)> {
        self.ended = true;
        self.passing = None;
        let reading = self.reading.iter_mut().enumerate();
        reading.filter_map(|(reader, reading)| Some((reader, reading.take()?.step))).collect()
    }

    /// What else is still being given to this member, and is wanted no more.
    pub(super) fn end_claims(&mut self) -> Vec<Step<Result<Vec<Claimed>>>> {
        [self.claiming.take(), self.recovering.take()].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
