//! The window within which the same (source, id) is stored once.

use eventbus_core::Event;
use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasher as _,
    time::Duration,
};

/// Remembers what was published within a time, up to a number.
///
/// Most events are published under an id that was made for that very publish and cannot have been seen before. They are noted and not
/// looked for, so what was noted is put into the index only when somebody looks.
pub(super) struct Window {
    /// In nanoseconds; zero where nothing is remembered.
    duration: u64,
    most: usize,
    /// What was published and when, the oldest first.
    noted: VecDeque<(Key, u64)>,
    /// The first `indexed` of what was noted.
    index: HashSet<Key, foldhash::fast::RandomState>,
    indexed: usize,
    hashers: [foldhash::quality::RandomState; 3],
}

/// 128 bits of (source, id). A UUID is itself, so that it need not be hashed.
type Key = u128;

impl Window {
    pub(super) fn new(duration: Option<Duration>, most: usize) -> Self {
        Self {
            duration: if most > 0 { duration.map_or(0, |duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)) } else { 0 },
            most,
            noted: VecDeque::new(),
            index: HashSet::default(),
            indexed: 0,
            hashers: Default::default(),
        }
    }

    /// Whether the event was published within the window before `now`.
    pub(super) fn contains(&mut self, event: &Event, now: u64) -> bool {
        if self.duration == 0 {
            return false;
        }
        self.expire(now);
        self.index.extend(self.noted.range(self.indexed..).map(|(key, _)| *key));
        self.indexed = self.noted.len();
        self.index.contains(&self.key(event))
    }

    /// Notes that the event was published.
    pub(super) fn note(&mut self, event: &Event, now: u64) {
        if self.duration == 0 {
            return;
        }
        if self.noted.len() == self.most {
            self.forget_first();
        }
        self.noted.push_back((self.key(event), now));
    }

    fn expire(&mut self, now: u64) {
        while self.noted.front().is_some_and(|(_, at)| now.saturating_sub(*at) >= self.duration) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((key, _)) = self.noted.pop_front()
            && self.indexed > 0
        {
            self.indexed -= 1;
            self.index.remove(&key);
        }
    }

    fn key(&self, event: &Event) -> Key {
        let [a, b, c] = &self.hashers;
        let id = event.uuid().unwrap_or_else(|| u128::from(a.hash_one(event.id())) << 64 | u128::from(b.hash_one(event.id())));
        // Keyed, so that nobody can choose an id that hides another source's event.
        let source = c.hash_one(event.source());
        id ^ (u128::from(source) << 64 | u128::from(source.rotate_left(29)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn event(source: &str, id: &str) -> Event {
        Event::json("a", 1).unwrap().with_source(source).with_id(id)
    }

    #[test]
    fn the_same_source_and_id_is_found_within_the_window_only() {
        let mut window = Window::new(Some(Duration::from_nanos(MINUTE)), 10);
        window.note(&event("/a", "1"), 0);
        let later = MINUTE - 1;
        assert!(window.contains(&event("/a", "1"), later));
        assert!(!window.contains(&event("/b", "1"), later));
        assert!(!window.contains(&event("/a", "2"), later));
        assert!(!window.contains(&event("/a", "1"), MINUTE));
    }

    #[test]
    fn a_minted_id_is_found_when_it_comes_back_as_text() {
        let mut window = Window::new(Some(Duration::from_nanos(MINUTE)), 10);
        let mut event = Event::json("a", 1).unwrap();
        assert!(event.mint());
        window.note(&event, MINUTE);
        let copy = Event::json("a", 2).unwrap().with_id(event.id());
        assert!(window.contains(&copy, MINUTE));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut window = Window::new(Some(Duration::from_nanos(MINUTE)), 2);
        for id in ["1", "2", "3"] {
            assert!(!window.contains(&event("/a", id), MINUTE));
            window.note(&event("/a", id), MINUTE);
        }
        assert!(!window.contains(&event("/a", "1"), MINUTE));
        assert!(window.contains(&event("/a", "3"), MINUTE));
        assert_eq!((window.noted.len(), window.index.len()), (2, 2));
    }

    #[test]
    fn without_a_window_nothing_is_remembered() {
        let mut window = Window::new(None, 10);
        window.note(&event("/a", "1"), MINUTE);
        assert!(!window.contains(&event("/a", "1"), MINUTE));
        assert!(window.noted.is_empty());
    }
}
