//! Subscriptions come and go.

use super::{
    Broker, ChainId, ConsumerId, Link, MemberId, Phase, Token, Wakes,
    chain::{Chain, Reader},
    consumer::{Consumer, Member, Stream},
    line::Line,
    queue::Queue,
    routes::Target,
};
use crate::clock::nanos;
use eventbus_core::{Error, ErrorKind, Overflow, Pattern, Plan, Result, Start};
use eventbus_runtime::{Batch, Run};
use std::{
    collections::{BinaryHeap, VecDeque},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::SystemTime,
};

/// How many replayed events are handed out together.
const REPLAY: usize = 128;

/// A new member, as its engine needs to know it.
pub(crate) struct Joined {
    pub(crate) member: MemberId,
    pub(crate) link: Arc<Link>,
    /// Where it reads along, unless it has a queue.
    pub(crate) reader: Option<Reader>,
}

impl Broker {
    /// Adds a member: to a consumer of its own, or to its group, which is created if there is none.
    pub(crate) fn subscribe(&mut self, plan: &Plan, wakes: &mut Wakes) -> Result<Joined> {
        if !matches!(self.phase, Phase::Open | Phase::Held) {
            return Err(Error::closed("subscribe"));
        }
        let consumer = match &plan.group {
            None => self.add_consumer(plan),
            Some(group) => match self.groups.get(group.as_str()) {
                Some(existing) => {
                    self.check_declaration(*existing, plan, group)?;
                    *existing
                }
                None => {
                    let consumer = self.add_consumer(plan);
                    self.groups.insert(group.as_str().into(), consumer);
                    consumer
                }
            },
        };
        let reader = match self.consumers[consumer].stream {
            Stream::Chain { chain, .. } => Some(self.chains[chain].reader()),
            Stream::Queue(_) => None,
        };
        let link = Arc::new(Link::new(reader.as_ref().map_or(0, Reader::position)));
        let member = self.members.insert(Member {
            consumer,
            buffer: plan.buffer as u64,
            buffer_bytes: plan.buffer_bytes as u64,
            link: Arc::clone(&link),
            delayed: BinaryHeap::new(),
            waker: None,
            parked: false,
            paused: false,
            leaving: false,
        });
        self.consumers[consumer].members.push(member);
        self.look_again(consumer, wakes);
        Ok(Joined { member, link, reader })
    }

    fn check_declaration(&self, existing: ConsumerId, plan: &Plan, group: &str) -> Result<()> {
        let consumer = &self.consumers[existing];
        let Stream::Queue(queue) = &consumer.stream else { return Ok(()) };
        let Queue { patterns, .. } = &**queue;
        let differs = |what: &str, is: String, wanted: String| {
            Err(Error::new(ErrorKind::Conflict, format!("group {group:?} exists with {what} {is}, not {wanted}; it was left as it is"))
                .during("subscribe")
                .with("group", group))
        };
        if *patterns != plan.patterns {
            return differs("patterns", format!("{patterns:?}"), format!("{:?}", plan.patterns));
        }
        if consumer.ordering != plan.ordering {
            return differs("ordering", format!("{:?}", consumer.ordering), format!("{:?}", plan.ordering));
        }
        if consumer.overflow != plan.overflow {
            return differs("overflow", format!("{:?}", consumer.overflow), format!("{:?}", plan.overflow));
        }
        Ok(())
    }

    fn add_consumer(&mut self, plan: &Plan) -> ConsumerId {
        let id = self.consumers.vacant_key();
        // Only those who never miss an event and need not outlive their members can read along with others.
        let stream = if plan.group.is_none() && plan.overflow == Overflow::Block {
            let chain = self.chain(&plan.patterns);
            let joined = &mut self.chains[chain];
            joined.readers.push(id);
            Stream::Chain { chain, joined: joined.tail(), joined_bytes: joined.bytes }
        } else {
            self.routes.add(&plan.patterns, Target::Queue(id));
            Stream::Queue(Box::new(Queue::new(plan.patterns.clone())))
        };
        let replay = self.replay(&plan.patterns, &plan.start);
        self.consumers.insert(Consumer {
            stream,
            group: plan.group.as_deref().map(Into::into),
            ordering: plan.ordering,
            overflow: plan.overflow,
            // Most have one.
            members: Vec::with_capacity(1),
            replay,
            returned: VecDeque::new(),
            orphans: BinaryHeap::new(),
            blocked: Line::default(),
        })
    }

    fn chain(&mut self, patterns: &[Pattern]) -> ChainId {
        if let Some(chain) = self.chain_of.get(patterns) {
            return *chain;
        }
        let chain = self.chains.insert(Chain::new(patterns.to_vec(), self.config.inline));
        self.chain_of.insert(patterns.to_vec(), chain);
        self.routes.add(patterns, Target::Chain(chain));
        chain
    }

    /// The retained events that a subscription begins with.
    fn replay(&mut self, patterns: &[Pattern], start: &Start) -> VecDeque<Run<Token>> {
        self.log.expire(nanos(SystemTime::now()).max(self.now));
        let retained = (self.log.start(start)..self.log.next()).filter_map(|sequence| {
            let entry = self.log.get(sequence)?;
            let matches = patterns.iter().any(|pattern| pattern.matches(entry.event.event_type()));
            matches.then(|| (entry.event.clone(), Token { sequence, at: entry.at, bytes: 0, latch: None }))
        });
        let retained: Vec<_> = retained.collect();
        retained.chunks(REPLAY).map(|chunk| Run::new(Arc::new(chunk.iter().cloned().collect::<Batch<_>>()), 0..chunk.len(), 1)).collect()
    }

    /// A member is about to end. One that reads along still gets what it was promised, and nothing that is published later; one of a
    /// group fetches no more.
    pub(crate) fn leave(&mut self, id: MemberId, wakes: &mut Wakes) {
        let consumer = self.members[id].consumer;
        match &self.consumers[consumer].stream {
            Stream::Chain { chain, .. } => {
                let tail = self.chains[*chain].tail();
                let _ = self.members[id].link.end.compare_exchange(u64::MAX, tail, SeqCst, SeqCst);
            }
            Stream::Queue(_) if self.consumers[consumer].group.is_some() => self.members[id].leaving = true,
            Stream::Queue(queue) => {
                // It has its queue to itself, which gets nothing more.
                self.routes.remove(&queue.patterns, Target::Queue(consumer));
            }
        }
        self.look_again(consumer, wakes);
    }

    /// Removes a member whose engine has stopped. Returns how many events its consumer had not settled, where the consumer goes with it.
    pub(crate) fn remove(&mut self, id: MemberId, wakes: &mut Wakes) -> u64 {
        let consumer_id = self.members[id].consumer;
        let left = self.lag(consumer_id);
        let member = self.members.remove(id);
        member.link.removed.store(true, SeqCst);
        wakes.add_all(self.idle.drain());
        let consumer = &mut self.consumers[consumer_id];
        consumer.members.retain(|other| *other != id);
        match &mut consumer.stream {
            Stream::Chain { chain, .. } => self.chains[*chain].parked.retain(|other| *other != id),
            Stream::Queue(queue) => queue.parked.retain(|other| *other != id),
        }
        if consumer.group.is_some() {
            consumer.orphans.extend(member.delayed);
            self.look_again(consumer_id, wakes);
            return 0;
        }
        self.remove_consumer(consumer_id, wakes);
        left
    }

    /// Deletes a group with all that it had not handled. Whether there was one.
    pub(crate) fn delete_group(&mut self, group: &str, wakes: &mut Wakes) -> Result<bool> {
        if self.phase == Phase::Closed {
            return Err(Error::closed("delete_group"));
        }
        let Some(consumer) = self.groups.get(group).copied() else { return Ok(false) };
        let members = self.consumers[consumer].members.len();
        if members > 0 {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("group {group:?} has members: {members}; it can be deleted when they have left"),
            )
            .during("delete_group")
            .with("group", group));
        }
        self.groups.remove(group);
        self.remove_consumer(consumer, wakes);
        wakes.add_all(self.idle.drain());
        Ok(true)
    }

    fn remove_consumer(&mut self, consumer_id: ConsumerId, wakes: &mut Wakes) {
        let mut consumer = self.consumers.remove(consumer_id);
        wakes.add_all(consumer.blocked.drain());
        match consumer.stream {
            Stream::Queue(queue) => self.routes.remove(&queue.patterns, Target::Queue(consumer_id)),
            Stream::Chain { chain: id, .. } => {
                let chain = &mut self.chains[id];
                chain.readers.retain(|other| *other != consumer_id);
                chain.room_until = 0;
                if chain.readers.is_empty() {
                    let chain = self.chains.remove(id);
                    self.chain_of.remove(&chain.patterns);
                    self.routes.remove(&chain.patterns, Target::Chain(id));
                }
            }
        }
    }

    pub(crate) fn pause(&mut self, id: MemberId, paused: bool, wakes: &mut Wakes) {
        self.members[id].paused = paused;
        self.look_again(self.members[id].consumer, wakes);
        // What is paused is not waited for.
        wakes.add_all(self.idle.drain());
    }

    /// What a consumer has or has room for has changed: its members and publishers look again.
    fn look_again(&mut self, id: ConsumerId, wakes: &mut Wakes) {
        self.changed(id);
        wakes.add_all(self.consumers[id].blocked.drain());
        self.wake_consumer(id, wakes);
    }
}
