//! How often something happens: in all, lately, and as bars.

use std::{collections::VecDeque, time::Duration};

/// How long a bar stands for.
pub(super) const SLOT: Duration = Duration::from_millis(250);
/// How many bars there are.
pub(super) const SLOTS: usize = 32;
/// How many slots a rate is measured over.
const RATE_SLOTS: usize = 4;

pub(super) struct Flow {
    total: u64,
    /// The last is the one of now.
    slots: VecDeque<u64>,
}

impl Default for Flow {
    fn default() -> Self {
        Self { total: 0, slots: VecDeque::from([0]) }
    }
}

impl Flow {
    pub(super) fn count(&mut self) {
        self.total += 1;
        if let Some(now) = self.slots.back_mut() {
            *now += 1;
        }
    }

    /// Begins the next slot.
    pub(super) fn next_slot(&mut self) {
        self.slots.push_back(0);
        if self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How often per second, over the last slots that are over.
    pub(super) fn rate(&self) -> f64 {
        let over: u64 = self.slots.iter().rev().skip(1).take(RATE_SLOTS).sum();
        over as f64 / (SLOT.as_secs_f64() * RATE_SLOTS as f64)
    }

    /// One bar for each slot, the latest to the right.
    pub(super) fn bars(&self) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.slots.iter().copied().max().unwrap_or(0).max(1);
        let bars = self.slots.iter().map(|count| BARS[usize::try_from((count * 8).div_ceil(most)).unwrap_or(8).min(8)]);
        format!("{:>SLOTS$}", bars.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let mut flow = Flow::default();
        for _ in 0..6 {
            flow.count();
            flow.count();
            flow.next_slot();
        }
        assert_eq!((flow.total(), flow.rate()), (12, 8.0));
    }

    #[test]
    fn bars_keep_their_width_and_show_the_latest_last() {
        let mut flow = Flow::default();
        flow.count();
        for _ in 0..2 * SLOTS {
            flow.next_slot();
        }
        flow.count();
        let bars = flow.bars();
        assert_eq!((bars.chars().count(), bars.trim()), (SLOTS, "█"));
    }
}
