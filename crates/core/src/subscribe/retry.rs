//! When a failed event is tried again, and how often.

use crate::{Error, Result, subscribe::check_duration};
use std::time::Duration;

/// The shortest delay before a redelivery. No retry is hot.
pub const MIN_BACKOFF: Duration = Duration::from_millis(1);

/// When a failed event is tried again, and how often.
///
/// ```
/// use eventbus_core::Retry;
/// use std::time::Duration;
/// // 200 ms, 400 ms, 800 ms … up to a minute, at most 8 attempts in all.
/// let retry = Retry::exponential(Duration::from_millis(200)).max_delay(Duration::from_secs(60)).max_attempts(8);
/// ```
///
/// The default is [`exponential`](Self::exponential) from 100 ms, 5 attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    first: Duration,
    factor: f64,
    max_delay: Duration,
    jitter: f64,
    max_attempts: Option<u32>,
}

impl Retry {
    /// A delay that begins with `first` and doubles with each attempt, up to 30 s; up to a quarter is added at random, so that events that
    /// failed together do not come back together. At most 5 attempts.
    #[must_use]
    pub const fn exponential(first: Duration) -> Self {
        let max_delay = if first.as_secs() >= 30 { first } else { Duration::from_secs(30) };
        Self { first, factor: 2.0, max_delay, jitter: 0.25, max_attempts: Some(5) }
    }

    /// The same delay each time, nothing added. At most 5 attempts.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self { first: delay, factor: 1.0, max_delay: delay, jitter: 0.0, max_attempts: Some(5) }
    }

    /// One attempt: what fails goes to the dead letters at once.
    #[must_use]
    pub const fn none() -> Self {
        Self { max_attempts: Some(1), ..Self::fixed(MIN_BACKOFF) }
    }

    /// How many times an event is tried in all, from 1.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// An event is tried until it succeeds or is rejected.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.max_attempts = None;
        self
    }

    /// The most the delay grows to, before the jitter is added.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// What the delay is multiplied with after each attempt, from 1.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The most that is added to a delay at random, as a fraction of it, from 0 to 1.
    #[must_use]
    pub const fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// How many times an event is tried in all; `None` without end.
    #[must_use]
    pub const fn attempts(&self) -> Option<u32> {
        self.max_attempts
    }

    /// Whether an event may be tried again after `attempt` failed.
    #[must_use]
    pub fn allows_another(&self, attempt: u32) -> bool {
        self.max_attempts.is_none_or(|most| attempt < most)
    }

    /// The delay after `attempt` (from 1) failed. `random` is from 0 to 1 and picks the jitter; the delay is never below the nominal one.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let nominal = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.max_delay.as_secs_f64());
        let jittered = nominal * self.jitter.mul_add(random.clamp(0.0, 1.0), 1.0);
        Duration::try_from_secs_f64(jittered).unwrap_or(self.max_delay).max(MIN_BACKOFF)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |what: String| Err(Error::invalid(what));
        if self.first < MIN_BACKOFF {
            return invalid(format!("retry delay {:?}: it must be at least {MIN_BACKOFF:?}, so that no retry is hot", self.first));
        }
        check_duration("retry delay", self.first)?;
        check_duration("retry max_delay", self.max_delay)?;
        if self.max_delay < self.first {
            return invalid(format!("retry max_delay {:?}: it must not be below the first delay of {:?}", self.max_delay, self.first));
        }
        if !(1.0..=1000.0).contains(&self.factor) {
            return invalid(format!("retry factor {}: it must be 1 to 1000", self.factor));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return invalid(format!("retry jitter {}: it must be 0 to 1", self.jitter));
        }
        if self.max_attempts == Some(0) {
            return invalid("retry max_attempts 0: it counts the first attempt, so it must be at least 1".to_owned());
        }
        Ok(())
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_default_doubles_from_100_ms_to_30_s() {
        let nominal: Vec<_> = (1..=11).map(|attempt| Retry::default().delay(attempt, 0.0).as_millis()).collect();
        assert_eq!(nominal, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(Retry::default().attempts(), Some(5));
    }

    #[test]
    fn jitter_only_adds() {
        let retry = Retry::exponential(100 * MS);
        assert_eq!(retry.delay(1, 1.0), 125 * MS);
        assert_eq!(Retry::fixed(100 * MS).delay(7, 1.0), 100 * MS);
    }

    #[test]
    fn the_first_attempt_counts() {
        assert!(!Retry::none().allows_another(1));
        let two = Retry::fixed(MS).max_attempts(2);
        assert!(two.allows_another(1) && !two.allows_another(2));
        assert!(Retry::fixed(MS).forever().allows_another(u32::MAX));
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        for (retry, name) in [
            (Retry::fixed(Duration::ZERO), "delay"),
            (Retry::fixed(Duration::MAX), "delay"),
            (Retry::exponential(MS).max_delay(Duration::MAX), "max_delay"),
            (Retry::exponential(100 * MS).max_delay(MS), "max_delay"),
            (Retry::exponential(MS).factor(0.5), "factor"),
            (Retry::exponential(MS).factor(f64::NAN), "factor"),
            (Retry::exponential(MS).jitter(-0.1), "jitter"),
            (Retry::exponential(MS).jitter(f64::INFINITY), "jitter"),
            (Retry::exponential(MS).max_attempts(0), "max_attempts"),
        ] {
            let error = retry.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(Retry::none().check().is_ok() && Retry::default().check().is_ok());
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_bounds(first in 1u64..100_000, attempt in any::<u32>(), random in 0.0..=1.0f64) {
            let retry = Retry::exponential(Duration::from_millis(first));
            let delay = retry.delay(attempt, random);
            prop_assert!(delay >= retry.first.min(retry.max_delay));
            prop_assert!(delay.as_secs_f64() <= retry.max_delay.as_secs_f64() * 1.2500001);
        }
    }
}
