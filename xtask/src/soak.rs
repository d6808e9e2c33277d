//! Trials of minutes: a server that is restarted again and again, and very much at once.

use crate::{
    command::cargo,
    setup,
    steps::{Failed, Steps},
};

/// Runs the soak with its own options.
pub(crate) fn run(steps: &mut Steps, options: &[&str]) -> Result<(), Failed> {
    setup::run(steps)?;
    let soak = options.iter().fold(cargo("run --release --quiet -p eventbus-soak --"), |run, option| run.arg(*option));
    steps.run("soak", &soak)
}
