//! `docs/performance.md` and its plots, from a run.

mod facts;
mod plot;

use crate::{
    all::PARTS,
    contest::Result,
    run::{Comparison, Effort},
    show::{figure, verdict},
};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Writes the report, with the plots in a folder beside it.
///
/// # Errors
/// Where a file cannot be written or the machine does not tell what it is.
pub fn write(comparisons: &[Comparison], effort: Effort) -> Result<PathBuf> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::create_dir_all(docs.join("performance"))?;
    let mut text = opening(effort)?;
    for part in &PARTS {
        let shown: Vec<&Comparison> = comparisons.iter().filter(|comparison| part.has(&comparison.name)).collect();
        if shown.is_empty() {
            continue;
        }
        let plot = format!("performance/{}.svg", part.name.replace(' ', "-"));
        fs::write(docs.join(&plot), plot::ratios(&shown))?;
        write!(text, "\n## {}\n\n{}\n\n{}\n![Ratios: {}]({plot})\n", part.title, part.meaning, table(part.name, &shown), part.title)?;
        if !part.limits.is_empty() && shown.iter().any(|comparison| comparison.misses()) {
            write!(text, "\nWhy targets are missed: {}\n", part.limits)?;
        }
    }
    text.push_str(&better_elsewhere(comparisons));
    let path = docs.join("performance.md");
    fs::write(&path, text)?;
    Ok(path)
}

fn opening(effort: Effort) -> Result<String> {
    let mut text = String::from(
        "# Performance\n\n\
         Written by `cargo xtask bench --report`; every figure stands beside another one. Both sides run in one process and take turns, \
         round for round, after a round that does not count. A ratio above 1 means that Eventbus is better: it is the median of the ratios \
         of each round, and the spread is between their quartiles. It is not the quotient of the two columns before it, which are the \
         medians of each side alone. Where 1.00 lies within the spread, the two are indistinguishable. A target is what the ratio is meant \
         to reach.\n\n| measured | |\n|---|---|\n",
    );
    for (name, value) in facts::all()? {
        writeln!(text, "| {name} | {value} |")?;
    }
    writeln!(text, "| rounds | {}, with {:.0} % of the events of a full run |", effort.rounds, effort.share * 100.0)?;
    text.push_str("\nTo repeat it: `cargo xtask bench`, or a part of it with `cargo xtask bench \"nats/publish\"`.\n");
    Ok(text)
}

fn table(part: &str, comparisons: &[&Comparison]) -> String {
    let mut text =
        String::from("| | against | ours | theirs | unit | ratio | spread | target | |\n|---|---|--:|--:|---|--:|---|--:|---|\n");
    for comparison in comparisons {
        let Comparison { name, against, ours, theirs, unit, ratio, target, .. } = comparison;
        let name = name.strip_prefix(part).map_or(name.as_str(), |rest| rest.trim_start_matches(['/', ' ']));
        let target = target.map_or(String::new(), |target| format!("≥ {target:.2}"));
        let verdict = verdict(comparison).join(", ").to_lowercase();
        let (ours, theirs, unit) = (figure(*ours), figure(*theirs), unit.name());
        let _ = writeln!(
            text,
            "| {name} | {against} | {ours} | {theirs} | {unit} | **{:.2}** | {:.2}–{:.2} | {target} | {verdict} |",
            ratio.median, ratio.low, ratio.high
        );
    }
    text
}

fn better_elsewhere(comparisons: &[Comparison]) -> String {
    let mut text = String::from("\n## Where another one is better\n\n");
    // What is compared with itself is no other one.
    let others = comparisons.iter().filter(|comparison| comparison.ratio.high < 1.0 && !comparison.name.starts_with("growth/"));
    let mut none = true;
    for Comparison { name, against, ratio, .. } in others {
        none = false;
        let _ = writeln!(text, "- {name}: {against}, by {:.2} times", 1.0 / ratio.median);
    }
    if none {
        text.push_str("Nowhere, as far as this shows.\n");
    }
    text
}
