//! What may run now: the order of deliveries within one subscription.
//!
//! Pure bookkeeping, without waiting and without locks, so that it can be checked against a model.

use crate::{Run, source::Ticket};
use eventbus_core::{Event, Ordering};
use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher as _,
};

/// Deliveries that were fetched and not yet started.
///
/// Deliveries with the same key run one after the other. `Strict` is one key for all, `Unordered` no key at all.
pub(super) struct Schedule<T> {
    ordering: Ordering,
    hasher: foldhash::fast::RandomState,
    /// What may start at once.
    ready: VecDeque<Run<T>>,
    /// Keys of which something is ready, running, or put back to be tried again.
    keys: HashMap<Key, Queue<T>, foldhash::fast::RandomState>,
    /// Deliveries in here, ready or not.
    len: usize,
    /// Deliveries put back that something here waits for.
    gates: usize,
}

/// The hash of an ordering key. Two keys with one hash wait for each other needlessly, which does no harm.
pub(super) type Key = u64;

/// The key of everything under `Strict`.
const STRICT: Key = 0;

/// What waits for its turn behind others of its key.
struct Queue<T> {
    /// Whether something of this key is ready or running.
    busy: bool,
    /// Deliveries that were put back and must come back before what waits may go on.
    gates: Vec<Ticket>,
    /// Such deliveries, come back.
    returned: VecDeque<Run<T>>,
    waiting: VecDeque<Run<T>>,
}

impl<T> Queue<T> {
    /// Whether what waits has to wait for nothing that failed.
    fn is_free(&self) -> bool {
        self.gates.is_empty() && self.returned.is_empty()
    }
}

impl<T> Schedule<T> {
    pub(super) fn new(ordering: Ordering) -> Self {
        Self { ordering, hasher: Default::default(), ready: VecDeque::new(), keys: HashMap::default(), len: 0, gates: 0 }
    }

    /// How many deliveries are in here.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether something in here waits for a delivery that was put back.
    pub(super) fn has_gates(&self) -> bool {
        self.gates > 0
    }

    /// How many runs may start at once.
    pub(super) fn ready_runs(&self) -> usize {
        self.ready.len()
    }

    /// The key that an event has under this ordering.
    pub(super) fn key(&self, event: &Event) -> Option<Key> {
        match self.ordering {
            Ordering::Strict => Some(STRICT),
            Ordering::PerKey => event.ordering_key().map(|key| self.hasher.hash_one(key)),
            _ => None,
        }
    }

    /// Takes in what was fetched.
    pub(super) fn insert(&mut self, run: Run<T>) {
        self.len += run.len();
        let key = self.key(run.first().0);
        if let (Some(ticket), Some(key)) = (run.ticket(), key)
            && let Some(queue) = self.keys.get_mut(&key)
            && let Some(gate) = queue.gates.iter().position(|gate| *gate == ticket)
        {
            queue.gates.remove(gate);
            self.gates -= 1;
            // In the order in which they failed, which is that of the events.
            let place = queue.returned.partition_point(|earlier| earlier.ticket() < Some(ticket));
            queue.returned.insert(place, run);
            self.advance(key);
            return;
        }
        match (self.ordering, key) {
            (Ordering::PerKey, _) => self.insert_by_key(run),
            (_, Some(key)) => self.insert_keyed(key, run),
            (_, None) => self.ready.push_back(run),
        }
    }

    /// Cuts a run where the key changes.
    fn insert_by_key(&mut self, mut run: Run<T>) {
        loop {
            let key = self.key(run.first().0);
            let same = run.iter().take_while(|(event, _)| self.key(event) == key).count();
            // Without a key there is no order to keep, so each may go to another handler.
            let rest = run.split_off(if key.is_some() { same } else { 1 });
            match key {
                Some(key) => self.insert_keyed(key, run),
                None => self.ready.push_back(run),
            }
            match rest {
                Some(rest) => run = rest,
                None => return,
            }
        }
    }

    fn insert_keyed(&mut self, key: Key, run: Run<T>) {
        match self.keys.get_mut(&key) {
            Some(queue) => queue.waiting.push_back(run),
            None => {
                self.keys.insert(key, Queue { busy: true, gates: Vec::new(), returned: VecDeque::new(), waiting: VecDeque::new() });
                self.ready.push_back(run);
            }
        }
    }

    /// Starts what may start, at most `max` deliveries. What was taken with a key must be [finished](Self::finish).
    pub(super) fn take(&mut self, max: usize) -> Option<Run<T>> {
        let mut run = self.ready.pop_front()?;
        if let Some(rest) = run.split_off(max) {
            match self.key(rest.first().0) {
                Some(key) => self.wait_first(key, rest),
                None => self.ready.push_front(rest),
            }
        }
        self.len -= run.len();
        Some(run)
    }

    /// Whether a batch of this size may start.
    pub(super) fn has_batch(&self, size: usize) -> bool {
        let Some(first) = self.ready.front().filter(|_| self.len >= size) else { return false };
        let counts = |run: &Run<T>| if self.ordering == Ordering::PerKey { 1 } else { run.len() };
        let fill = |more: &mut dyn Iterator<Item = &Run<T>>| {
            let mut len = counts(first);
            while len < size
                && let Some(run) = more.next().filter(|run| run.attempt() == first.attempt())
            {
                len += counts(run);
            }
            len >= size
        };
        match self.ordering {
            Ordering::Strict => {
                fill(&mut self.keys.get(&STRICT).filter(|queue| queue.is_free()).into_iter().flat_map(|queue| &queue.waiting))
            }
            _ => fill(&mut self.ready.iter().skip(1)),
        }
    }

    /// Starts a batch: deliveries on the same attempt, at most `max`, and of several keys at most one of each. What was taken with a key
    /// must be [finished](Self::finish).
    pub(super) fn take_batch(&mut self, max: usize) -> Vec<Run<T>> {
        let of_one_run = |left: usize| if self.ordering == Ordering::PerKey { 1 } else { left };
        let (first, mut left) = (of_one_run(max), max);
        let mut runs: Vec<Run<T>> = Vec::new();
        let mut next = self.take(first);
        while let Some(run) = next {
            left -= run.len();
            let attempt = run.attempt();
            runs.push(run);
            next = if left == 0 { None } else { self.take_more(attempt, left) };
        }
        runs
    }

    fn take_more(&mut self, attempt: u32, max: usize) -> Option<Run<T>> {
        if self.ordering != Ordering::Strict {
            let max = if self.ordering == Ordering::PerKey { 1 } else { max };
            return if self.ready.front()?.attempt() == attempt { self.take(max) } else { None };
        }
        let queue = self.keys.get_mut(&STRICT).filter(|queue| queue.is_free())?;
        let mut run = queue.waiting.pop_front_if(|run| run.attempt() == attempt)?;
        if let Some(rest) = run.split_off(max) {
            queue.waiting.push_front(rest);
        }
        self.len -= run.len();
        Some(run)
    }

    /// The keys that finish with a run, each once.
    pub(super) fn keys_of(&self, run: &Run<T>) -> Vec<Key> {
        match self.ordering {
            Ordering::Strict => vec![STRICT],
            _ => run.iter().filter_map(|(event, _)| self.key(event)).collect(),
        }
    }

    /// A delivery of a key, of which something runs, was put back: what waits goes on when it has come back.
    pub(super) fn wait_for(&mut self, key: Key, gate: Ticket) {
        if let Some(queue) = self.keys.get_mut(&key) {
            self.gates += 1;
            queue.gates.push(gate);
        }
    }

    /// Ends what was taken of a key.
    pub(super) fn finish(&mut self, key: Key) {
        if let Some(queue) = self.keys.get_mut(&key) {
            queue.busy = false;
        }
        self.advance(key);
    }

    /// Gives back the end of a run that was not started. It stays before everything that came later.
    pub(super) fn give_back(&mut self, key: Option<Key>, run: Run<T>) {
        self.len += run.len();
        match key {
            Some(key) => self.wait_first(key, run),
            None => self.ready.push_front(run),
        }
    }

    /// A delivery that was put back will not return: what waits for it goes on.
    pub(super) fn open(&mut self, ticket: Ticket) {
        let waiting = self.keys.iter_mut().find_map(|(key, queue)| {
            let gate = queue.gates.iter().position(|gate| *gate == ticket)?;
            queue.gates.remove(gate);
            Some(*key)
        });
        if let Some(key) = waiting {
            self.gates -= 1;
            self.advance(key);
        }
    }

    /// Removes a delivery that this consumer has lost. Returns whether it was in here.
    pub(super) fn remove(&mut self, lost: &Run<T>) -> bool {
        let key = self.key(lost.first().0);
        if let Some((at, before, after)) = cut_out(&mut self.ready, lost) {
            self.len -= 1;
            match (key, before, after) {
                (None, before, after) => [after, before].into_iter().flatten().for_each(|run| self.ready.insert(at, run)),
                // Of one key only one run is ready at a time.
                (Some(key), Some(before), after) => {
                    self.ready.insert(at, before);
                    after.into_iter().for_each(|run| self.wait_first(key, run));
                }
                (Some(_), None, Some(after)) => self.ready.insert(at, after),
                (Some(key), None, None) => self.finish(key),
            }
            return true;
        }
        let queues = self.keys.values_mut().flat_map(|queue| [&mut queue.returned, &mut queue.waiting]);
        for queue in queues {
            if let Some((at, before, after)) = cut_out(queue, lost) {
                [after, before].into_iter().flatten().for_each(|run| queue.insert(at, run));
                self.len -= 1;
                return true;
            }
        }
        false
    }

    /// Everything that was not started, to be released.
    pub(super) fn drain(&mut self) -> Vec<Run<T>> {
        self.len = 0;
        self.gates = 0;
        let mut all: Vec<_> = self.ready.drain(..).collect();
        for (_, mut queue) in self.keys.drain() {
            all.extend(queue.returned.drain(..));
            all.extend(queue.waiting.drain(..));
        }
        all
    }

    /// Everything in here.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run<T>> {
        self.ready.iter().chain(self.keys.values().flat_map(|queue| queue.returned.iter().chain(&queue.waiting)))
    }

    fn wait_first(&mut self, key: Key, run: Run<T>) {
        if let Some(queue) = self.keys.get_mut(&key) {
            queue.waiting.push_front(run);
        }
    }

    /// Makes ready what comes next of a key, if nothing of it is under way.
    fn advance(&mut self, key: Key) {
        let Some(queue) = self.keys.get_mut(&key) else { return };
        if queue.busy {
            return;
        }
        let gate = queue.gates.iter().min().copied();
        // What came back waits for what failed before it.
        let returned = queue.returned.pop_front_if(|run| gate.is_none_or(|gate| run.ticket() < Some(gate)));
        let next = returned.or_else(|| if queue.is_free() { queue.waiting.pop_front() } else { None });
        match next {
            Some(run) => {
                queue.busy = true;
                self.ready.push_back(run);
            }
            None if queue.gates.is_empty() => {
                self.keys.remove(&key);
            }
            None => {}
        }
    }
}

/// Where a run stood, and its parts before and after what was cut out of it.
type Cut<T> = (usize, Option<Run<T>>, Option<Run<T>>);

/// Takes the run that holds a delivery out of a queue, without the delivery.
fn cut_out<T>(queue: &mut VecDeque<Run<T>>, lost: &Run<T>) -> Option<Cut<T>> {
    let at = queue.iter().position(|run| std::sync::Arc::ptr_eq(run.batch(), lost.batch()) && run.range().contains(&lost.range().start))?;
    let mut run = queue.remove(at)?;
    let before = lost.range().start - run.range().start;
    let after = run.split_off(before + 1);
    let before = (before > 0).then(|| run.part(run.range().start..lost.range().start));
    Some((at, before, after))
}

#[cfg(test)]
mod tests;
