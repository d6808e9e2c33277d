//! Ratios as a picture: a dot for each median with a line for its spread, on a logarithmic axis.

use crate::run::Comparison;
use std::fmt::Write as _;

const ROW: f64 = 20.0;
const LABELS: f64 = 420.0;
const WIDTH: f64 = 900.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 30.0;

/// The picture, as SVG.
pub(super) fn ratios(comparisons: &[&Comparison]) -> String {
    let height = TOP + ROW * comparisons.len() as f64 + 10.0;
    let axis = Axis::over(comparisons);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for mark in axis.marks() {
        let (x, colour) = (axis.place(mark), if mark == 1.0 { "#444" } else { "#ddd" });
        let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>", height - 8.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{mark}</text>", TOP - 8.0);
    }
    for (row, comparison) in comparisons.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        let label = escaped(&format!("{} against {}", comparison.name, comparison.against));
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LABELS - 10.0, y + 4.0);
        let spread = comparison.ratio;
        let colour = match (spread.is_indistinguishable(), spread.median > 1.0) {
            (true, _) => "#888",
            (false, true) => "#2a7",
            (false, false) => "#c53",
        };
        let (low, middle, high) = (axis.place(spread.low), axis.place(spread.median), axis.place(spread.high));
        let _ = writeln!(svg, "<line x1=\"{low:.1}\" y1=\"{y}\" x2=\"{high:.1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>");
        let _ = writeln!(svg, "<circle cx=\"{middle:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"{colour}\"/>");
        if let Some(target) = comparison.target {
            let x = axis.place(target);
            let (above, below) = (y - 7.0, y + 7.0);
            let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{above}\" x2=\"{x:.1}\" y2=\"{below}\" stroke=\"#26c\" stroke-width=\"2\"/>");
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// From the smallest to the largest ratio, in powers of ten.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(comparisons: &[&Comparison]) -> Self {
        let all =
            || comparisons.iter().flat_map(|comparison| [comparison.ratio.low, comparison.ratio.high, comparison.target.unwrap_or(1.0)]);
        let (least, most) = (all().fold(0.5, f64::min).max(1e-4), all().fold(2.0, f64::max));
        Self { low: least.log10() - 0.05, high: most.log10() + 0.05 }
    }

    fn place(&self, ratio: f64) -> f64 {
        let share = (ratio.max(1e-4).log10() - self.low) / (self.high - self.low);
        LABELS + share * (WIDTH - LABELS - RIGHT)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let marks = [0.0001_f64, 0.001, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
        marks.into_iter().filter(|mark| (self.low..=self.high).contains(&mark.log10()))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contest::Unit, spread::Spread};

    #[test]
    fn every_comparison_has_its_dot_and_its_target() {
        let ratio = Spread { median: 1.5, low: 1.4, high: 1.7 };
        let comparison = Comparison {
            name: "a/b".to_owned(),
            against: "<c>".to_owned(),
            ours: 3.0,
            theirs: 2.0,
            unit: Unit::EventsPerSecond,
            ratio,
            target: Some(1.2),
        };
        let svg = ratios(&[&comparison, &comparison]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("#26c").count(), 2);
        assert!(svg.contains("a/b against &lt;c&gt;"));
    }
}
