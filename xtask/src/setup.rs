//! What the tests need beyond the compiler, and how it comes onto this machine.

use crate::{
    command::{Run, cargo, program},
    steps::{Failed, Steps},
};

/// Something that has to be there.
struct Need {
    name: &'static str,
    /// Succeeds where it is there.
    probe: Run,
    /// Installs it.
    install: Run,
}

fn needs() -> [Need; 2] {
    [
        Need { name: "rustfmt", probe: cargo("fmt --version"), install: program("rustup", "component add rustfmt") },
        Need { name: "clippy", probe: cargo("clippy --version"), install: program("rustup", "component add clippy") },
    ]
}

/// Installs what is missing.
pub(crate) fn run(steps: &mut Steps) -> Result<(), Failed> {
    needs().iter().try_for_each(|need| provide(steps, need))
}

fn provide(steps: &mut Steps, need: &Need) -> Result<(), Failed> {
    if need.probe.succeeds() {
        steps.found(need.name);
        return Ok(());
    }
    steps.run(&format!("install {}", need.name), &need.install)?;
    if need.probe.succeeds() {
        return Ok(());
    }
    Err(Failed {
        step: format!("install {}", need.name),
        how: format!("it was installed, but `{}` still fails", need.probe),
        repeat: need.install.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(probe: &'static str, install: &'static str) -> Need {
        Need { name: "it", probe: program(probe, ""), install: program(install, "") }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        assert!(provide(&mut Steps::begin("setup"), &need("true", "false")).is_ok());
    }

    #[test]
    fn what_cannot_be_installed_is_a_failure_that_says_how_to_repeat_it() {
        for install in ["false", "true"] {
            let failed = provide(&mut Steps::begin("setup"), &need("false", install)).unwrap_err();
            assert_eq!((&*failed.step, &*failed.repeat), ("install it", install));
        }
    }
}
