//! Where a server for a test comes from.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A kind of server, and how a person provides one.
#[derive(Debug)]
pub(super) struct Kind {
    /// The name of its program.
    pub(super) program: &'static str,
    /// The variable with the address of a running one.
    pub(super) address: &'static str,
    /// The variable with the path of the program.
    pub(super) binary: &'static str,
    /// The variable with the name and tag of an image.
    #[cfg_attr(not(feature = "containers"), expect(dead_code, reason = "without containers there is no image"))]
    pub(super) image: &'static str,
    /// The image where that variable is not set.
    #[cfg_attr(not(feature = "containers"), expect(dead_code, reason = "without containers there is no image"))]
    pub(super) official: &'static str,
    /// The package of Debian and Ubuntu.
    pub(super) apt: &'static str,
    /// The package of Homebrew.
    pub(super) brew: &'static str,
}

pub(super) static NATS: Kind = Kind {
    program: "nats-server",
    address: "EVENTBUS_TEST_NATS_URL",
    binary: "EVENTBUS_TEST_NATS_BINARY",
    image: "EVENTBUS_TEST_NATS_IMAGE",
    official: "nats:2-alpine",
    apt: "nats-server",
    brew: "nats-server",
};

pub(super) static REDIS: Kind = Kind {
    program: "redis-server",
    address: "EVENTBUS_TEST_REDIS_URL",
    binary: "EVENTBUS_TEST_REDIS_BINARY",
    image: "EVENTBUS_TEST_REDIS_IMAGE",
    official: "redis:8-alpine",
    apt: "redis-server",
    brew: "redis",
};

/// What makes tests use only one source of servers.
const FORCED: &str = "EVENTBUS_TEST_SERVERS";

/// Folders of servers that are not on everyone's `PATH`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/// Where servers of a kind are started from.
#[derive(Debug)]
pub(super) enum Found {
    Binary(PathBuf),
    #[cfg(feature = "containers")]
    Container(super::container::Image),
}

/// The address of a running server that the environment names.
pub(super) fn address(kind: &Kind) -> Option<String> {
    variable(kind.address)
}

/// What servers of this kind are started from. The error says what to install.
pub(super) fn find(kind: &Kind) -> Result<Found, String> {
    match variable(FORCED).as_deref() {
        None => {
            if let Some(program) = binary(kind)? {
                return Ok(Found::Binary(program));
            }
            container(kind).map_err(|why| missing(kind, &why))
        }
        Some("binary") => binary(kind)?.map(Found::Binary).ok_or_else(|| missing(kind, &format!("{FORCED}=binary forbids containers"))),
        Some("container") => {
            container(kind).map_err(|why| format!("{FORCED}=container asks for {} in a container, but {why}.", kind.program))
        }
        Some(other) => Err(format!("{FORCED}={other:?} names no source of servers: it is \"binary\", \"container\" or not set")),
    }
}

fn binary(kind: &Kind) -> Result<Option<PathBuf>, String> {
    if let Some(named) = variable(kind.binary) {
        // A server is started in its own directory.
        let program = std::path::absolute(&named).ok().filter(|program| is_executable(program));
        return program.map(Some).ok_or_else(|| format!("{}={named:?} is no program", kind.binary));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    Ok(folders.map(|folder| folder.join(kind.program)).find(|program| is_executable(program)))
}

fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(feature = "containers")]
fn container(kind: &Kind) -> Result<Found, String> {
    super::container::Image::find(&variable(kind.image).unwrap_or_else(|| kind.official.to_owned())).map(Found::Container)
}

#[cfg(not(feature = "containers"))]
fn container(_: &Kind) -> Result<Found, String> {
    Err("containers need the feature `containers` of eventbus-testing".to_owned())
}

/// What to do where there is no server.
fn missing(kind: &Kind, no_container: &str) -> String {
    let Kind { program, address, binary, apt, brew, .. } = kind;
    format!(
        "this test needs a {program}, and there is none: none on PATH, and no container ({no_container}).\n\
         Any of these provides one:\n  \
           cargo xtask setup                         (in the workspace of Eventbus; installs all that the tests need)\n  \
           sudo apt-get install {apt:<20} (Debian, Ubuntu)\n  \
           brew install {brew:<28} (macOS)\n  \
           export {binary}=/path/to/{program}\n  \
           export {address}=…   (a running one; only for tests that do not restart their server)"
    )
}

/// A variable of the environment that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_server_the_message_says_what_to_do() {
        let told = missing(&NATS, "Docker does not answer");
        for wanted in [
            "nats-server",
            "Docker does not answer",
            "cargo xtask setup",
            "apt-get install nats-server",
            "brew install",
            "EVENTBUS_TEST_NATS_BINARY",
            "EVENTBUS_TEST_NATS_URL",
        ] {
            assert!(told.contains(wanted), "{wanted} is missing in: {told}");
        }
    }
}
