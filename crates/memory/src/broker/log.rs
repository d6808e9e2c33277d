//! The events that are retained for replay, bounded by number, bytes and age.

use crate::{clock::nanos, config::Retention};
use eventbus_core::{Event, Start};
use std::collections::VecDeque;

pub(super) struct Log {
    retention: Retention,
    entries: VecDeque<Entry>,
    /// The sequence of the next event, from 1.
    next: u64,
    bytes: usize,
}

pub(super) struct Entry {
    pub(super) event: Event,
    pub(super) bytes: u32,
    /// When it was admitted, in nanoseconds since the Unix epoch.
    pub(super) at: u64,
}

impl Log {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, entries: VecDeque::new(), next: 1, bytes: 0 }
    }

    /// The sequence that the next event gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The sequence of the oldest event retained; that of the next where there is none.
    pub(super) fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// How many bytes the events take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest and the newest event were admitted.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((self.entries.front()?.at, self.entries.back()?.at))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends an event. Returns one that made room for it, to be dropped where no lock is held.
    pub(super) fn append(&mut self, event: &Event, bytes: u32, at: u64) -> Option<Event> {
        self.next += 1;
        if self.retention.events == 0 {
            return None;
        }
        self.bytes += bytes as usize;
        self.entries.push_back(Entry { event: event.clone(), bytes, at });
        let removed = if self.is_over(at) { self.remove_first() } else { None };
        while self.is_over(at) {
            self.remove_first();
        }
        removed
    }

    /// Removes what is too old.
    pub(super) fn expire(&mut self, now: u64) {
        while self.is_over(now) {
            self.remove_first();
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let too_old = |entry: &Entry| self.retention.age.is_some_and(|age| u128::from(now.saturating_sub(entry.at)) > age.as_nanos());
        self.entries.len() > self.retention.events || self.bytes > self.retention.bytes || self.entries.front().is_some_and(too_old)
    }

    fn remove_first(&mut self) -> Option<Event> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes as usize;
        Some(entry.event)
    }

    /// The retained event with this sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        let at = sequence.checked_sub(self.first())?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The sequence that a subscription begins with.
    pub(super) fn start(&self, start: &Start) -> u64 {
        match start {
            Start::Earliest => self.first(),
            Start::Sequence(sequence) => (*sequence).clamp(self.first(), self.next),
            Start::Time(time) => {
                let time = nanos(time.to_system_time());
                self.first() + self.entries.partition_point(|entry| entry.at < time) as u64
            }
            _ => self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::Timestamp;
    use std::time::{Duration, UNIX_EPOCH};

    const SECOND: u64 = 1_000_000_000;

    fn log(retention: Retention) -> Log {
        let mut log = Log::new(retention);
        for second in 1..=10 {
            log.append(&Event::json("a", second).unwrap(), 10, second * SECOND);
        }
        log
    }

    fn retention() -> Retention {
        Retention { events: 100, bytes: 1000, age: None }
    }

    #[test]
    fn number_bytes_and_age_each_bound_it() {
        assert_eq!((log(retention()).len(), log(retention()).first()), (10, 1));
        assert_eq!(log(Retention { events: 3, ..retention() }).first(), 8);
        assert_eq!(log(Retention { bytes: 35, ..retention() }).first(), 8);
        assert_eq!(log(Retention { age: Some(Duration::from_secs(2)), ..retention() }).first(), 8);
        assert_eq!(log(Retention { events: 0, ..retention() }).first(), 11);
    }

    #[test]
    fn age_is_kept_also_without_further_events() {
        let mut log = log(Retention { age: Some(Duration::from_secs(20)), ..retention() });
        log.expire(26 * SECOND);
        assert_eq!(log.first(), 6);
    }

    #[test]
    fn starts_are_positions_of_the_log() {
        let log = log(Retention { events: 5, ..retention() });
        let time = |seconds| Start::Time(Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(log.start(&Start::New), 11);
        assert_eq!(log.start(&Start::Earliest), 6);
        assert_eq!(log.start(&Start::Sequence(8)), 8);
        assert_eq!(log.start(&Start::Sequence(1)), 6);
        assert_eq!(log.start(&Start::Sequence(99)), 11);
        assert_eq!(log.start(&time(8)), 8);
        assert_eq!(log.start(&time(0)), 6);
        assert_eq!(log.start(&time(99)), 11);
        assert_eq!(log.get(7).unwrap().at, 7 * SECOND);
        assert!(log.get(5).is_none() && log.get(11).is_none());
    }
}
