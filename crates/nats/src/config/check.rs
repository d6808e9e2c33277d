//! The rules that settings keep.

use super::{Mode, NatsConfig, Server, StreamSettings, Tls};
use eventbus_core::{Error, EventType, MAX_DURATION, Result};
use std::{fmt, time::Duration};

/// The lease where none was said.
const LEASE: Duration = Duration::from_secs(30);

impl NatsConfig {
    /// The lease of groups.
    pub(crate) fn lease_or_default(&self) -> Duration {
        self.lease.unwrap_or(LEASE)
    }

    /// The name of the stream.
    pub(crate) fn stream_name(&self) -> String {
        self.stream.name.clone().unwrap_or_else(|| {
            let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_uppercase() } else { '_' };
            self.prefix.chars().map(allowed).collect()
        })
    }

    /// The servers, or the default one.
    pub(crate) fn addresses(&self) -> Vec<Server> {
        if self.servers.is_empty() {
            return vec![Server::local()];
        }
        self.servers.clone()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        EventType::new(&self.prefix)
            .map_err(|_| invalid("prefix", &self.prefix, "it must be tokens of letters, digits and _:/@+~- with dots between"))?;
        let inbox =
            self.inbox_prefix.split('.').all(|token| !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c)));
        if !inbox {
            return Err(invalid("inbox_prefix", &self.inbox_prefix, "it must be a subject without wildcards"));
        }
        self.check_durations()?;
        self.check_counts()?;
        self.check_stream()?;
        self.check_mode()?;
        self.credentials.check()?;
        match (&self.tls.cert_file, &self.tls.key_file) {
            (Some(_), None) => Err(Error::invalid("tls_cert: it needs tls_key, its private key")),
            (None, Some(_)) => Err(Error::invalid("tls_key: it needs tls_cert, its certificate")),
            _ => Ok(()),
        }
    }

    /// Refuses settings of the connection beside a client that has one.
    pub(crate) fn check_names_no_server(&self) -> Result<()> {
        let Tls { ca_file, cert_file, key_file, first } = &self.tls;
        let named = [
            ("server", !self.servers.is_empty()),
            ("tls_ca", ca_file.is_some()),
            ("tls_cert", cert_file.is_some()),
            ("tls_key", key_file.is_some()),
            ("tls_first", *first),
            ("name", self.name.is_some()),
        ];
        let named = named.into_iter().filter_map(|(name, is_named)| is_named.then_some(name));
        match named.chain(self.credentials.given()).next() {
            Some(name) => Err(Error::invalid(format!("{name}: the client that was passed in says this already"))),
            None => Ok(()),
        }
    }

    /// Refuses what has no meaning where nothing is kept.
    fn check_mode(&self) -> Result<()> {
        if self.mode == Mode::JetStream {
            return Ok(());
        }
        let StreamSettings { name, max_age, max_bytes, max_msgs, replicas, storage, discard, dedup_window, max_dead_letters } =
            &self.stream;
        let said = [
            ("stream", name.is_some()),
            ("max_age", max_age.is_some()),
            ("max_bytes", max_bytes.is_some()),
            ("max_msgs", max_msgs.is_some()),
            ("replicas", replicas.is_some()),
            ("storage", storage.is_some()),
            ("discard", discard.is_some()),
            ("dedup_window", dedup_window.is_some()),
            ("max_dead_letters", max_dead_letters.is_some()),
            ("lease", self.lease.is_some()),
            ("confirmed_acks", self.confirmed_acks),
            ("atomic", self.atomic),
        ];
        match said.into_iter().find(|(_, is_said)| *is_said) {
            Some((name, _)) => Err(Error::invalid(format!("{name}: mode=core keeps no events, and this is for those that are kept"))),
            None => Ok(()),
        }
    }

    fn check_durations(&self) -> Result<()> {
        for (name, duration, least) in [
            ("connect_timeout", self.connect_timeout, 1),
            ("reconnect_wait", self.reconnect_wait, 1),
            ("ping_interval", self.ping_interval, 100),
            ("publish_timeout", self.publish_timeout, 1),
            ("close_timeout", self.close_timeout, 1),
            ("lease", self.lease_or_default(), 500),
        ] {
            if duration < Duration::from_millis(least) {
                return Err(invalid(name, format_args!("{duration:?}"), &format!("it must be at least {least} ms")));
            }
            if duration > MAX_DURATION {
                return Err(invalid(name, format_args!("{duration:?}"), "it must be at most 30 days"));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        for (name, value) in [
            ("max_payload", self.max_payload),
            ("hold", self.hold),
            ("max_in_flight", Some(self.max_in_flight)),
            ("max_in_flight_bytes", Some(self.max_in_flight_bytes)),
            ("max_reconnects", self.max_reconnects),
        ] {
            if value == Some(0) {
                return Err(invalid(name, 0, "it must be at least 1"));
            }
        }
        Ok(())
    }

    fn check_stream(&self) -> Result<()> {
        let name = self.stream_name();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 200 || !name.chars().all(allowed) {
            return Err(invalid("stream", name, "it must be letters, digits, '_' and '-', at most 200"));
        }
        let StreamSettings { max_age, max_bytes, max_msgs, replicas, dedup_window, max_dead_letters, .. } = &self.stream;
        if replicas.is_some_and(|replicas| !(1..=5).contains(&replicas)) {
            return Err(invalid("replicas", replicas.unwrap_or_default(), "it must be 1 to 5"));
        }
        for (name, count) in [("max_bytes", max_bytes), ("max_msgs", max_msgs), ("max_dead_letters", max_dead_letters)] {
            if count.is_some_and(|count| i64::try_from(count).is_err()) {
                return Err(invalid(name, count.unwrap_or_default(), "it must fit into 63 bits"));
            }
        }
        if *max_dead_letters == Some(0) {
            return Err(invalid("max_dead_letters", 0, "it must be at least 1"));
        }
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        if max_age.is_some_and(|age| age > century || !age.is_zero() && age < MIN_WINDOW) {
            return Err(invalid("max_age", format_args!("{:?}", max_age.unwrap_or_default()), "it must be 0, or 100 ms to 100 years"));
        }
        let Some(window) = *dedup_window else { return Ok(()) };
        if window < MIN_WINDOW {
            return Err(invalid("dedup_window", format_args!("{window:?}"), "it must be at least 100 ms"));
        }
        let age = max_age.unwrap_or(crate::stream::MAX_AGE);
        if !age.is_zero() && window > age {
            return Err(invalid(
                "dedup_window",
                format_args!("{window:?}"),
                &format!("it must be no longer than max_age, which is {age:?}"),
            ));
        }
        Ok(())
    }
}

/// The shortest dedup window that a server takes.
pub(crate) const MIN_WINDOW: Duration = Duration::from_millis(100);

fn invalid(name: &str, value: impl fmt::Display, rule: &str) -> Error {
    Error::invalid(format!("{name} {value}: {rule}"))
}
