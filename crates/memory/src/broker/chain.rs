//! The events that one set of patterns matches, for everyone who subscribed to just that set, misses nothing, and is in no group.
//!
//! An event is put in once, however many read it. Readers find it by themselves, without the broker's lock: they hold on to the segment
//! they are in and go on to the next, and what the slowest has left behind is gone.

use super::{ConsumerId, MemberId, Token};
use eventbus_core::{Event, Pattern};
use eventbus_runtime::{Batch, Run};
use std::sync::Arc;

/// How many events a segment has at least and at most. Readers that lag get larger ones.
const SEGMENT: std::ops::RangeInclusive<usize> = 16..=128;

/// A segment with more bytes than this is not kept by those who have read it while nothing follows.
const HEAVY: u64 = 4096;

pub(super) struct Chain {
    pub(super) patterns: Vec<Pattern>,
    pub(super) readers: Vec<ConsumerId>,
    /// Members that wait for an event.
    pub(super) parked: Vec<MemberId>,
    /// Up to which position every reader has room, as far as that is known without looking.
    pub(super) room_until: u64,
    /// The same, in bytes.
    pub(super) bytes_until: u64,
    /// Bytes of all events ever put in.
    pub(super) bytes: u64,
    /// The position after the last event.
    tail: u64,
    last: Arc<Batch<Token>>,
    /// How many places of the last segment are filled.
    filled: usize,
    /// Bytes of the last segment.
    last_bytes: u64,
    inline: bool,
}

impl Chain {
    pub(super) fn new(patterns: Vec<Pattern>, inline: bool) -> Self {
        Self {
            patterns,
            readers: Vec::with_capacity(1),
            parked: Vec::new(),
            room_until: 0,
            bytes_until: 0,
            bytes: 0,
            tail: 0,
            last: Arc::new(Batch::with_places(0)),
            filled: 0,
            last_bytes: 0,
            inline,
        }
    }

    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    pub(super) fn push(&mut self, event: Event, token: Token) {
        let bytes = u64::from(token.bytes);
        if self.filled == self.last.places() {
            self.add_segment();
        }
        self.last.fill(self.filled, event, token);
        self.filled += 1;
        self.tail += 1;
        self.bytes += bytes;
        self.last_bytes += bytes;
    }

    fn add_segment(&mut self) {
        // Readers that wait have read everything; where none waits, more will gather.
        let places = if self.parked.is_empty() { self.last.places() * 2 } else { 0 };
        // With inline dispatch an event must be gone as soon as it is handled, so it has a segment of its own.
        let places = if self.inline { 1 } else { places.clamp(*SEGMENT.start(), *SEGMENT.end()) };
        self.follow(Arc::new(Batch::with_places(places)));
    }

    fn follow(&mut self, segment: Arc<Batch<Token>>) {
        self.last.chain(Arc::clone(&segment));
        self.last = segment;
        self.filled = 0;
        self.last_bytes = 0;
    }

    /// A reader of what is put in from now on.
    pub(super) fn reader(&self) -> Reader {
        Reader { segment: Arc::clone(&self.last), place: self.filled, position: self.tail }
    }

    /// Lets go of the last segment if it holds much and everybody has read it.
    pub(super) fn let_go(&mut self) {
        if self.last_bytes > HEAVY || self.inline && self.filled > 0 {
            self.follow(Arc::new(Batch::with_places(0)));
        }
    }
}

/// Where a reader is.
pub(crate) struct Reader {
    segment: Arc<Batch<Token>>,
    place: usize,
    position: u64,
}

impl Reader {
    /// The position of the next event.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next events, at most `max` and none from position `end` on, if there are any.
    pub(crate) fn read(&mut self, max: usize, end: u64) -> Option<Run<Token>> {
        let max = max.min(usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX));
        if max == 0 {
            return None;
        }
        self.go_on();
        let count = self.segment.filled(self.place, max);
        if count == 0 {
            return None;
        }
        let from = self.place;
        self.place += count;
        self.position += count as u64;
        Some(Run::new(Arc::clone(&self.segment), from..from + count, 1))
    }

    /// What belongs to the next event, if there is one.
    pub(crate) fn first(&self) -> Option<&Token> {
        let mut segment = &self.segment;
        let mut place = self.place;
        while let Some(next) = segment.next()
            && segment.filled(place, 1) == 0
        {
            segment = next;
            place = 0;
        }
        (segment.filled(place, 1) > 0).then(|| &segment.get(place).1)
    }

    /// Lets go of a segment that was read to its end, if another follows.
    ///
    /// In this order: what was put into a segment was put there before another followed, so what is not seen after that is not there.
    pub(crate) fn go_on(&mut self) {
        while let Some(next) = self.segment.next()
            && self.segment.filled(self.place, 1) == 0
        {
            self.segment = Arc::clone(next);
            self.place = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        Chain::new(Vec::new(), false)
    }

    fn push(chain: &mut Chain, sequences: std::ops::Range<u64>) {
        for sequence in sequences {
            chain.push(Event::json("a", sequence).unwrap(), Token { sequence, bytes: 1, ..Token::default() });
        }
    }

    fn read(reader: &mut Reader, max: usize, end: u64) -> Vec<u64> {
        reader.read(max, end).iter().flat_map(Run::iter).map(|(_, token)| token.sequence).collect()
    }

    #[test]
    fn readers_see_every_event_once_from_where_they_joined() {
        let mut chain = chain();
        let mut early = chain.reader();
        push(&mut chain, 0..10);
        let mut late = chain.reader();
        push(&mut chain, 10..300);
        for (reader, from, max) in [(&mut early, 0, 7), (&mut late, 10, 1000)] {
            let mut seen = Vec::new();
            while seen.len() < 300 - usize::try_from(from).unwrap() {
                seen.extend(read(reader, max, u64::MAX));
            }
            assert_eq!(seen, (from..300).collect::<Vec<_>>());
            assert!(read(reader, max, u64::MAX).is_empty());
            assert_eq!(reader.position(), 300);
        }
    }

    #[test]
    fn readers_on_other_threads_miss_nothing_while_the_chain_grows() {
        const EVENTS: u64 = 50_000;
        let chain = chain();
        let readers: Vec<_> = (0..3).map(|_| chain.reader()).collect();
        let chain = std::sync::Mutex::new(chain);
        std::thread::scope(|scope| {
            for (number, mut reader) in readers.into_iter().enumerate() {
                let chain = &chain;
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while seen.len() < usize::try_from(EVENTS).unwrap() {
                        let found = read(&mut reader, 1 + number * 5, u64::MAX);
                        if found.is_empty() {
                            // As a member does before it waits.
                            let mut chain = chain.lock().unwrap();
                            chain.let_go();
                            reader.go_on();
                        }
                        seen.extend(found);
                    }
                    assert!(seen.iter().copied().eq(0..EVENTS), "in order, each once");
                });
            }
            for sequence in 0..EVENTS {
                push(&mut chain.lock().unwrap(), sequence..sequence + 1);
            }
        });
    }

    #[test]
    fn an_end_is_not_overstepped() {
        let mut chain = chain();
        let mut reader = chain.reader();
        push(&mut chain, 0..10);
        assert_eq!(read(&mut reader, 100, 3), [0, 1, 2]);
        assert!(read(&mut reader, 100, 3).is_empty());
    }

    #[test]
    fn readers_share_the_events() {
        let mut chain = chain();
        let (mut a, mut b) = (chain.reader(), chain.reader());
        push(&mut chain, 0..3);
        assert!(Arc::ptr_eq(a.read(9, 9).unwrap().batch(), b.read(9, 9).unwrap().batch()));
    }

    #[test]
    fn what_everybody_has_read_is_dropped() {
        let mut chain = chain();
        let mut reader = chain.reader();
        push(&mut chain, 0..200);
        let first = Arc::downgrade(reader.read(16, 999).unwrap().batch());
        while reader.read(16, 999).is_some() {}
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn a_heavy_segment_is_let_go_of_while_nothing_follows() {
        let mut chain = chain();
        let mut reader = chain.reader();
        chain.push(Event::json("a", 1).unwrap(), Token { bytes: 10_000, ..Token::default() });
        let heavy = Arc::downgrade(reader.read(9, 9).unwrap().batch());
        chain.let_go();
        reader.go_on();
        assert!(heavy.upgrade().is_none());
        push(&mut chain, 1..2);
        assert_eq!(read(&mut reader, 9, 9), [1]);
    }

    #[test]
    fn a_long_chain_is_dropped_without_deep_calls() {
        let mut chain = chain();
        let reader = chain.reader();
        push(&mut chain, 0..300_000);
        drop(chain);
        drop(reader);
    }
}
