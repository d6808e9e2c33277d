//! How far ahead of its handlers a subscription fetches.

use std::time::Duration;

/// How much work a member may hold that it has not started. More would keep it from members that have nothing to do.
const AHEAD: Duration = Duration::from_millis(250);

/// A moving average of how long handlers take.
pub(super) struct Pace {
    /// Of one delivery. Unknown before the first one.
    nanos: Option<f64>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { nanos: None }
    }

    /// Takes in that `count` deliveries took this long.
    pub(super) fn note(&mut self, count: usize, took: Duration) {
        if count > 0 {
            let each = took.as_nanos() as f64 / count as f64;
            self.nanos = Some(self.nanos.map_or(each, |nanos| nanos + (each - nanos) * 0.25));
        }
    }

    /// How many deliveries may be fetched ahead for this many handlers: at least what they can take at once, and no more as long as
    /// nothing is known.
    pub(super) fn ahead(&self, handlers: usize, at_once: usize) -> usize {
        let Some(nanos) = self.nanos else { return at_once };
        let each_handler = (AHEAD.as_nanos() as f64 / nanos.max(1.0)) as usize;
        each_handler.saturating_mul(handlers).max(at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_handlers_get_one_each_and_fast_ones_many() {
        let mut pace = Pace::new();
        assert_eq!(pace.ahead(8, 8), 8);
        for _ in 0..50 {
            pace.note(1, Duration::from_secs(10));
        }
        assert_eq!(pace.ahead(8, 8), 8);
        for _ in 0..200 {
            pace.note(100, Duration::from_micros(100));
        }
        assert!(pace.ahead(1, 1) > 100_000);
    }
}
