//! Who has room for how much.

use super::{
    Broker, ConsumerId,
    chain::Chain,
    consumer::{Consumer, Member, Stream},
};
use eventbus_core::Overflow;
use eventbus_runtime::Run;
use slab::Slab;
use std::sync::atomic::Ordering::SeqCst;

/// Up to where a consumer has room, counted from its own beginning.
struct Room {
    events: u64,
    bytes: u64,
}

impl Consumer {
    /// Whether publishers must wait rather than lose an event when there is no room.
    pub(super) fn is_lossless(&self, members: &Slab<Member>) -> bool {
        self.overflow == Overflow::Block && self.members.iter().any(|member| members[*member].link.end.load(SeqCst) == u64::MAX)
    }

    /// How much may wait here.
    fn capacity(&self, members: &Slab<Member>) -> Room {
        self.members.iter().map(|member| &members[*member]).fold(Room { events: 0, bytes: 0 }, |room, member| Room {
            events: room.events.saturating_add(member.buffer),
            bytes: room.bytes.saturating_add(member.buffer_bytes),
        })
    }

    /// Events that wait for a handler and were fetched or tried already.
    fn waiting_again(&self, members: &Slab<Member>) -> u64 {
        let returned: usize = self.returned.iter().map(Run::len).sum();
        let with_members: u64 =
            self.members.iter().map(|member| &members[*member]).map(|member| member.link.held() + member.delayed.len() as u64).sum();
        returned as u64 + self.orphans.len() as u64 + with_members
    }
}

impl Broker {
    /// How many more events a consumer has room for. Those that never hold up a publisher have room without end.
    pub(super) fn room(&self, id: ConsumerId) -> u64 {
        let consumer = &self.consumers[id];
        if !consumer.is_lossless(&self.members) {
            return u64::MAX;
        }
        match &consumer.stream {
            Stream::Chain { chain, .. } => {
                let chain = &self.chains[*chain];
                let room = chain_room(chain, consumer, &self.members);
                if room.bytes <= chain.bytes { 0 } else { room.events.saturating_sub(chain.tail()) }
            }
            Stream::Queue(_) => queue_room(consumer, &self.members),
        }
    }

    /// A quarter of what may wait at a consumer.
    pub(super) fn quarter(&self, id: ConsumerId) -> u64 {
        (self.consumers[id].capacity(&self.members).events / 4).max(1)
    }
}

/// How many more events the queue of a consumer takes.
pub(super) fn queue_room(consumer: &Consumer, members: &Slab<Member>) -> u64 {
    let Stream::Queue(queue) = &consumer.stream else { return 0 };
    let capacity = consumer.capacity(members);
    let waiting = queue.len() + consumer.waiting_again(members);
    // One event is always let in, however large.
    let bytes_left = queue.bytes < capacity.bytes;
    if bytes_left { capacity.events.saturating_sub(waiting) } else { 0 }
}

/// Finds out up to where every reader of a chain has room. Returns one that has none now.
pub(super) fn look_for_room(chain: &mut Chain, consumers: &Slab<Consumer>, members: &Slab<Member>) -> Option<ConsumerId> {
    let (mut least, mut full) = (Room { events: u64::MAX, bytes: u64::MAX }, None);
    for id in &chain.readers {
        let consumer = &consumers[*id];
        if !consumer.is_lossless(members) {
            continue;
        }
        let room = chain_room(chain, consumer, members);
        if room.events <= chain.tail() || room.bytes <= chain.bytes {
            full = Some(*id);
        }
        least = Room { events: least.events.min(room.events), bytes: least.bytes.min(room.bytes) };
    }
    chain.room_until = least.events;
    chain.bytes_until = least.bytes;
    full
}

/// Up to which position and byte of the chain a reader has room.
fn chain_room(chain: &Chain, consumer: &Consumer, members: &Slab<Member>) -> Room {
    let capacity = consumer.capacity(members);
    let (joined_bytes, position, done) = match (&consumer.stream, consumer.members.first()) {
        (Stream::Chain { joined_bytes, .. }, Some(member)) => {
            let link = &members[*member].link;
            // The position first: what lies before it has been counted as fetched.
            (*joined_bytes, link.position.load(SeqCst), link.bytes_done.load(SeqCst))
        }
        _ => (chain.bytes, chain.tail(), 0),
    };
    Room {
        events: position.saturating_add(capacity.events).saturating_sub(consumer.waiting_again(members)),
        bytes: joined_bytes.saturating_add(done).saturating_add(capacity.bytes),
    }
}
