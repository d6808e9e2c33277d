//! Eventbus beside the raw clients and its peers, and what an event costs held to a record.

use crate::{
    command::cargo,
    setup,
    steps::{Failed, Steps},
};

/// Runs the comparisons with their own options. They print to the standard output; the steps do not.
pub(crate) fn run(steps: &mut Steps, options: &[&str]) -> Result<(), Failed> {
    setup::run(steps)?;
    let bench = cargo("run --release --quiet --manifest-path bench/Cargo.toml --");
    steps.run("comparisons", &options.iter().fold(bench, |run, option| run.arg(*option)))
}

/// Fails where an event in process costs more allocations or instructions than is recorded.
pub(crate) fn costs(steps: &mut Steps) -> Result<(), Failed> {
    steps.run("costs of an event", &cargo("bench -p eventbus-memory --bench costs"))
}
