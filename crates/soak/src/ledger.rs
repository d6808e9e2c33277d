//! What was published and what was handled, in the same few bytes for each event from beginning to end.
//!
//! `History` of `eventbus-testing` remembers events by their ids, and grows with them. Here memory is measured, so it must not.

use std::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// Marks an event whose publish was acknowledged. The other bits count how often it was handled.
const ACKNOWLEDGED: u8 = 0x80;
const TIMES: u8 = 0x7f;

/// Events by their number, from 0.
#[derive(Debug)]
pub(crate) struct Ledger {
    events: Box<[AtomicU8]>,
    /// For each key the number after that of the last event that was handled for the first time.
    keys: Box<[AtomicU32]>,
    out_of_order: AtomicU64,
    strangers: AtomicU64,
}

/// What the ledger comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) acknowledged: u64,
    /// Events that were handled at least once.
    pub(crate) handled: u64,
    /// Acknowledged events that were never handled.
    pub(crate) lost: u64,
    /// Deliveries beyond the first of each event, whose handler had succeeded.
    pub(crate) duplicates: u64,
    /// Events that were handled for the first time after a later one of their key.
    pub(crate) out_of_order: u64,
    /// Deliveries of what nobody published.
    pub(crate) strangers: u64,
}

impl Ledger {
    pub(crate) fn new(events: usize, keys: usize) -> Self {
        Self {
            events: (0..events).map(|_| AtomicU8::new(0)).collect(),
            keys: (0..keys).map(|_| AtomicU32::new(0)).collect(),
            out_of_order: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
        }
    }

    pub(crate) fn acknowledged(&self, number: u32) {
        self.events[number as usize].fetch_or(ACKNOWLEDGED, SeqCst);
    }

    /// An event of a key was handled. Returns the event of its key that it should have come before, if there is one.
    pub(crate) fn handled(&self, number: u32, key: usize) -> Option<u32> {
        let (Some(event), Some(last)) = (self.events.get(number as usize), self.keys.get(key)) else {
            self.strangers.fetch_add(1, SeqCst);
            return None;
        };
        let before = event.fetch_update(SeqCst, SeqCst, |event| (event & TIMES < TIMES).then_some(event + 1)).unwrap_or_else(|full| full);
        if before & TIMES > 0 {
            return None;
        }
        let later = Some(last.fetch_max(number + 1, SeqCst)).filter(|last| *last > number)?;
        self.out_of_order.fetch_add(1, SeqCst);
        Some(later - 1)
    }

    pub(crate) fn judge(&self) -> Judgement {
        let (out_of_order, strangers) = (self.out_of_order.load(SeqCst), self.strangers.load(SeqCst));
        let mut judgement = Judgement { out_of_order, strangers, ..Judgement::default() };
        for event in &self.events {
            let event = event.load(Relaxed);
            let (acknowledged, times) = (event & ACKNOWLEDGED != 0, event & TIMES);
            judgement.acknowledged += u64::from(acknowledged);
            judgement.handled += u64::from(times > 0);
            judgement.lost += u64::from(acknowledged && times == 0);
            judgement.duplicates += u64::from(times.saturating_sub(1));
        }
        judgement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_counted() {
        let ledger = Ledger::new(5, 2);
        // 4 was not acknowledged: it may come and need not.
        for number in 0..4 {
            ledger.acknowledged(number);
        }
        for (number, key) in [(1, 1), (2, 0), (0, 0), (1, 1), (2, 0), (9, 0)] {
            ledger.handled(number, key);
        }
        let wanted = Judgement { acknowledged: 4, handled: 3, lost: 1, duplicates: 2, out_of_order: 1, strangers: 1 };
        assert_eq!(ledger.judge(), wanted);
    }
}
