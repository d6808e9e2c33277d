//! What the tests need beyond the compiler, and how it comes onto this machine.

use crate::{
    command::{Run, cargo, program},
    steps::{Failed, Steps},
};
use std::env;

/// Installs a package of Debian without letting its daemon run.
const WITH_APT: &str = "xtask/install-with-apt.sh";

/// Something that has to be there.
struct Need {
    name: &'static str,
    /// Succeeds where it is there.
    probe: Run,
    /// Installs it. Without that, a person has to: this says how.
    install: Result<Run, String>,
}

fn tools() -> [Need; 2] {
    [
        Need { name: "rustfmt", probe: cargo("fmt --version"), install: Ok(program("rustup", "component add rustfmt")) },
        Need { name: "clippy", probe: cargo("clippy --version"), install: Ok(program("rustup", "component add clippy")) },
    ]
}

/// The servers that the tests start. `EVENTBUS_TEST_…_BINARY` names others than those on `PATH`.
fn servers() -> [Need; 2] {
    let server = |name, variable, brew| Need { name, probe: probe(name, variable), install: install(name, brew, &variable_hint(variable)) };
    [server("nats-server", "EVENTBUS_TEST_NATS_BINARY", "nats-server"), server("redis-server", "EVENTBUS_TEST_REDIS_BINARY", "redis")]
}

/// Installs what is missing.
pub(crate) fn run(steps: &mut Steps) -> Result<(), Failed> {
    tools().iter().try_for_each(|need| provide(steps, need))?;
    if env::var("EVENTBUS_TEST_SERVERS").is_ok_and(|source| source == "container") {
        steps.skip("servers", "since EVENTBUS_TEST_SERVERS=container has them run in containers");
        return Ok(());
    }
    servers().iter().try_for_each(|need| provide(steps, need))
}

/// Asks a server for its version. Some systems keep servers where only the administrator's `PATH` leads.
fn probe(name: &'static str, variable: &str) -> Run {
    let script =
        format!("PATH=\"$PATH:/usr/sbin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin\"; \"${{{variable}:-{name}}}\" --version");
    program("sh", "-c").arg(script)
}

/// How a package is installed here.
fn install(debian: &str, brew: &str, otherwise: &str) -> Result<Run, String> {
    let there = |name| program("sh", "-c").arg(format!("command -v {name}")).succeeds();
    if cfg!(target_os = "macos") && there("brew") {
        Ok(program("brew", "install").arg(brew))
    } else if !there("apt-get") {
        Err(format!("neither apt-get nor brew is here: install {debian} with the package manager of this system, {otherwise}"))
    } else if program("id", "-u").printed().is_ok_and(|id| id.trim() == "0") {
        Ok(program("sh", WITH_APT).arg(debian))
    } else if there("sudo") {
        Ok(program("sudo", "sh").arg(WITH_APT).arg(debian))
    } else {
        Err(format!("only root can install it, and there is no sudo: run `sh {WITH_APT} {debian}` as root, {otherwise}"))
    }
}

fn variable_hint(variable: &str) -> String {
    format!("or set {variable} to the path of one")
}

fn provide(steps: &mut Steps, need: &Need) -> Result<(), Failed> {
    if need.probe.succeeds() {
        steps.found(need.name);
        return Ok(());
    }
    let failed = |how: String, repeat: String| Failed { step: format!("install {}", need.name), how, repeat };
    let install = need.install.as_ref().map_err(|how| failed(how.clone(), "cargo xtask setup".to_owned()))?;
    steps.run(&format!("install {}", need.name), install)?;
    if need.probe.succeeds() {
        return Ok(());
    }
    Err(failed(format!("it was installed, but `{}` still fails", need.probe), install.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(probe: &'static str, install: Result<Run, String>) -> Need {
        Need { name: "it", probe: program(probe, ""), install }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        assert!(provide(&mut Steps::begin("setup"), &need("true", Ok(program("false", "")))).is_ok());
    }

    #[test]
    fn what_cannot_be_installed_is_a_failure_that_says_how_to_repeat_it() {
        for install in ["false", "true"] {
            let failed = provide(&mut Steps::begin("setup"), &need("false", Ok(program(install, "")))).unwrap_err();
            assert_eq!((&*failed.step, &*failed.repeat), ("install it", install));
        }
    }

    #[test]
    fn what_only_a_person_can_install_is_a_failure_that_says_how() {
        let failed = provide(&mut Steps::begin("setup"), &need("false", Err("ask for it".to_owned()))).unwrap_err();
        assert_eq!((&*failed.how, &*failed.repeat), ("ask for it", "cargo xtask setup"));
    }

    #[test]
    fn a_server_that_the_environment_names_is_asked() {
        assert!(probe("no-such-server", "PATH_OF_NO_SERVER").env("PATH_OF_NO_SERVER", "true").succeeds());
        assert!(!probe("no-such-server", "PATH_OF_NO_SERVER").succeeds());
    }
}
