//! From publishers to consumers.

use super::{
    Broker, ConsumerId, Latch, Phase, Token, Wakes,
    chain::Chain,
    consumer::{Consumer, Member, Stream},
    queue::Queue,
    room::{look_for_room, queue_room},
    routes::{RouteId, Target},
};
use crate::clock::nanos;
use eventbus_core::{Event, Overflow};
use slab::Slab;
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Waker,
    time::SystemTime,
};

/// An event that is ready to be published.
pub(crate) struct Arrival {
    pub(crate) event: Event,
    /// Whether its id is certainly new.
    pub(crate) fresh: bool,
    /// Whether it is published though its id was seen before, as a redriven dead letter is.
    pub(crate) again: bool,
    /// When it arrived, in nanoseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) latch: Option<Latch>,
}

impl Arrival {
    /// An event that is published once more, under the id it was published under before.
    pub(crate) fn again(event: Event, latch: Option<Latch>) -> Self {
        let bytes = u32::try_from(event.data().size_hint()).unwrap_or(u32::MAX);
        Self { event, fresh: false, again: true, at: nanos(SystemTime::now()), bytes, latch }
    }
}

/// What became of an arrival.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is with everybody who must not miss it. What fell out of the log for it is to be dropped without the lock.
    Admitted { expired: Option<Event> },
    /// It was published before, within the dedup window.
    Duplicate,
    /// It waits for the start of the bus.
    Held,
    /// The bus is held, and the hold is full.
    HoldFull { limit: usize },
    /// Somebody who must not miss it has no room.
    Blocked(ConsumerId),
    /// The bus takes no more.
    Closed,
}

impl Broker {
    /// Publishes an arrival if everybody who must not miss it has room; it is then taken out of `arrival`.
    pub(crate) fn publish(&mut self, arrival: &mut Option<Arrival>, inside: bool, wakes: &mut Wakes) -> Admission {
        match self.phase {
            Phase::Closed => return Admission::Closed,
            Phase::Draining if !inside => return Admission::Closed,
            Phase::Held | Phase::Open | Phase::Draining => {}
        }
        let Some(new) = arrival.as_ref() else { return Admission::Admitted { expired: None } };
        let at = new.at.max(self.now);
        if !new.fresh && !new.again && self.window.contains(&new.event, at) {
            self.duplicates += 1;
            return Admission::Duplicate;
        }
        if self.phase == Phase::Held {
            if self.held.len() >= self.config.hold {
                return Admission::HoldFull { limit: self.config.hold };
            }
            self.window.note(&new.event, at);
            // Nobody can wait for what is held back until they themselves start the bus.
            self.held.extend(arrival.take().map(|arrival| Arrival { latch: None, ..arrival }));
            return Admission::Held;
        }
        let route = self.routes.find(new.event.event_type());
        if let Some(full) = self.find_full(route) {
            return Admission::Blocked(full);
        }
        self.window.note(&new.event, at);
        Admission::Admitted { expired: arrival.take().and_then(|arrival| self.append(arrival, route, at, wakes)) }
    }

    /// Publishes the next event that was held back. `Ok(true)` when there are no more and the bus is open.
    pub(crate) fn release_held(&mut self, wakes: &mut Wakes) -> Result<bool, ConsumerId> {
        let Some(next) = self.held.pop_front() else {
            if self.phase == Phase::Held {
                self.phase = Phase::Open;
            }
            return Ok(true);
        };
        let route = self.routes.find(next.event.event_type());
        if let Some(full) = self.find_full(route) {
            self.held.push_front(next);
            return Err(full);
        }
        let at = next.at.max(self.now);
        self.append(next, route, at, wakes);
        Ok(false)
    }

    /// Puts a waker in the line of a consumer without room. Returns the number to leave it by; nothing where there is room by now.
    pub(crate) fn wait_for_room(&mut self, id: ConsumerId, waker: &Waker) -> Option<u64> {
        let consumer = self.consumers.get(id)?;
        // Either the engine sees that somebody waits, or its progress is seen here.
        consumer.members.iter().for_each(|member| self.members[*member].link.watched.store(true, SeqCst));
        if self.room(id) > 0 {
            return None;
        }
        self.waits += 1;
        self.consumers[id].blocked.join(self.waits, waker.clone());
        Some(self.waits)
    }

    /// Who has waited for room waits no longer. Returns its waker if that was not used, to be dropped without the lock.
    pub(crate) fn leave_line(&mut self, id: ConsumerId, number: u64) -> Option<Waker> {
        self.consumers.get_mut(id)?.blocked.leave(number)
    }

    /// A consumer that must not miss an event on this route and has no room for it.
    fn find_full(&mut self, route: RouteId) -> Option<ConsumerId> {
        let Self { routes, chains, consumers, members, .. } = self;
        routes.get(route).targets.iter().find_map(|target| match *target {
            Target::Chain(chain) => {
                let chain = &mut chains[chain];
                if chain.tail() < chain.room_until && chain.bytes < chain.bytes_until {
                    None
                } else {
                    look_for_room(chain, consumers, members)
                }
            }
            Target::Queue(id) => {
                let consumer = &consumers[id];
                (consumer.is_lossless(members) && queue_room(consumer, members) == 0).then_some(id)
            }
        })
    }

    /// Appends to the log and hands over to everybody it concerns. Returns what fell out of the log.
    fn append(&mut self, arrival: Arrival, route: RouteId, at: u64, wakes: &mut Wakes) -> Option<Event> {
        let Arrival { event, bytes, latch, .. } = arrival;
        self.now = at;
        self.published += 1;
        let sequence = self.log.next();
        if let Some(latch) = &latch {
            while self.cascades.first_entry().is_some_and(|first| first.get().strong_count() == 0) {
                self.cascades.pop_first();
            }
            self.cascades.insert(sequence, Arc::downgrade(latch));
        }
        let expired = self.log.append(&event, bytes, at);
        let token = Token { sequence, at, bytes, latch };
        let Self { routes, chains, consumers, members, config, .. } = self;
        let route = routes.get(route);
        route.published.increment(1);
        for target in &route.targets {
            match *target {
                Target::Chain(chain) => {
                    let chain = &mut chains[chain];
                    chain.push(event.clone(), token.clone());
                    wake_readers(chain, members, wakes);
                }
                Target::Queue(id) => {
                    let consumer = &mut consumers[id];
                    if make_way(consumer, members, config.group_events, config.group_bytes)
                        && let Stream::Queue(queue) = &mut consumer.stream
                    {
                        queue.push(event.clone(), token.clone());
                        wake_member(queue, members, wakes);
                    }
                }
            }
        }
        expired
    }
}

/// Applies the overflow of a queue. Returns whether the next event may be put in.
fn make_way(consumer: &mut Consumer, members: &Slab<Member>, group_events: u64, group_bytes: u64) -> bool {
    let memberless = consumer.members.is_empty();
    let room = if memberless { 0 } else { queue_room(consumer, members) };
    let Stream::Queue(queue) = &mut consumer.stream else { return true };
    if memberless {
        // A group without members is kept as far as retention goes.
        while queue.len() > 0 && (queue.len() >= group_events || queue.bytes > group_bytes) {
            queue.pop();
            queue.lost_to_retention += 1;
        }
        queue.lost_to_retention += u64::from(group_events == 0);
        return group_events > 0;
    }
    if room > 0 || consumer.overflow == Overflow::Block {
        return true;
    }
    queue.dropped += 1;
    // Where everything that waits is with the engine already, the newest is the only one that can go.
    consumer.overflow == Overflow::DropOldest && queue.pop()
}

/// Wakes every member that waits for an event of this chain.
pub(super) fn wake_readers(chain: &mut Chain, members: &mut Slab<Member>, wakes: &mut Wakes) {
    while let Some(id) = chain.parked.pop() {
        if let Some(waker) = members.get_mut(id).and_then(unpark) {
            wakes.add(waker);
        }
    }
}

/// Wakes one member that waits for an event of this queue and would take it.
pub(super) fn wake_member(queue: &mut Queue, members: &mut Slab<Member>, wakes: &mut Wakes) {
    while let Some(id) = queue.parked.pop_front() {
        let Some(member) = members.get_mut(id) else { continue };
        let waker = unpark(member);
        if !member.paused
            && !member.leaving
            && let Some(waker) = waker
        {
            return wakes.add(waker);
        }
    }
}

fn unpark(member: &mut Member) -> Option<Waker> {
    member.parked = false;
    member.waker.take()
}
