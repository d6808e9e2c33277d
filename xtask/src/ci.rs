//! Everything that a change must pass.

use crate::{
    bench,
    command::{Run, cargo, root},
    debian::SUITE,
    features::{Flags, flags},
    images, setup,
    steps::{Failed, Steps},
};

/// Real webhook deliveries that the demo can be fed with. They lie beside the workspace, where there are any.
const WEBHOOKS: &str = "../shared/data/github-webhooks.ndjson";

/// Runs all checks, the quick ones first.
pub(crate) fn run(steps: &mut Steps) -> Result<(), Failed> {
    setup::run(steps)?;
    steps.run("format", &cargo("fmt --all --check"))?;
    steps.run("format of fuzz", &cargo("fmt --manifest-path fuzz/Cargo.toml --check"))?;
    steps.run("format of bench", &cargo("fmt --manifest-path bench/Cargo.toml --check"))?;
    steps.run("lints", &strict("clippy --workspace --all-targets --all-features"))?;
    steps.run("lints of fuzz", &strict("clippy --manifest-path fuzz/Cargo.toml --all-targets"))?;
    steps.run("lints of bench", &strict("clippy --manifest-path bench/Cargo.toml --target-dir target --all-targets"))?;
    steps.run("documentation", &cargo("doc --workspace --all-features --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    each_feature_alone(steps)?;
    // The very command that the README names.
    steps.run("test", &cargo("xtask test"))?;
    steps.run("test of bench", &cargo("test --manifest-path bench/Cargo.toml --target-dir target"))?;
    bench::costs(steps)?;
    containers(steps)?;
    demo(steps)
}

/// Clippy with every warning as an error. Given to clippy alone, so that dependencies are not built again.
fn strict(arguments: &str) -> Run {
    cargo(arguments).arg("--").arg("-D").arg("warnings")
}

/// Compiles each crate that has features with none and with each of them alone; all of them together are compiled by the other steps.
fn each_feature_alone(steps: &mut Steps) -> Result<(), Failed> {
    let crates = flags().map_err(|error| Failed {
        step: "features".to_owned(),
        how: format!("the manifests cannot be read: {error}"),
        repeat: "cargo xtask ci".to_owned(),
    })?;
    for Flags { name, features } in crates {
        steps.run(&format!("{name} without features"), &strict(&format!("clippy -p {name} --no-default-features")))?;
        for feature in features {
            let alone = format!("clippy -p {name} --no-default-features --features {feature}");
            steps.run(&format!("{name} with {feature} alone"), &strict(&alone))?;
        }
    }
    steps.run("connect with all features off", &cargo("test -p eventbus --no-default-features --test connect"))
}

/// Runs the core of what the backends promise against servers in containers: images of this machine's own making, so that no registry is
/// needed.
fn containers(steps: &mut Steps) -> Result<(), Failed> {
    if let Err(why) = images::docker() {
        steps.skip("containers", &format!("since Docker cannot be used here: {why}"));
        return Ok(());
    }
    let images = images::provide(steps, SUITE)?;
    let in_containers = |arguments: &str| {
        cargo(arguments)
            .env("EVENTBUS_TEST_SERVERS", "container")
            .env("EVENTBUS_TEST_NATS_URL", "")
            .env("EVENTBUS_TEST_REDIS_URL", "")
            .env("EVENTBUS_TEST_NATS_IMAGE", &images.nats)
            .env("EVENTBUS_TEST_REDIS_IMAGE", &images.redis)
    };
    // The workspace with all features, as in the tests before, so that nothing is built anew.
    steps.run("servers in containers", &in_containers("test --workspace --all-features --test servers"))?;
    let suites = "test --workspace --all-features --test conformance -- ";
    let core = "::publish:: ::routing:: ::settlement:: ::retries:: ::dead_letters::";
    steps.run("suites in containers", &in_containers(&format!("{suites}{core}")))
}

fn demo(steps: &mut Steps) -> Result<(), Failed> {
    let demo = || cargo("run --quiet --bin eventbus -- demo").plain();
    steps.run("demo", &demo())?;
    if root().join(WEBHOOKS).exists() {
        steps.run("demo with webhooks", &demo().arg("--input").arg(WEBHOOKS))
    } else {
        steps.skip("demo with webhooks", &format!("since there is no {WEBHOOKS}"));
        Ok(())
    }
}
