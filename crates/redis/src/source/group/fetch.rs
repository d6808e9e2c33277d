//! What a member fetches, and when: a small machine that is polled by the engine.
//!
//! What is asked of the server goes on while nobody polls, and its answer is kept. So a fetch that is dropped loses nothing.

use super::{
    member::{GRACE, Member},
    reading::{Claimed, Read, Wanted},
    ready::Ready,
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

    fn poll_passing(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready((entries, outcome))) = self.passing.as_mut().map(|step| step.as_mut().poll(cx)) else { return false };
        self.passing = None;
        if outcome.is_ok() {
            entries.iter().for_each(|place| {
                self.held.remove(place);
            });
        } else {
            self.unwanted.extend(entries);
        }
        if let Err(error) = outcome {
            tracing::debug!(target: "eventbus", %error, "what no pattern wants could not be acknowledged, trying again");
            self.next_passing = Instant::now() + LOOK;
        }
        true
    }

    fn poll_claiming(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(Poll::Ready(claimed)) = self.claiming.as_mut().map(|step| step.as_mut().poll(cx)) else { return Poll::Pending };
        self.claiming = None;
        self.next_claim = Instant::now() + LOOK;
        self.is_incomplete |= claimed.is_err();
        for mut claimed in claimed? {
            if let Some(next) = claimed.next {
                self.next_claim = self.next_claim.min(Instant::now() + next);
            }
            if !claimed.cursor.is_empty() {
                self.next_claim = Instant::now();
            }
            self.cursors[claimed.partition as usize].clone_from(&claimed.cursor);
            let (partition, next, asked) = (claimed.partition, claimed.next, std::mem::take(&mut claimed.asked));
            self.take_over(member, claimed);
            self.put_off(partition, &asked, next);
        }
        Poll::Ready(Ok(()))
    }

    /// What was asked for and has not come back is not due yet by the server's clock, which may have been set back.
    fn put_off(&mut self, partition: u32, asked: &[EntryId], next: Option<Duration>) {
        let now = Instant::now();
        let later = now + next.unwrap_or(LOOK).saturating_sub(GRACE).clamp(BRIEF, LOOK);
        for id in asked {
            if let Some((_, due)) = self.expected.get_mut(&(partition, *id)).filter(|(_, due)| *due <= now) {
                *due = later;
            }
        }
    }

    fn poll_recovering(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(Poll::Ready(recovered)) = self.recovering.as_mut().map(|step| step.as_mut().poll(cx)) else { return Poll::Pending };
        self.recovering = None;
        self.is_incomplete |= recovered.is_err();
        let let_go = std::mem::take(&mut self.let_go_meanwhile);
        for mut recovered in recovered? {
            let partition = recovered.partition;
            recovered.entries.retain(|(entry, attempt)| !let_go.contains(&((partition, entry.id), *attempt)));
            for reading in self.reading.iter_mut().flatten() {
                reading.overtaken.extend(recovered.entries.iter().map(|(entry, _)| (partition, entry.id)));
            }
            self.take_over(member, recovered);
        }
        Poll::Ready(Ok(()))
    }

    fn take_over(&mut self, member: &Member, claimed: Claimed) {
        let Claimed { partition, entries, elsewhere, lease, .. } = claimed;
        for id in elsewhere {
            if let Some((ticket, _)) = self.expected.remove(&(partition, id)) {
                self.returned.push_back(Fetched::Elsewhere(ticket));
            }
        }
        self.expiry = self.expiry.min(lease.end());
        let mut ready = Ready::default();
        for (entry, attempt) in entries {
            let token = Token { partition, id: entry.id, lease: Some(Arc::clone(&lease)) };
            if self.held.insert((partition, entry.id), attempt) == Some(attempt) {
                // A read that went on meanwhile has brought it.
                continue;
            }
            let ticket = self.expected.remove(&(partition, entry.id)).map(|(ticket, _)| ticket);
            let Some(event) = member.sift(&entry, partition) else {
                self.unwanted.push((partition, entry.id));
                continue;
            };
            member.tally.fetched(1);
            match (event, ticket) {
                (Ok(event), None) => ready.push(event, token, attempt),
                (Ok(event), ticket) => self.returned.push_back(Fetched::Run(Run::one(event, token, attempt).with_ticket(ticket))),
                (Err((event, error)), ticket) => {
                    ready.put(Fetched::Undecodable(Run::one(event, token, attempt).with_ticket(ticket), error));
                }
            }
        }
        self.stash.extend(ready.into_fetched());
    }

    fn poll_reading(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut moved = Poll::Pending;
        for reader in 0..self.reading.len() {
            let Some(reading) = &mut self.reading[reader] else { continue };
            let Poll::Ready(read) = reading.step.as_mut().poll(cx) else { continue };
            let overtaken = std::mem::take(&mut reading.overtaken);
            self.reading[reader] = None;
            self.is_incomplete |= read.is_err();
            self.take_in(member, read?, &overtaken);
            moved = Poll::Ready(Ok(()));
        }
        moved
    }

    fn take_in(&mut self, member: &Member, read: Read, overtaken: &HashSet<Place>) {
        self.expiry = self.expiry.min(read.lease.end());
        let mut ready = Ready::default();
        let (mut all, mut wanted, mut bytes) = (0usize, 0usize, 0usize);
        for (partition, entries) in read.entries {
            for entry in entries {
                if overtaken.contains(&(partition, entry.id)) || self.held.insert((partition, entry.id), 1) == Some(1) {
                    // It was asked for again while this read went on.
                    continue;
                }
                all += 1;
                bytes += entry.size();
                match member.sift(&entry, partition) {
                    Some(event) => {
                        wanted += 1;
                        ready.read(event, Token { partition, id: entry.id, lease: Some(Arc::clone(&read.lease)) });
                    }
                    None => self.unwanted.push((partition, entry.id)),
                }
            }
        }
        if all > 0 {
            let smooth = |known: f64, now: f64| known + (now - known) * 0.5;
            self.wanted = smooth(self.wanted, wanted as f64 / all as f64);
            self.size = smooth(self.size, bytes as f64 / all as f64);
        }
        member.tally.fetched(wanted as u64);
        self.stash.extend(ready.into_fetched());
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
mod tests {
    use super::*;
    use crate::{entry::Entry, names::Names, source::Lease, source::group::Home};
    use eventbus_core::{Capabilities, Event, Plan, Subscribe};
    use eventbus_runtime::Reporter;
    use std::sync::Mutex;

    const TICKET: Ticket = Ticket::numbered(7);

    /// A member that asks nobody.
    fn member() -> Member {
        let home = Home { names: Names::new("t", 1), links: Vec::new(), readers: Vec::new(), lease: LOOK, reporter: Reporter::new() };
        Member::new(home, &Plan::new(Subscribe::to("a").group("g"), &Capabilities::all("test"), "test").unwrap())
    }

    fn entry() -> Entry {
        let fields = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "a")];
        Entry { id: "5-0".parse().unwrap(), fields: fields.map(|(name, value)| (name.into(), value.into())).into() }
    }

    /// The answer where nothing is to be taken over.
    fn nothing(lease: Arc<Lease>) -> Claimed {
        let (cursor, entries, asked, elsewhere) = (String::new(), Vec::new(), Vec::new(), Vec::new());
        Claimed { partition: 0, next: None, cursor, entries, asked, elsewhere, lease }
    }

    /// A delivery that others wait for.
    fn awaited() -> Run<Token> {
        let token = Token { partition: 0, id: "5-0".parse().unwrap(), lease: Some(Lease::until(1000)) };
        Run::one(Event::json("a", 1).unwrap(), token, 2).with_ticket(Some(TICKET))
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_does_not_take_for_due_is_asked_for_later() {
        let mut fetching = Fetching::new(&member());
        fetching.announce(&awaited(), TICKET);
        fetching.expect(&awaited(), Instant::now(), Some(TICKET));
        assert_eq!(fetching.claim_at(0), Instant::now(), "it is due by the clock here");
        for (next, later) in [(Some(Duration::from_secs(3600)), LOOK), (None, BRIEF), (Some(Duration::ZERO), BRIEF)] {
            tokio::time::advance(LOOK).await;
            fetching.put_off(0, &[awaited().first().1.id], next);
            assert_eq!(fetching.claim_at(0), Instant::now() + later, "{next:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_retries_are_claimed_a_few_at_a_time_and_all_at_once_after_each_other() {
        const MANY: u64 = 1000;
        let member = Arc::new(member());
        let mut fetching = Fetching::new(&member);
        let now = Instant::now();
        fetching.next_claim = now + LONG;
        let ids = (1..=MANY).map(|number| format!("{number}-0").parse::<EntryId>().unwrap());
        fetching.expected.extend(ids.map(|id| ((0, id), (TICKET, now))));
        let mut all = Vec::new();
        while all.len() < MANY as usize {
            assert_eq!((fetching.claim_at(0), fetching.claim_at(1)), (now, now), "after {}", all.len());
            let own = fetching.want(0..1, now).remove(0).own;
            assert!((1..=256).contains(&own.len()), "{}", own.len());
            all.extend(own.iter().copied());
            // None of them is due by the server's clock.
            let answer = Claimed { asked: own, next: Some(LONG), ..nothing(Lease::until(1000)) };
            fetching.claiming = Some(Box::pin(async { Ok(vec![answer]) }));
            assert!(fetching.advance(&member, &mut Context::from_waker(Waker::noop())).unwrap());
        }
        assert!(all.is_sorted() && all.len() == MANY as usize, "each was asked for once");
        assert_eq!(fetching.claim_at(0), now + LOOK, "all of them were put off");
    }

    #[tokio::test]
    async fn a_claim_of_several_partitions_brings_no_more_than_one_of_one() {
        let mut fetching = Fetching::new(&member());
        let now = Instant::now();
        fetching.cursors = vec![String::new(); 3];
        for partition in 0..3 {
            let ids = (1..=200).map(|number| format!("{number}-0").parse::<EntryId>().unwrap());
            fetching.expected.extend(ids.map(|id| ((partition, id), (TICKET, now))));
        }
        let own: Vec<_> = fetching.want([1, 2, 0].into_iter(), now).iter().map(|wanted| (wanted.partition, wanted.own.len())).collect();
        assert_eq!(own, [(1, 200), (2, 56), (0, 0)]);
    }

    #[tokio::test]
    async fn what_waits_here_is_looked_through_when_a_lease_may_be_over() {
        let member = member();
        let mut fetching = Fetching::new(&member);
        let lease = Lease::until(1000);
        fetching.expiry = u64::MAX;
        fetching.take_over(&member, Claimed { entries: vec![(entry(), 2)], ..nothing(Arc::clone(&lease)) });
        for (now, renewed_to, next) in [(900, 1000, 1000), (900, 2000, 1000), (1500, 2000, 2000)] {
            lease.extend(renewed_to);
            member.tell(now);
            fetching.give_up_expired(&member);
            assert_eq!((fetching.expiry, fetching.stash.len()), (next, 1), "at {now}");
        }
        member.tell(2000);
        fetching.give_up_expired(&member);
        assert_eq!((fetching.expiry, fetching.stash.len()), (u64::MAX, 0));
        assert!(fetching.is_incomplete);
    }

    #[tokio::test]
    async fn an_answer_that_was_overtaken_brings_nothing_again() {
        let (member, mut cx) = (Arc::new(member()), Context::from_waker(Waker::noop()));
        let (answer, late) = tokio::sync::oneshot::channel();
        let mut fetching = Fetching::new(&member);
        fetching.reading = vec![Some(Reading { step: Box::pin(async { late.await.unwrap() }), overtaken: HashSet::new() })];
        let (lease, entries) = (Lease::until(1000), vec![(entry(), 1)]);
        let again = Claimed { entries, ..nothing(Arc::clone(&lease)) };
        fetching.recovering = Some(Box::pin(async { Ok(vec![again]) }));
        assert!(fetching.poll_reading(&member, &mut cx).is_pending());
        assert!(matches!(fetching.poll_recovering(&member, &mut cx), Poll::Ready(Ok(()))));
        let Some(Fetched::Run(run)) = fetching.take(10) else { panic!("it was asked for again") };
        fetching.let_go(&run);
        answer.send(Ok(Read { entries: vec![(0, vec![entry()])], lease })).ok().unwrap();
        assert!(matches!(fetching.poll_reading(&member, &mut cx), Poll::Ready(Ok(()))));
        assert!(fetching.take(10).is_none(), "it is settled");
    }

    #[tokio::test]
    async fn what_arrives_while_nobody_fetches_waits_here_and_its_failures_are_told() {
        let member = Arc::new(member());
        let mut fetching = Fetching::new(&member);
        let read = Read { entries: vec![(0, vec![entry()])], lease: Lease::until(1000) };
        let answers = [Ok(read), Err(crate::error::unavailable("gone"))];
        let reading = answers.map(|answer| Some(Reading { step: Box::pin(async { answer }), overtaken: HashSet::new() }));
        fetching.reading = reading.into();
        fetching.catch_up(&member);
        assert_eq!(fetching.waiting().len(), 1, "its lease is renewed");
        assert!(fetching.is_incomplete && fetching.recovering.is_none(), "nothing is begun");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(fetching.poll(&member, 10, &mut cx), Poll::Ready(Ok(Fetched::Run(_)))));
        let Poll::Ready(Err(error)) = fetching.poll(&member, 10, &mut cx) else { panic!("the failure was forgotten") };
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_fetches_is_woken_though_somebody_else_has_looked() {
        let member = Arc::new(member());
        let mut fetching = Fetching::new(&member);
        let (answer, read) = tokio::sync::oneshot::channel();
        fetching.reading = vec![Some(Reading { step: Box::pin(async { read.await.unwrap() }), overtaken: HashSet::new() })];
        // No claim is due that would wake, too.
        (fetching.next_claim, fetching.next_search) = (Instant::now() + LONG, Instant::now() + LONG);
        let fetching = Arc::new(Mutex::new(fetching));
        let fetched = tokio::spawn({
            let (fetching, member) = (Arc::clone(&fetching), Arc::clone(&member));
            async move { std::future::poll_fn(|cx| fetching.lock().unwrap().poll(&member, 10, cx)).await }
        });
        tokio::task::yield_now().await;
        fetching.lock().unwrap().catch_up(&member);
        tokio::task::yield_now().await;
        answer.send(Ok(Read { entries: vec![(0, vec![entry()])], lease: Lease::until(1000) })).ok().unwrap();
        let fetched = tokio::time::timeout(LONG / 60, fetched).await.expect("it is woken").unwrap();
        assert!(matches!(fetched, Ok(Fetched::Run(_))));
    }

    #[tokio::test]
    async fn what_is_lost_while_a_loss_is_made_good_is_asked_for_next() {
        let (member, mut cx) = (Arc::new(member()), Context::from_waker(Waker::noop()));
        let mut fetching = Fetching::new(&member);
        fetching.is_incomplete = true;
        fetching.begin(&member, 10);
        assert!(fetching.recovering.is_some() && fetching.claiming.is_none(), "nothing else is asked for");
        let (answer, recovered) = tokio::sync::oneshot::channel();
        fetching.recovering = Some(Box::pin(async { recovered.await.unwrap() }));
        let failed = Box::pin(async { Err(crate::error::unavailable("gone")) });
        fetching.reading = vec![Some(Reading { step: failed, overtaken: HashSet::new() })];
        assert!(fetching.advance(&member, &mut cx).is_err());
        fetching.begin(&member, 10);
        assert!(fetching.claiming.is_none() && fetching.reading[0].is_none(), "it is not over yet");
        answer.send(Ok(Vec::new())).ok().unwrap();
        assert!(fetching.advance(&member, &mut cx).unwrap());
        assert!(fetching.is_incomplete, "the answer may be older than the second loss");
        fetching.begin(&member, 10);
        fetching.recovering = Some(Box::pin(async { Err(crate::error::unavailable("gone")) }));
        assert!(fetching.advance(&member, &mut cx).is_err() && fetching.is_incomplete, "it is asked for once more");
    }

    #[tokio::test]
    async fn a_loss_opens_the_gate_of_those_that_waited_for_it() {
        let mut fetching = Fetching::new(&member());
        fetching.returned.push_back(Fetched::Run(awaited()));
        let lost = fetching.waiting().pop().unwrap();
        assert!(fetching.forget(&lost));
        assert!(matches!(fetching.take(0), Some(Fetched::Elsewhere(TICKET))));
        assert!(fetching.take(1).is_none());
    }

    #[tokio::test]
    async fn what_waited_here_for_longer_than_its_lease_is_asked_for_again() {
        let member = member();
        let mut fetching = Fetching::new(&member);
        for (now, expires) in [(900, false), (1000, true)] {
            member.tell(now);
            fetching.held.insert((0, "5-0".parse().unwrap()), 2);
            fetching.returned.push_back(Fetched::Run(awaited()));
            fetching.give_up_expired(&member);
            assert_eq!((fetching.take(0).is_none(), fetching.is_incomplete, fetching.held.is_empty()), (expires, expires, expires));
            assert_eq!(fetching.expected.len(), usize::from(expires), "others still wait for it");
        }
    }
}
