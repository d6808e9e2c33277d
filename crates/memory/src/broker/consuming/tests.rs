//! Who is woken: an event that waits while a member of its group does, waits for ever, and so does a publisher.

use super::*;
use crate::{
    broker::{Arrival, Joined},
    config::MemoryBuilder,
};
use eventbus_core::{Capabilities, Event, Plan, Subscribe};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Wake,
};

/// Counts how often a member was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

struct Group {
    broker: Broker,
    members: Vec<(MemberId, Arc<Woken>)>,
}

impl Group {
    fn of(members: usize) -> Self {
        Self::with(Subscribe::to("a").group("g"), members)
    }

    fn with(subscribe: Subscribe, members: usize) -> Self {
        let mut broker = Broker::new(&MemoryBuilder::default());
        let plan = Plan::new(subscribe, &Capabilities::all("test"), "test").unwrap();
        let joined = (0..members).map(|_| {
            let Joined { member, .. } = broker.subscribe(&plan, &mut Wakes::default()).unwrap();
            (member, Arc::default())
        });
        Self { members: joined.collect(), broker }
    }

    fn publish(&mut self, events: u64) {
        for number in 0..events {
            let mut wakes = Wakes::default();
            let mut arrival = Some(Arrival::again(Event::json("a", number).unwrap(), None));
            self.broker.publish(&mut arrival, false, &mut wakes);
            assert!(arrival.is_none());
            wakes.wake();
        }
    }

    /// Looks for events as an engine does: waits where there is none.
    fn fetch(&mut self, member: usize, max: usize) -> Option<Run<Token>> {
        let (id, woken) = &self.members[member];
        let mut wakes = Wakes::default();
        let next = self.broker.fetch(*id, max, None, &mut wakes);
        let run = match next {
            Next::Run(run) => Some(run),
            Next::Nothing(_) => {
                self.broker.park(*id, max, &Waker::from(Arc::clone(woken)), None, &mut wakes);
                None
            }
        };
        wakes.wake();
        run
    }

    fn woken(&self, member: usize) -> usize {
        self.members[member].1.0.load(Relaxed)
    }
}

#[test]
fn each_event_wakes_the_member_that_waited_longest() {
    let mut group = Group::of(3);
    for member in [1, 0, 2] {
        assert!(group.fetch(member, 1).is_none());
    }
    group.publish(2);
    assert_eq!([group.woken(0), group.woken(1), group.woken(2)], [1, 1, 0]);
}

#[test]
fn what_one_member_has_no_room_for_is_for_another_that_waits() {
    let mut group = Group::of(3);
    group.publish(4);
    let run = group.fetch(0, 4).unwrap();
    assert_eq!(run.len(), 2, "its share of four");
    while group.fetch(0, 4).is_some_and(|run| run.first().1.sequence < 4) {}
    for member in [1, 2] {
        assert!(group.fetch(member, 1).is_none());
    }
    let mut wakes = Wakes::default();
    let id = group.members[0].0;
    group.broker.settle(id, std::iter::once(Dealt::Back(run)), &mut wakes);
    wakes.wake();
    assert_eq!((group.woken(1), group.woken(2)), (1, 0));
    assert!(group.fetch(1, 1).is_some());
    assert_eq!(group.woken(2), 1);
}

#[test]
fn a_member_that_takes_nothing_is_not_woken_in_the_place_of_one_that_would() {
    for leaves in [false, true] {
        let mut group = Group::of(2);
        let first = group.members[0].0;
        if leaves {
            group.broker.leave(first, &mut Wakes::default());
        } else {
            group.broker.pause(first, true, &mut Wakes::default());
        }
        assert!(group.fetch(0, 1).is_none());
        assert!(group.fetch(1, 1).is_none());
        group.publish(1);
        assert_eq!(group.woken(1), 1);
    }
    let mut group = Group::of(2);
    assert!(group.fetch(0, 0).is_none(), "it has no room");
    assert!(group.fetch(1, 1).is_none());
    group.publish(1);
    assert_eq!(group.woken(1), 1);
}

#[test]
fn a_member_that_found_an_event_by_itself_waits_no_more() {
    let mut group = Group::of(2);
    assert!(group.fetch(0, 1).is_none());
    assert!(group.fetch(1, 1).is_none());
    group.publish(1);
    // The second was not woken, and looks all the same.
    assert!(group.fetch(1, 1).is_some());
    assert!(group.fetch(0, 1).is_none());
    group.publish(1);
    assert_eq!(group.woken(0), 2, "the second is busy");
}

#[test]
fn little_room_is_for_a_publisher_only_when_the_member_waits_too() {
    // Full in bytes, with two places left, which is less than a quarter.
    let mut group = Group::with(Subscribe::to("a").group("g").buffer(12).buffer_bytes(10), 1);
    group.publish(10);
    let id = group.members[0].0;
    let consumer = group.broker.members[id].consumer;
    let publisher: Arc<Woken> = Arc::default();
    assert!(group.broker.wait_for_room(consumer, &Waker::from(Arc::clone(&publisher))).is_some());
    let run = group.fetch(0, 1).unwrap();
    let mut wakes = Wakes::default();
    group.broker.settle(id, std::iter::once(Dealt::done(&run)), &mut wakes);
    wakes.wake();
    assert_eq!(publisher.0.load(Relaxed), 0, "more room is to come");
    while group.fetch(0, 1).is_some() {}
    assert_eq!(publisher.0.load(Relaxed), 1);
}
