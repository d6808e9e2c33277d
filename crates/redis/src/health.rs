//! What the server is, and what about it looks wrong.

use crate::{Idmp, Mode, link::Link, reply};
use eventbus_core::{Error, ErrorKind, Health, HealthState, Result};
use redis::{Value, cmd, pipe};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// The oldest server that will do: it has `XAUTOCLAIM`'s companions, ranges that exclude their ends, and `ZADD` with scores of its own.
const OLDEST: (u32, u32) = (6, 2);
/// The longest window of the server's own, in seconds.
const LONGEST_WINDOW: u64 = 86_400;

/// What `INFO` says, by name.
pub(crate) struct Info(HashMap<String, String>);

impl Info {
    pub(crate) async fn ask(link: &Link) -> Result<Self> {
        let said = reply::text(link.send(&cmd("INFO")).await?)?;
        let pairs = said.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Ok(Self(pairs.collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What the server calls itself, with its version.
    fn server(&self) -> String {
        match self.get("valkey_version") {
            Some(version) => format!("valkey {version}"),
            None => format!("redis {}", self.get("redis_version").unwrap_or("of an unknown version")),
        }
    }

    /// The version of Redis that the server is, or that it is like.
    pub(crate) fn version(&self) -> (u32, u32) {
        let mut parts = self.get("redis_version").unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Refuses a server that is too old.
    pub(crate) fn check_version(&self) -> Result<()> {
        if self.version() >= OLDEST {
            return Ok(());
        }
        let (major, minor) = OLDEST;
        Err(Error::new(ErrorKind::Unsupported, format!("{}: it must be Redis {major}.{minor} or later, or Valkey", self.server())))
    }

    /// Whether the server itself stores an event once.
    pub(crate) fn is_idempotent(&self, idmp: Idmp, window: Duration) -> Result<bool> {
        let fits = window.subsec_nanos() == 0 && window.as_secs() <= LONGEST_WINDOW;
        match idmp {
            Idmp::Off => Ok(false),
            Idmp::On if !self.has_idmp() => {
                Err(Error::new(ErrorKind::Unsupported, "idmp on: the server cannot do this, which Redis can from 8.6 on"))
            }
            Idmp::On if !fits => {
                Err(Error::invalid(format!("idmp on, dedup_window {window:?}: the server counts whole seconds, at most {LONGEST_WINDOW}")))
            }
            Idmp::On | Idmp::Auto => Ok(self.has_idmp() && fits),
        }
    }

    /// Whether the server can store an event once by itself.
    pub(crate) fn has_idmp(&self) -> bool {
        self.get("valkey_version").is_none() && self.version() >= (8, 6)
    }
}

/// Asks for a sign of life, and looks at the settings.
pub(crate) async fn check(link: &Link, mode: Mode) -> Result<Health> {
    let begun = Instant::now();
    let mut health = Health::default();
    if let Err(failed) = link.send(&cmd("PING")).await {
        let error = Error::from(failed);
        if !error.is_retryable() {
            return Err(error);
        }
        health.state = HealthState::Reconnecting;
        health.warnings.push(error.to_string());
        return Ok(health);
    }
    health.round_trip = Some(begun.elapsed());
    let info = Info::ask(link).await?;
    health.server = Some(info.server());
    if mode == Mode::Streams {
        health.warnings = warnings(&info, &Settings::ask(link).await);
    }
    Ok(health)
}

/// Settings of the server, as far as it tells this user.
#[derive(Debug, Default)]
struct Settings {
    save: Option<String>,
    appendfsync: Option<String>,
    maxmemory_policy: Option<String>,
}

impl Settings {
    async fn ask(link: &Link) -> Self {
        let mut asked = pipe();
        for name in ["save", "appendfsync", "maxmemory-policy"] {
            asked.cmd("CONFIG").arg("GET").arg(name);
        }
        // Who may not ask gets no answer to this, and warnings for what is known.
        let Ok(answers) = link.send_all(&asked).await else { return Self::default() };
        let mut values = answers.into_iter().map(value);
        let mut next = || values.next().flatten();
        Self { save: next(), appendfsync: next(), maxmemory_policy: next() }
    }
}

fn value(answer: Value) -> Option<String> {
    let mut pair = reply::array(answer).ok()?.into_iter();
    reply::text(pair.nth(1)?).ok()
}

fn warnings(info: &Info, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(text);
    let appends = info.get("aof_enabled") == Some("1");
    match (appends, settings.save.as_deref(), settings.appendfsync.as_deref()) {
        (false, Some(""), _) => {
            warn("nothing is written to disk (save \"\", appendonly no): a restart of the server loses every event".to_owned());
        }
        (false, ..) => {
            warn("the server saves snapshots only (appendonly no): a crash loses what was accepted since the last one".to_owned());
        }
        (true, _, Some("everysec")) => {
            warn("appendfsync everysec: a crash of the machine loses about the last second of what was accepted".to_owned());
        }
        (true, _, Some("no")) => {
            warn("appendfsync no: a crash of the machine loses what the system had not written, about 30 seconds".to_owned());
        }
        _ => {}
    }
    if let Some(policy) = settings.maxmemory_policy.as_deref().or_else(|| info.get("maxmemory_policy"))
        && policy != "noeviction"
        && info.get("maxmemory").is_some_and(|limit| limit != "0")
    {
        warn(format!(
            "maxmemory-policy {policy}: at its memory limit the server removes keys, whole streams and groups among them; set noeviction"
        ));
    }
    if info.get("role") != Some("master") {
        warn("this server is a replica: it takes no events".to_owned());
    }
    if info.get("connected_slaves").is_some_and(|replicas| replicas != "0") {
        warn("replicas follow asynchronously: a failover may lose what was accepted last; min-replicas-to-write bounds that".to_owned());
        let behind =
            info.0.iter().filter(|(name, value)| name.starts_with("slave") && value.contains("state=")).filter_map(|(name, value)| {
                let lag = value.split(',').find_map(|part| part.strip_prefix("lag="))?.parse::<u64>().ok()?;
                (lag > 5).then(|| format!("{name} is {lag} seconds behind"))
            });
        warnings.extend(behind);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &[(&str, &str)]) -> Info {
        Info(lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        for version in ["5.0.14", "6.0.20"] {
            let error = info(&[("redis_version", version)]).check_version().unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(version), "{error}");
        }
        for version in ["6.2.0", "7.0.15", "8.6.1"] {
            info(&[("redis_version", version)]).check_version().unwrap();
        }
        let valkey = info(&[("redis_version", "7.2.4"), ("valkey_version", "9.0.1")]);
        assert_eq!((valkey.server().as_str(), valkey.has_idmp()), ("valkey 9.0.1", false));
        assert!(info(&[("redis_version", "8.6.0")]).has_idmp() && !info(&[("redis_version", "8.4.0")]).has_idmp());
    }

    #[test]
    fn a_window_that_the_server_cannot_keep_is_refused_or_kept_by_the_script() {
        let (old, new) = (info(&[("redis_version", "8.4.0")]), info(&[("redis_version", "8.6.0")]));
        for (window, fits) in [(0, true), (300, false), (1_000, true), (86_400_000, true), (86_401_000, false)] {
            let window = Duration::from_millis(window);
            assert!(!new.is_idempotent(Idmp::Off, window).unwrap() && !old.is_idempotent(Idmp::Auto, window).unwrap());
            assert_eq!(new.is_idempotent(Idmp::Auto, window).unwrap(), fits, "{window:?}");
            let demanded = new.is_idempotent(Idmp::On, window).map_err(|error| error.kind());
            assert_eq!(demanded, if fits { Ok(true) } else { Err(ErrorKind::Invalid) }, "{window:?}");
            assert_eq!(old.is_idempotent(Idmp::On, window).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn settings_that_lose_events_are_named() {
        let said = |lines: &[(&str, &str)], settings: Settings| warnings(&info(lines), &settings).join("\n");
        let master = ("role", "master");
        let nothing = Settings { save: Some(String::new()), ..Settings::default() };
        assert!(said(&[master, ("aof_enabled", "0")], nothing).contains("loses every event"));
        let second = Settings { appendfsync: Some("everysec".to_owned()), ..Settings::default() };
        assert!(said(&[master, ("aof_enabled", "1")], second).contains("everysec"));
        let evicting =
            Settings { appendfsync: Some("always".to_owned()), maxmemory_policy: Some("allkeys-lru".to_owned()), ..Settings::default() };
        assert!(said(&[master, ("aof_enabled", "1"), ("maxmemory", "1000")], evicting).contains("allkeys-lru"));
        let lagging = [master, ("aof_enabled", "1"), ("connected_slaves", "1"), ("slave0", "ip=::1,port=1,state=online,offset=1,lag=9")];
        let always = || Settings { appendfsync: Some("always".to_owned()), ..Settings::default() };
        assert!(said(&lagging, always()).contains("slave0 is 9 seconds behind"));
        assert_eq!(said(&[master, ("aof_enabled", "1")], always()), "");
    }
}
