//! Comparisons as lines of a table and as JSON.

use crate::run::Comparison;
use serde_json::{Value, json};

/// The head of the table that [`line`] makes the lines of.
#[must_use]
pub fn head() -> String {
    row(["comparison", "against", "ours", "theirs", "unit", "ratio", "spread", "target", ""])
}

/// One line of the table.
#[must_use]
pub fn line(comparison: &Comparison) -> String {
    let Comparison { name, against, ours, theirs, unit, ratio, target, .. } = comparison;
    let spread = format!("{:.2}–{:.2}", ratio.low, ratio.high);
    let target = target.map_or(String::new(), |target| format!("≥ {target:.2}"));
    row([
        name,
        against,
        &figure(*ours),
        &figure(*theirs),
        unit.name(),
        &format!("{:.2}", ratio.median),
        &spread,
        &target,
        &verdict(comparison).join(", "),
    ])
}

/// What is to be said of it in words.
#[must_use]
pub fn verdict(comparison: &Comparison) -> Vec<&'static str> {
    let mut said = Vec::new();
    if comparison.ratio.is_indistinguishable() {
        said.push("indistinguishable");
    }
    if comparison.misses() {
        said.push("BELOW TARGET");
    }
    said
}

/// One object.
#[must_use]
pub fn object(comparison: &Comparison) -> Value {
    let Comparison { name, against, ours, theirs, unit, ratio, target, .. } = comparison;
    json!({
        "name": name,
        "against": against,
        "ours": ours,
        "theirs": theirs,
        "unit": unit.name(),
        "ratio": ratio.median,
        "spread": [ratio.low, ratio.high],
        "target": target,
    })
}

/// Four digits that count, with the thousands apart.
#[must_use]
pub fn figure(value: f64) -> String {
    if value < 1000.0 {
        let decimals = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 4) };
        return format!("{value:.*}", decimals as usize);
    }
    // Beyond the fourth digit there is only noise.
    let unit = 10_f64.powi(value.log10().floor() as i32 - 3);
    let digits = ((value / unit).round() * unit).round().to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn row(cells: [&str; 9]) -> String {
    let [name, against, ours, theirs, unit, ratio, spread, target, verdict] = cells;
    format!("{name:44} {against:20} {ours:>12} {theirs:>12} {unit:20} {ratio:>6} {spread:>13} {target:>7}  {verdict}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_count() {
        for (value, shown) in [(0.0, "0"), (0.05, "0.0500"), (1.0, "1.00"), (12.345, "12.3"), (999.4, "999"), (1234.5, "1,235")] {
            assert_eq!(figure(value), shown);
        }
        assert_eq!(figure(1_234_567.0), "1,235,000");
    }
}
