//! The feature flags of the crates of this workspace, read from their manifests.

use crate::command::root;
use std::{fs, io, path::PathBuf};

/// A crate and its features, without `default`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

/// The crates that have features, in the order of their folders.
pub(crate) fn flags() -> io::Result<Vec<Flags>> {
    let mut manifests: Vec<PathBuf> =
        fs::read_dir(root().join("crates"))?.map(|entry| Ok(entry?.path().join("Cargo.toml"))).collect::<io::Result<_>>()?;
    manifests.sort();
    let mut all = Vec::new();
    for manifest in manifests.into_iter().filter(|manifest| manifest.exists()) {
        all.extend(read(&fs::read_to_string(manifest)?));
    }
    Ok(all)
}

/// Reads a manifest as it is written here: one key for each line. `None` where it declares no features.
fn read(manifest: &str) -> Option<Flags> {
    let (mut section, mut name, mut features) = ("", None, Vec::new());
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        match (section, key.trim()) {
            ("[package]", "name") => name = Some(value.trim().trim_matches('"').to_owned()),
            ("[features]", "default") => {}
            ("[features]", feature) => features.push(feature.to_owned()),
            _ => {}
        }
    }
    (!features.is_empty()).then_some(Flags { name: name?, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_their_section_alone() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\ndefault = [\"x\"]\n# y = [] is for later\nx = [\"dep:b\"]\n\n[dependencies]\nb = \"1\"\n";
        assert_eq!(read(manifest), Some(Flags { name: "a".to_owned(), features: vec!["x".to_owned()] }));
        assert_eq!(read("[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\n"), None);
    }

    #[test]
    fn the_facade_has_features() {
        let facade = flags().unwrap().into_iter().find(|flags| flags.name == "eventbus").unwrap();
        assert!(facade.features.contains(&"memory".to_owned()), "{facade:?}");
    }
}
