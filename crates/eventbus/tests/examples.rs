//! Every example runs and prints what it should, and the example of the README is the one that runs.
#![cfg(all(feature = "derive", feature = "memory", feature = "testing"))]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// The program of an example. Cargo builds the examples of a crate before its tests run.
fn program(example: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    let written = fs::metadata(source(example)).unwrap().modified().unwrap();
    let is_fresh = fs::metadata(&built).and_then(|built| built.modified()).is_ok_and(|built| built >= written);
    assert!(is_fresh, "the example {example} is not built: run `cargo test -p eventbus --all-features`, which builds it, without --test");
    built
}

fn source(example: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{example}.rs"))
}

fn output_of(example: &str) -> String {
    output_on(example, "memory:")
}

fn output_on(example: &str, url: &str) -> String {
    let output = Command::new(program(example)).env("EVENTBUS_URL", url).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{example}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn examples_print_what_they_should() {
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(FOLDER).join("expected")).unwrap() {
        let expected = entry.unwrap().path();
        let example = expected.file_stem().unwrap().to_str().unwrap();
        assert_eq!(output_of(example), fs::read_to_string(&expected).unwrap(), "{example}, see {}", expected.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn no_example_goes_unchecked() {
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let example = path.file_stem().unwrap().to_str().unwrap();
        if path.is_file() && example != "readme" {
            let expected = Path::new(FOLDER).join("expected").join(format!("{example}.txt"));
            assert!(expected.exists(), "{} is missing: the output of the example {example}", expected.display());
        }
    }
}

#[test]
fn the_example_of_the_readme_delivers_three_events() {
    let output = output_of("readme");
    let mut types: Vec<_> = output
        .lines()
        .map(|line| {
            let (event_type, id) = line.split_once(' ').unwrap();
            let is_uuid7 = id.len() == 36 && id.split('-').nth(2).is_some_and(|third| third.starts_with('7'));
            assert!(is_uuid7, "{line}");
            event_type
        })
        .collect();
    assert_eq!(types[0], "order.placed");
    // The invoice is sent by a handler, while the main task goes on.
    types.sort_unstable();
    assert_eq!(types, ["invoice.sent", "order.placed", "shop.opened"]);
}

#[cfg(all(feature = "nats", feature = "redis"))]
#[test]
fn the_example_of_the_readme_runs_unchanged_on_every_bus() {
    use eventbus_testing::servers;

    let place = format!("readme{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (nats, redis) = runtime.block_on(async { (servers::nats().await, servers::redis().await) });
    for url in [
        format!("{nats}/{place}"),
        format!("{nats}/{place}core?mode=core"),
        format!("{redis}?prefix={place}"),
        format!("{redis}?prefix={place}&mode=pubsub"),
    ] {
        // How much is handled before it closes is up to the server; what is left, its group does another time.
        let types = ["order.placed", "invoice.sent", "shop.opened"];
        assert!(output_on("readme", &url).lines().all(|line| types.iter().any(|name| line.starts_with(name))), "{url}");
    }
}

#[test]
fn the_readme_shows_the_example_that_runs() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let source = fs::read_to_string(source("readme")).unwrap();
    let (about, example) = source.split_once("\n\n").unwrap();
    assert!(about.starts_with("//! "), "{about}");
    assert!(readme.contains(&format!("```rust\n{example}```\n")), "README.md does not hold examples/readme.rs as it is");
}
