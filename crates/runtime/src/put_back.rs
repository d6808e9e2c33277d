//! Deliveries that wait to be tried again, for sources whose server does not keep them.

use crate::{Run, Ticket};
use eventbus_core::Plan;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Keeps failed deliveries until they are due. They live in this process, as does the subscription that they belong to.
pub struct PutBack<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Notify,
    /// How many events may wait, and bytes of their data, before nothing new should be taken.
    room: (usize, usize),
}

struct Waiting<T> {
    /// Those that others wait for, apart from the rest: they are asked for alone.
    ticketed: BinaryHeap<Reverse<Entry<T>>>,
    others: BinaryHeap<Reverse<Entry<T>>>,
    bytes: usize,
    /// Breaks ties, so that what was put back first comes back first.
    next: u64,
}

struct Entry<T> {
    due: Instant,
    number: u64,
    run: Run<T>,
}

impl<T: Clone> PutBack<T> {
    /// Nothing waits yet. What waits is part of the buffer of its subscription.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), room: (plan.buffer, plan.buffer_bytes) }
    }

    /// Keeps deliveries until the delay is over. Each comes back by itself, on its next attempt, and with the ticket if there is one.
    pub fn put(&self, run: &Run<T>, after: Duration, ticket: Option<Ticket>) {
        let due = Instant::now() + after;
        let mut waiting = self.waiting();
        for (event, token) in run.iter() {
            let run = Run::one(event.clone(), token.clone(), run.attempt().saturating_add(1)).with_ticket(ticket);
            waiting.next += 1;
            waiting.bytes += event.data().size_hint();
            let entry = Reverse(Entry { due, number: waiting.next, run });
            if ticket.is_some() { waiting.ticketed.push(entry) } else { waiting.others.push(entry) }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for the next delivery that is due; `ticketed` says that only one that others wait for is wanted. For one caller at a time;
    /// dropping the future loses nothing.
    pub async fn due(&self, ticketed: bool) -> Run<T> {
        loop {
            let next = {
                let mut waiting = self.waiting();
                match waiting.earliest(ticketed) {
                    Some(heap) => {
                        let due = heap.peek().map(|Reverse(entry)| entry.due);
                        if due.is_some_and(|due| due <= Instant::now())
                            && let Some(Reverse(entry)) = heap.pop()
                        {
                            waiting.bytes = waiting.bytes.saturating_sub(entry.run.first().0.data().size_hint());
                            return entry.run;
                        }
                        due
                    }
                    None => None,
                }
            };
            match next {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Whether as much waits as the buffer of the subscription may hold, in events or in bytes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (waiting, (events, bytes)) = (self.waiting(), self.room);
        waiting.len() >= events || waiting.bytes >= bytes
    }

    /// Looks at everything that waits, in no order.
    pub fn each(&self, look: impl FnMut(&Run<T>)) {
        let waiting = self.waiting();
        waiting.ticketed.iter().chain(&waiting.others).map(|Reverse(entry)| &entry.run).for_each(look);
    }
}

impl<T> PutBack<T> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    fn len(&self) -> usize {
        self.ticketed.len() + self.others.len()
    }

    /// Where the earliest is.
    fn earliest(&mut self, ticketed: bool) -> Option<&mut BinaryHeap<Reverse<Entry<T>>>> {
        let key = |heap: &BinaryHeap<Reverse<Entry<T>>>| heap.peek().map(|Reverse(entry)| (entry.due, entry.number));
        match (key(&self.ticketed), key(&self.others)) {
            (None, None) => None,
            (Some(_), _) if ticketed => Some(&mut self.ticketed),
            (None, Some(_)) if ticketed => None,
            (Some(first), Some(second)) if first > second => Some(&mut self.others),
            (Some(_), _) => Some(&mut self.ticketed),
            (None, Some(_)) => Some(&mut self.others),
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { ticketed: BinaryHeap::new(), others: BinaryHeap::new(), bytes: 0, next: 0 }
    }
}

impl<T> fmt::Debug for PutBack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutBack").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::{Capabilities, Event, Payload, Subscribe};

    fn put_back(subscribe: Subscribe) -> PutBack<u64> {
        PutBack::new(&Plan::new(subscribe, &Capabilities::none("test"), "handler").unwrap())
    }

    fn run(number: u64) -> Run<u64> {
        Run::one(Event::json("a", number).unwrap(), number, 1)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_due_first_comes_first_and_never_early() {
        let (back, begun) = (put_back(Subscribe::to("a")), Instant::now());
        back.put(&run(2), 2 * SECOND, None);
        back.put(&run(1), SECOND, Some(Ticket(7)));
        back.put(&run(3), 2 * SECOND, None);
        let mut came = Vec::new();
        for _ in 0..3 {
            let run = back.due(false).await;
            came.push((*run.first().1, run.attempt(), run.ticket(), begun.elapsed().as_secs()));
        }
        assert_eq!(came, [(1, 2, Some(Ticket(7)), 1), (2, 2, None, 2), (3, 2, None, 2)]);
        assert_eq!(back.waiting().len(), 0);
        assert_eq!(back.waiting().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_others_wait_for_comes_where_only_that_is_wanted() {
        let back = put_back(Subscribe::to("a"));
        back.put(&run(1), SECOND, None);
        back.put(&run(2), 5 * SECOND, Some(Ticket(1)));
        assert_eq!(*back.due(true).await.first().1, 2);
        assert_eq!(back.waiting().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_full_with_what_the_buffer_may_hold() {
        let large = || Run::one(Event::builder("a").payload(Payload::opaque(vec![7; 600])).build().unwrap(), 1, 1);
        let (few, small) = (put_back(Subscribe::to("a").buffer(2)), put_back(Subscribe::to("a").buffer_bytes(1000)));
        for back in [few, small] {
            back.put(&large(), SECOND, None);
            assert!(!back.is_full());
            back.put(&large(), 2 * SECOND, Some(Ticket(1)));
            assert!(back.is_full());
            back.due(false).await;
            assert!(!back.is_full());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_what_is_put_back_later() {
        let back = std::sync::Arc::new(put_back(Subscribe::to("a")));
        let waiting = tokio::spawn({
            let back = std::sync::Arc::clone(&back);
            async move { *back.due(false).await.first().1 }
        });
        tokio::task::yield_now().await;
        back.put(&run(2), 60 * SECOND, None);
        tokio::task::yield_now().await;
        back.put(&run(1), SECOND, None);
        assert_eq!(waiting.await.unwrap(), 1);
    }
}
