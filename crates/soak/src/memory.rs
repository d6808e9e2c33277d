//! Whether memory grows.

/// How much more there may be at the end than at the beginning: whichever is more of these.
const TOLERANCE: (u64, f64) = (16 << 20, 0.15);
/// The part of the samples in which caches and buffers fill, which says nothing.
const WARM_UP: f64 = 0.2;

/// Samples of resident bytes at equal intervals.
#[derive(Debug)]
pub(crate) struct Samples(Vec<u64>);

/// What the samples come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trend {
    /// Usually, in the first third after warming up.
    pub(crate) first: u64,
    /// Usually, in the last third.
    pub(crate) last: u64,
    pub(crate) most: u64,
}

impl Samples {
    /// Room for so many, so that the samples themselves do not grow.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// 0 says that it could not be measured, such as while a server is down.
    pub(crate) fn take(&mut self, bytes: u64) {
        if bytes > 0 {
            self.0.push(bytes);
        }
    }

    /// `None` without enough samples.
    pub(crate) fn trend(&self) -> Option<Trend> {
        let warm = &self.0[(self.0.len() as f64 * WARM_UP) as usize..];
        let third = warm.len() / 3;
        let first = median(&warm[..third])?;
        Some(Trend { first, last: median(&warm[warm.len() - third..])?, most: self.0.iter().copied().max()? })
    }
}

impl Trend {
    pub(crate) fn is_flat(self) -> bool {
        let (bytes, part) = TOLERANCE;
        self.last <= self.first + bytes.max((self.first as f64 * part) as u64)
    }
}

fn median(samples: &[u64]) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// The resident bytes of this process; 0 where they cannot be read.
pub(crate) fn own() -> u64 {
    eventbus_testing::servers::memory_of(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(bytes: impl Iterator<Item = u64>) -> Trend {
        let mut samples = Samples::with_capacity(0);
        bytes.for_each(|bytes| samples.take(bytes));
        samples.trend().unwrap()
    }

    #[test]
    fn warming_up_and_peaks_are_no_growth_and_a_slope_is() {
        let mb = 1 << 20;
        assert!(trend((0..100).map(|second| if second < 15 { mb * second } else { 50 * mb })).is_flat());
        assert!(trend((0..100).map(|second| if second % 10 == 0 { 500 * mb } else { 50 * mb })).is_flat());
        assert!(!trend((0..100).map(|second| (50 + second) * mb)).is_flat());
        assert!(Samples::with_capacity(9).trend().is_none());
    }

    #[test]
    fn this_process_has_some() {
        assert!(own() > 1 << 20);
    }
}
