//! What the command line says.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

pub(crate) const USAGE: &str = "\
Usage: cargo xtask soak [--minutes 10] [--rate 500] [--backend nats|redis|all] [--restart-every 60] [--failing 100]
       cargo xtask soak --backlog 1000000 [--backend nats|redis|all]
       cargo xtask soak --crowd 10000 [--backend nats|redis|all]

Publishes events at a steady rate to a group that handles them by key and retries what fails, while the server is restarted, gracefully and
by SIGKILL in turn. Prints what was lost, doubled or out of order, and what memory did.

  --minutes N         How long events are published to each backend. Default 10
  --rate N            How many events are published each second. Default 500
  --backend NAME      nats, redis, all of them, or memory, which has no server to restart. Default all
  --restart-every N   Seconds from one restart to the next; the first comes after half as many. Default 60
  --failing N         One of so many events fails at its first attempt. Default 100
  --backlog N         Instead: a group that takes 1 ms for each of so many events that are there before it
  --crowd N           Instead: so many subscriptions of one bus, and as many groups that come and go beside publishes

Exit codes: 0 nothing was lost and memory stayed flat, 1 otherwise, 2 wrong usage.";

/// What carries the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Nats,
    Redis,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    Restarts,
    /// So many events that nobody has handled yet.
    Backlog(u32),
    /// So many subscriptions.
    Crowd(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) trial: Trial,
    pub(crate) length: Duration,
    /// Events each second.
    pub(crate) rate: u32,
    pub(crate) backends: Vec<Backend>,
    pub(crate) restart_every: Duration,
    /// One of so many events fails at its first attempt.
    pub(crate) failing: u32,
}

impl Options {
    /// `None` where help is asked for. The error says what is wrong.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let minute = Duration::from_secs(60);
        let backends = vec![Backend::Nats, Backend::Redis];
        let mut options = Self { trial: Trial::Restarts, length: 10 * minute, rate: 500, backends, restart_every: minute, failing: 100 };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match &*name {
                "--minutes" => options.length = minute.mul_f64(number(&name, &value, 0.1..=1440.0)?),
                "--rate" => options.rate = number(&name, &value, 10..=100_000)?,
                "--restart-every" => options.restart_every = Duration::from_secs(number(&name, &value, 5..=3600)?),
                "--failing" => options.failing = number(&name, &value, 1..=1_000_000)?,
                "--backlog" => options.trial = Trial::Backlog(number(&name, &value, 1..=100_000_000)?),
                "--crowd" => options.trial = Trial::Crowd(number(&name, &value, 1..=1_000_000)?),
                "--backend" => {
                    options.backends = match &*value {
                        "nats" => vec![Backend::Nats],
                        "redis" => vec![Backend::Redis],
                        "memory" => vec![Backend::Memory],
                        "all" => vec![Backend::Nats, Backend::Redis],
                        _ => return Err(format!("--backend: {value:?} is none of nats, redis, memory, all")),
                    }
                }
                _ => return Err(format!("there is no option {name:?}")),
            }
        }
        Ok(Some(options))
    }

    /// How many events that makes.
    pub(crate) fn events(&self) -> usize {
        (self.length.as_secs_f64() * f64::from(self.rate)) as usize
    }
}

fn number<N: FromStr + PartialOrd + Display>(name: &str, value: &str, allowed: RangeInclusive<N>) -> Result<N, String> {
    let number = value.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| format!("{name}: {value:?} is no number from {} to {}", allowed.start(), allowed.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Option<Options>, String> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_given_overrules_the_defaults() {
        let options = parse("--minutes 0.5 --rate 100 --backend redis --failing 5").unwrap().unwrap();
        assert_eq!((options.length, options.events()), (Duration::from_secs(30), 3000));
        assert_eq!((options.backends, options.restart_every, options.failing), (vec![Backend::Redis], Duration::from_secs(60), 5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, fault) in [
            ("--minutes", "--minutes needs a value"),
            ("--rate 0", "--rate: \"0\" is no number from 10 to 100000"),
            ("--minutes NaN", "--minutes: \"NaN\""),
            ("--backend kafka", "\"kafka\" is none of"),
            ("--now 1", "no option \"--now\""),
        ] {
            let said = parse(arguments).unwrap_err();
            assert!(said.contains(fault), "{said}");
        }
        assert_eq!(parse("--backlog 7 --backend redis").unwrap().unwrap().trial, Trial::Backlog(7));
        assert_eq!(parse("--help"), Ok(None));
    }
}
