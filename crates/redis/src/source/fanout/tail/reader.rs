//! One who reads along: a queue that the tail fills, or a place from which it reads by itself.

use super::Position;
use crate::{
    entry::{Decoded, Entry, EntryId},
    source::{Token, sift},
    tally::Tally,
};
use eventbus_core::{Pattern, Plan};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};
use uuid::Uuid;

pub(crate) struct Reader {
    plan: Plan,
    /// No other subscription has this name, in any process.
    name: String,
    tally: Tally,
    queue: Mutex<Queue>,
}

/// What was read and not handed over.
pub(crate) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    way: Way,
    /// Up to where this reader has read. While it reads along, up to where it did not have to any more.
    positions: Vec<Position>,
    /// How many entries it had passed when it began to read as it does now.
    scanned: u64,
    waker: Option<Waker>,
}

/// How a reader gets what is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the tail, since the tail had read so many.
    Along { since: u64 },
    /// By itself.
    Alone,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Take what has come meanwhile.
    Take,
    /// Read by oneself.
    Read,
    /// Wait for the tail.
    Wait,
}

/// An entry, decoded.
#[derive(Clone)]
pub(crate) struct Item {
    pub(super) event: Decoded,
    pub(super) token: Token,
    pub(super) size: usize,
}

impl Item {
    pub(crate) fn is_event(&self) -> bool {
        self.event.is_ok()
    }
}

impl Reader {
    pub(super) fn new(plan: &Plan, positions: Vec<Position>) -> Self {
        let queue = Queue { items: VecDeque::new(), bytes: 0, way: Way::Alone, positions, scanned: 0, waker: None };
        Self { plan: plan.clone(), name: Uuid::now_v7().to_string(), tally: Tally::default(), queue: Mutex::new(queue) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.plan.patterns
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn positions(&self) -> Vec<Position> {
        self.queue().positions.clone()
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.queue().way, Way::Along { .. })
    }

    /// What there is to do for whoever found nothing. Where that is to wait, the tail wakes them.
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        let mut queue = self.queue();
        if !queue.items.is_empty() {
            return Next::Take;
        }
        if queue.way == Way::Alone {
            return Next::Read;
        }
        queue.waker = Some(waker.clone());
        Next::Wait
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.queue().waker.take() {
            waker.wake();
        }
    }

    /// How many more entries fit, and how many more bytes.
    pub(super) fn room(&self) -> (usize, usize) {
        let queue = self.queue();
        (self.plan.buffer.saturating_sub(queue.items.len()), self.plan.buffer_bytes.saturating_sub(queue.bytes))
    }

    /// How many entries this reader has passed, when the tail has passed so many.
    pub(super) fn scanned(&self, by_tail: u64) -> u64 {
        let queue = self.queue();
        match queue.way {
            Way::Along { since } => queue.scanned + by_tail.saturating_sub(since),
            Way::Alone => queue.scanned,
        }
    }

    /// Takes what the tail has read, if this reader reads along and has room. Without room it goes on by itself from there.
    pub(super) fn offer(&self, item: &Item, positions: &[Position], scanned: u64) {
        let mut queue = self.queue();
        let Way::Along { since } = queue.way else { return };
        if item.token.id <= queue.positions[item.token.partition as usize].id {
            return;
        }
        if !queue.has_room(&self.plan, item.size) {
            queue.scanned += scanned.saturating_sub(since);
            queue.way = Way::Alone;
            let ahead = std::mem::take(&mut queue.positions);
            // Where it had read further by itself than the tail has since, it stays there.
            queue.positions = ahead.into_iter().zip(positions).map(|(own, tail)| if own.id > tail.id { own } else { *tail }).collect();
        } else {
            queue.push(item.clone());
            self.tally.fetched(1);
        }
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
    }

    /// Passes an entry that it has read by itself.
    pub(super) fn pass(&self, entry: &Entry, partition: u32, stream: &str) {
        let sifted = sift(&self.plan, entry, stream);
        let mut queue = self.queue();
        queue.positions[partition as usize].pass(entry.id);
        queue.scanned += 1;
        if let Some(event) = sifted {
            queue.push(Item { event, token: Token { partition, id: entry.id, lease: None }, size: entry.size() });
            self.tally.fetched(1);
        }
    }

    /// Nothing is left before a place.
    pub(super) fn go_on_from(&self, partition: u32, place: EntryId) {
        let position = &mut self.queue().positions[partition as usize];
        position.id = position.id.max(place);
    }

    /// Goes on with the tail if it has got as far.
    pub(super) fn catch_up_with(&self, tail: &[Position], scanned: u64) {
        let mut queue = self.queue();
        if queue.way == Way::Alone && queue.positions.iter().zip(tail).all(|(own, tail)| own.id >= tail.id) {
            queue.way = Way::Along { since: scanned };
        }
    }

    /// The stream is another one.
    pub(super) fn begin_again(&self, partition: u32, beginning: Position) {
        self.queue().positions[partition as usize] = beginning;
    }

    /// The stream ends before what was read. Whoever has not read so far stays where it is.
    pub(super) fn go_back_to(&self, partition: u32, end: Position) {
        let position = &mut self.queue().positions[partition as usize];
        if position.id > end.id {
            *position = Position { missed: position.missed, ..end };
        }
    }

    pub(super) fn lose(&self, partition: u32, lost: u64) {
        self.queue().positions[partition as usize].miss(lost);
        self.tally.lost_to_retention(lost);
    }

    pub(super) fn find(&self, partition: u32, found: u64) {
        self.queue().positions[partition as usize].find(found);
        self.tally.found(found);
    }
}

impl Queue {
    fn has_room(&self, plan: &Plan, size: usize) -> bool {
        self.items.is_empty() || self.items.len() < plan.buffer && self.bytes + size <= plan.buffer_bytes
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.size;
        self.items.push_back(item);
    }

    /// Takes out the next if it is what is wanted.
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&Item) -> bool) -> Option<(Decoded, Token)> {
        if !self.items.front().is_some_and(wanted) {
            return None;
        }
        let item = self.items.pop_front()?;
        self.bytes -= item.size;
        Some((item.event, item.token))
    }
}
