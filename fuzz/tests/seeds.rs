//! The seeds of every fuzz target keep their promises, without a fuzzer.

use eventbus_fuzz::TARGETS;
use std::{
    fs, panic,
    path::{Path, PathBuf},
};

/// The fewest seeds that a target may have.
const ENOUGH: usize = 15;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    seeds
}

/// The name of a seed says what is to become of it.
fn is_to_be_accepted(seed: &Path) -> bool {
    let name = seed.file_name().unwrap().to_string_lossy();
    assert!(name.starts_with("accept-") || name.starts_with("reject-"), "{name}: begin the name with accept- or reject-");
    name.starts_with("accept-")
}

#[test]
fn every_seed_keeps_the_promises_of_its_target() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= ENOUGH, "{name} has {} seeds, not {ENOUGH}", seeds.len());
        for seed in seeds {
            let input = fs::read(&seed).unwrap();
            match panic::catch_unwind(|| target(&input)) {
                Ok(accepted) if accepted == is_to_be_accepted(&seed) => {}
                Ok(accepted) => broken.push((seed, if accepted { "accepted" } else { "refused" })),
                Err(_) => broken.push((seed, "panicked")),
            }
        }
    }
    assert!(broken.is_empty(), "promises are broken for {broken:#?}");
}

#[test]
fn every_folder_of_seeds_has_a_target() {
    let folders = fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds")).unwrap();
    for folder in folders {
        let name = folder.unwrap().file_name();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name:?} has no target");
    }
}
