//! The events of a measurement, and what subscribers note of them.

use eventbus::EventData;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const ROUNDS: usize = 3;

/// Added to the numbers of a sample, so that each has the same length as text.
const NUMBER_BASE: u64 = 10_000_000_000;
const TIME_BASE: u64 = 1_000_000_000_000_000;
/// How long a sample without fill is as JSON.
const BARE: usize = r#"{"round":0,"number":10000000000,"at":1000000000000000,"fill":""}"#.len();

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    WarmUp,
    Throughput,
    Latency,
}

/// The data of an event of the measurement.
#[derive(Debug, Serialize, Deserialize, EventData)]
#[event(type = "eventbus-bench")]
pub(super) struct Sample {
    round: u8,
    number: u64,
    /// When it was about to be published, in nanoseconds of the [`Clock`].
    at: u64,
    fill: String,
}

/// Nanoseconds since the begin of the measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }

    pub(super) fn at(self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.0)
    }
}

/// What brings samples to their size.
#[derive(Debug, Clone)]
pub(super) struct Fill(String);

impl Fill {
    /// For samples that are `size` bytes as JSON.
    pub(super) fn of_size(size: usize) -> Self {
        Self("x".repeat(size.saturating_sub(BARE)))
    }

    pub(super) fn sample(&self, round: Round, number: u64, now: Duration) -> Sample {
        let at = TIME_BASE + u64::try_from(now.as_nanos()).unwrap_or(0);
        Sample { round: round as u8, number: NUMBER_BASE + number, at, fill: self.0.clone() }
    }
}

/// What one subscription got.
#[derive(Debug)]
pub(super) struct Received {
    rounds: [Counts; ROUNDS],
    latency: Mutex<Histogram<u64>>,
}

#[derive(Debug, Default)]
struct Counts {
    arrived: AtomicU64,
    /// A sum over what arrived that is right only if each event came once.
    sum: AtomicU64,
    /// When the last one came, in nanoseconds of the [`Clock`].
    last: AtomicU64,
}

impl Received {
    pub(super) fn new() -> Self {
        Self { rounds: Default::default(), latency: Mutex::new(histogram()) }
    }

    /// Notes an event that came at `now`.
    pub(super) fn count(&self, sample: &Sample, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let Some(counts) = self.rounds.get(usize::from(sample.round)) else { return };
        if usize::from(sample.round) == Round::Latency as usize {
            self.latency().saturating_record(now.saturating_sub(sample.at - TIME_BASE).max(1));
        }
        counts.sum.fetch_add(scattered(sample.number), Relaxed);
        counts.last.fetch_max(now, Relaxed);
        counts.arrived.fetch_add(1, Relaxed);
    }

    pub(super) fn arrived(&self, round: Round) -> u64 {
        self.rounds[round as usize].arrived.load(Relaxed)
    }

    /// When the last event of a round came.
    pub(super) fn last(&self, round: Round) -> Duration {
        Duration::from_nanos(self.rounds[round as usize].last.load(Relaxed))
    }

    /// Whether each of the events 0 to `count` came, and none twice.
    pub(super) fn got_each_once(&self, round: Round, count: u64) -> bool {
        let expected = (0..count).fold(0_u64, |sum, number| sum.wrapping_add(scattered(NUMBER_BASE + number)));
        self.arrived(round) == count && self.rounds[round as usize].sum.load(Relaxed) == expected
    }

    /// From before a publish until its handler, in nanoseconds.
    pub(super) fn latency(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From a nanosecond to a minute, with three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

/// Spreads numbers over all bits (SplitMix64), so that sums of different sets differ.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_exactly_as_large_as_asked_for() {
        for (size, number) in [(64, 0), (100, 7), (4096, 999_999_999)] {
            let sample = Fill::of_size(size).sample(Round::Latency, number, Duration::from_secs(9));
            assert_eq!(serde_json::to_vec(&sample).unwrap().len(), size);
        }
    }

    #[test]
    fn one_that_is_missing_is_not_made_up_for_by_one_that_came_twice() {
        let got = |numbers: [u64; 3]| {
            let received = Received::new();
            for number in numbers {
                received.count(&Fill::of_size(64).sample(Round::Throughput, number, Duration::ZERO), Duration::ZERO);
            }
            received.got_each_once(Round::Throughput, 3)
        };
        assert!(got([2, 0, 1]));
        assert!(!got([0, 1, 1]) && !got([0, 2, 2]) && !got([1, 1, 1]));
    }

    #[test]
    fn only_the_calm_round_is_measured_for_latency() {
        let received = Received::new();
        received.count(&Fill::of_size(64).sample(Round::Throughput, 0, Duration::ZERO), Duration::from_secs(1));
        received.count(&Fill::of_size(64).sample(Round::Latency, 0, Duration::from_micros(1)), Duration::from_micros(6));
        let latency = received.latency();
        assert_eq!((latency.len(), latency.value_at_quantile(0.5)), (1, 5_003));
    }
}
