//! Every test there is.

use crate::{
    command::cargo,
    setup,
    steps::{Failed, Steps},
};

/// Sets up, then runs the tests.
///
/// Unit, integration and documentation tests are one command with all features, so that everything is built once. It builds the examples too,
/// which one of the tests runs.
pub(crate) fn run(steps: &mut Steps) -> Result<(), Failed> {
    setup::run(steps)?;
    steps.run("tests", &cargo("test --workspace --all-features"))?;
    steps.run("fuzz seeds", &cargo("test --manifest-path fuzz/Cargo.toml"))
}
