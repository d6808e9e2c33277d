//! How many bytes the engine has fetched and not started.

use std::collections::VecDeque;

/// The sizes of deliveries that wait in the engine, the oldest first. They leave in about that order.
#[derive(Debug, Default)]
pub(crate) struct Unstarted {
    sizes: VecDeque<usize>,
    bytes: usize,
    started: u64,
}

impl Unstarted {
    /// The engine has fetched a delivery.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// The bytes that wait, given how many deliveries the engine has started or given back in all.
    pub(crate) fn bytes(&mut self, started: u64) -> usize {
        while self.started < started {
            self.started += 1;
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        self.bytes
    }

    /// How many wait.
    pub(crate) fn len(&mut self, started: u64) -> usize {
        self.bytes(started);
        self.sizes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_no_longer_waits() {
        let mut unstarted = Unstarted::default();
        [5, 7, 1].into_iter().for_each(|bytes| unstarted.add(bytes));
        assert_eq!((unstarted.bytes(0), unstarted.len(0)), (13, 3));
        assert_eq!((unstarted.bytes(2), unstarted.len(2)), (1, 1));
        assert_eq!(unstarted.bytes(1), 1, "progress is never taken back");
        assert_eq!(unstarted.bytes(3), 0);
    }
}
