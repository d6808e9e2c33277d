//! What is said of a ratio that was measured several times.

/// The median of some ratios, and how far they spread: between their quartiles, within which half of them lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of the ratios are above.
    pub median: f64,
    /// A quarter of the ratios is below.
    pub low: f64,
    /// A quarter of the ratios is above.
    pub high: f64,
}

impl Spread {
    /// Of ratios, of which there must be one at least.
    #[must_use]
    pub fn of(ratios: &[f64]) -> Self {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { median: quantile(&sorted, 0.5), low: quantile(&sorted, 0.25), high: quantile(&sorted, 0.75) }
    }

    /// Whether neither side is better as far as this shows.
    #[must_use]
    pub fn is_indistinguishable(&self) -> bool {
        self.low <= 1.0 && 1.0 <= self.high
    }
}

/// The median of some figures, of which there must be one at least.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    Spread::of(figures).median
}

/// Between two of the sorted figures where it falls between them.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let place = fraction * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_ratios_lie_within_the_spread() {
        let spread = Spread::of(&[1.4, 1.0, 1.2, 1.1, 9.0]);
        assert_eq!(spread, Spread { median: 1.2, low: 1.1, high: 1.4 });
        assert!(!spread.is_indistinguishable());
    }

    #[test]
    fn between_two_figures_lies_their_mean() {
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert!(Spread::of(&[0.9, 1.1]).is_indistinguishable());
    }

    #[test]
    fn one_ratio_spreads_nowhere() {
        assert_eq!(Spread::of(&[2.0]), Spread { median: 2.0, low: 2.0, high: 2.0 });
    }
}
