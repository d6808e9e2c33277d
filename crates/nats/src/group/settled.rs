//! What a group has settled, as far as a member knows.
//!
//! A server that is killed may forget what it was told, in the worst case everything, and deliver it all again. What is remembered here is
//! acknowledged once more, unseen.

use std::collections::BTreeMap;

/// How many ranges are remembered. One is enough where the group wants all events of its stream.
const RANGES: usize = 4096;

/// Places in the stream.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// All places up to this one are among them.
    floor: u64,
    /// Above it: the first place of each range with its last.
    ranges: BTreeMap<u64, u64>,
}

impl Places {
    pub(super) fn insert(&mut self, place: u64) {
        let mut first = place;
        if let Some((start, end)) = self.ranges.range_mut(..=place).next_back()
            && place <= end.saturating_add(1)
        {
            *end = place.max(*end);
            first = *start;
        } else {
            self.ranges.insert(place, place);
        }
        if let Some(end) = self.ranges.remove(&(place + 1)) {
            self.ranges.insert(first, end);
        }
        if self.ranges.len() > RANGES {
            self.ranges.pop_first();
        }
    }

    /// Inserts everything up to a place.
    pub(super) fn insert_to(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some(lowest) = self.ranges.first_entry().filter(|lowest| *lowest.get() <= self.floor) {
            lowest.remove();
        }
    }

    pub(super) fn contains(&self, place: u64) -> bool {
        place <= self.floor || self.ranges.range(..=place).next_back().is_some_and(|(_, end)| place <= *end)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_as_ranges() {
        let mut places = Places::default();
        for place in [5, 6, 9, 8, 7, 3, 6, 1] {
            places.insert(place);
        }
        assert_eq!(places.ranges, BTreeMap::from([(1, 1), (3, 3), (5, 9)]));
        for (place, is_in) in [(1, true), (2, false), (3, true), (4, false), (5, true), (9, true), (10, false)] {
            assert_eq!(places.contains(place), is_in, "{place}");
        }
        places.insert_to(3);
        places.insert_to(2);
        assert_eq!((places.floor, &places.ranges), (3, &BTreeMap::from([(5, 9)])));
        assert!(places.contains(2) && !places.contains(4));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut places = Places::default();
        (1..=RANGES as u64 + 1).for_each(|place| places.insert(place * 2));
        assert!(!places.contains(2) && places.contains(4) && places.contains(RANGES as u64 * 2 + 2));
    }
}
