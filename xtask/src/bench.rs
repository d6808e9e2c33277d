//! Eventbus beside the raw clients and its peers, and what an event costs held to a record.

use crate::{
    command::cargo,
    setup,
    steps::{Failed, Steps},
};

/// Runs the comparisons with their own options. They print to the standard output; the steps do not.
pub(crate) fn run(steps: &mut Steps, options: &[&str]) -> Result<(), Failed> {
    setup::run(steps)?;
    // What is reported is built as users build it.
    let profile = if options.contains(&"--quick") && !options.contains(&"--report") { "quick" } else { "release" };
    let bench = cargo("run --quiet --manifest-path bench/Cargo.toml --profile").arg(profile).arg("--");
    steps.run("comparisons", &options.iter().fold(bench, |run, option| run.arg(*option)))
}

/// Fails where an event in process costs more allocations or instructions than is recorded.
pub(crate) fn costs(steps: &mut Steps) -> Result<(), Failed> {
    steps.run("costs of an event", &cargo("bench -p eventbus-memory --bench costs"))
}
