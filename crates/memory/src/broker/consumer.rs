//! Who gets events: a subscription without a group, or a group with its members.

use super::{ChainId, ConsumerId, MemberId, Token, chain::Reader, line::Line, queue::Queue};
use eventbus_core::{Ordering, Overflow};
use eventbus_runtime::{Progress, Run, Ticket};
use std::{
    cmp,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::Waker,
};
use tokio::time::Instant;

/// A subscription without a group, or a group.
pub(super) struct Consumer {
    pub(super) stream: Stream,
    /// The name, where it is a group.
    pub(super) group: Option<Box<str>>,
    pub(super) ordering: Ordering,
    pub(super) overflow: Overflow,
    pub(super) members: Vec<MemberId>,
    /// Retained events that come before everything else. They are not new to the process, so they do not count towards the buffer.
    pub(super) replay: VecDeque<Run<Token>>,
    /// What members gave back without having started it, in order.
    pub(super) returned: VecDeque<Run<Token>>,
    /// What is to be tried again and was last tried by a member that is gone.
    pub(super) orphans: BinaryHeap<Delayed>,
    /// Publishers that wait for room here.
    pub(super) blocked: Line,
}

/// Where new events come from.
pub(super) enum Stream {
    /// It reads along with others, from this position on, which began after so many bytes.
    Chain { chain: ChainId, joined: u64, joined_bytes: u64 },
    /// It has a queue of its own.
    Queue(Box<Queue>),
}

/// One subscription as a member of its consumer.
pub(super) struct Member {
    pub(super) consumer: ConsumerId,
    pub(super) buffer: u64,
    pub(super) buffer_bytes: u64,
    pub(super) link: Arc<Link>,
    /// What it is to try again.
    pub(super) delayed: BinaryHeap<Delayed>,
    pub(super) waker: Option<Waker>,
    pub(super) parked: bool,
    pub(super) paused: bool,
    /// Set when it fetches no more.
    pub(super) leaving: bool,
}

/// What a member's engine and the broker tell each other without a lock.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) progress: Progress,
    /// Deliveries fetched, of every kind.
    pub(crate) fetched: AtomicU64,
    /// Deliveries settled, with whatever outcome.
    pub(crate) settled: AtomicU64,
    /// The position in the chain after the last event fetched from there.
    pub(crate) position: AtomicU64,
    /// The position in the chain where this subscription ends.
    pub(crate) end: AtomicU64,
    /// Bytes of events that are done with.
    pub(crate) bytes_done: AtomicU64,
    /// Whether there is something to fetch besides the chain, or may be.
    pub(crate) besides: AtomicBool,
    /// Whether somebody waits for this member to get on: publishers for room, others for the end.
    pub(crate) watched: AtomicBool,
    /// Whether the member was removed. What its engine still settles then counts no more.
    pub(crate) removed: AtomicBool,
    /// How many events were left when it was removed.
    pub(crate) left: AtomicU64,
}

impl Link {
    pub(super) fn new(position: u64) -> Self {
        Self {
            progress: Progress::default(),
            fetched: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            position: AtomicU64::new(position),
            end: AtomicU64::new(u64::MAX),
            bytes_done: AtomicU64::new(0),
            besides: AtomicBool::new(true),
            watched: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            left: AtomicU64::new(0),
        }
    }

    /// Counts deliveries as fetched; with a reader they may have come from the chain, up to where it is now.
    pub(crate) fn fetched(&self, count: u64, reader: Option<&Reader>) {
        // The count first: whoever sees the position sees what was fetched before it.
        self.fetched.fetch_add(count, SeqCst);
        if let Some(reader) = reader {
            self.position.store(reader.position(), SeqCst);
        }
    }

    /// Counts deliveries of the chain as done. Returns whether somebody waits for this member to get on.
    pub(crate) fn done(&self, count: u64, bytes: u64) -> bool {
        self.bytes_done.fetch_add(bytes, SeqCst);
        self.settled.fetch_add(count, SeqCst);
        self.watched.load(SeqCst)
    }

    /// Deliveries that the engine has and has not started.
    pub(super) fn held(&self) -> u64 {
        self.fetched.load(SeqCst).saturating_sub(self.progress.started())
    }

    /// Deliveries that the engine has and has not settled.
    pub(super) fn unsettled(&self) -> u64 {
        // In this order: what is settled was fetched before.
        let settled = self.settled.load(SeqCst);
        self.fetched.load(SeqCst).saturating_sub(settled)
    }
}

/// A failed delivery until it is due.
pub(super) struct Delayed {
    pub(super) due: Instant,
    pub(super) run: Run<Token>,
    pub(super) ticket: Option<Ticket>,
}

impl Delayed {
    fn sequence(&self) -> u64 {
        self.run.first().1.sequence
    }
}

/// The earliest due is the greatest, so that a heap yields it first.
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (other.due, other.sequence()).cmp(&(self.due, self.sequence()))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl Consumer {
    /// Returns a run to its place among what was given back.
    pub(super) fn give_back(&mut self, run: Run<Token>) {
        let sequence = run.first().1.sequence;
        let at = self.returned.partition_point(|other| other.first().1.sequence < sequence);
        self.returned.insert(at, run);
    }
}
