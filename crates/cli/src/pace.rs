//! Publishing at a steady rate.

use std::{str::FromStr, time::Duration};
use tokio::time::Instant;

/// So many per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    /// The fastest that a pace can be kept.
    const FASTEST: f64 = 1_000_000.0;
    /// The slowest that makes sense: one in about seventeen minutes.
    const SLOWEST: f64 = 0.001;

    /// The nearest rate that can be kept.
    pub(crate) fn near(per_second: f64) -> Self {
        Self(per_second.clamp(Self::SLOWEST, Self::FASTEST))
    }

    pub(crate) fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let per_second = text.parse::<f64>().ok().filter(|rate| (Self::SLOWEST..=Self::FASTEST).contains(rate));
        per_second.map(Self).ok_or_else(|| "it must be a number of events per second, from 0.001 to 1000000".to_owned())
    }
}

/// Says when the next one is due. Without a rate, always now.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<Rate>,
    begun: Instant,
    taken: u64,
}

impl Pace {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { rate, begun: Instant::now(), taken: 0 }
    }

    /// Waits until the next one is due. After a delay the ones that are late follow at once, so that the rate is kept on average.
    pub(crate) async fn next(&mut self) {
        if let Some(rate) = self.rate {
            tokio::time::sleep_until(self.begun + Duration::from_secs_f64(self.taken as f64 / rate.0)).await;
        }
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_above_zero_and_finite() {
        assert_eq!("2.5".parse(), Ok(Rate(2.5)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert!(bad.parse::<Rate>().unwrap_err().contains("per second"), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_keeps_its_rate() {
        let begun = Instant::now();
        let mut pace = Pace::new(Some(Rate(10.0)));
        for _ in 0..11 {
            pace.next().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let begun = Instant::now();
        let mut pace = Pace::new(None);
        for _ in 0..1000 {
            pace.next().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
