//! The rules that settings keep.

use super::{Mode, RedisConfig};
use eventbus_core::{Error, MAX_DURATION, Result};
use std::time::Duration;

impl RedisConfig {
    /// Whether every value keeps its rules.
    pub(crate) fn check(&self) -> Result<()> {
        check_prefix(&self.prefix)?;
        within("partitions", self.partitions.into(), 1, 1024)?;
        let durations = [
            ("lease", self.lease),
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
            ("reconnect_wait", self.reconnect_wait),
            ("max_reconnect_wait", self.max_reconnect_wait),
            ("publish_timeout", self.publish_timeout),
            ("close_timeout", self.close_timeout),
        ];
        for (name, duration) in durations {
            if duration < Duration::from_millis(1) {
                return invalid(format!("{name} {duration:?}: it must be at least 1 ms"));
            }
        }
        if self.lease < Duration::from_millis(100) {
            return invalid(format!("lease {:?}: it must be at least 100 ms", self.lease));
        }
        if !self.dedup_window.is_zero() && self.dedup_window < Duration::from_millis(1) {
            return invalid(format!("dedup_window {:?}: it must be 0 or at least 1 ms", self.dedup_window));
        }
        for (name, duration) in durations.into_iter().chain([("dedup_window", self.dedup_window), ("max_age", self.max_age)]) {
            // Retention alone may be longer than anything that is waited for.
            let longest = if name == "max_age" { MAX_DURATION * 120 } else { MAX_DURATION };
            if duration > longest {
                return invalid(format!("{name} {duration:?}: it must be at most {} days", longest.as_secs() / 86_400));
            }
        }
        within("max_payload", self.max_payload as u64, 1, 512 * 1024 * 1024 - 1)?;
        within("max_in_flight", self.max_in_flight as u64, 1, 1_000_000)?;
        within("max_in_flight_bytes", self.max_in_flight_bytes as u64, 1, u64::MAX)?;
        within("max_dead_letters", self.max_dead_letters, 1, u64::MAX)?;
        within("hold", self.hold.unwrap_or(1) as u64, 1, u64::MAX)?;
        self.check_mode()?;
        self.check_server()
    }

    /// Refuses what has no meaning where nothing is kept.
    fn check_mode(&self) -> Result<()> {
        match self.of_streams {
            Some(name) if self.mode == Mode::PubSub => {
                invalid(format!("{name}: mode=pubsub keeps no events, and this is for those that are kept"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses settings that say where a server is, or who asks, beside a client that says so.
    pub(crate) fn check_names_no_server(&self) -> Result<()> {
        let named = [
            ("address", !self.addresses.is_empty()),
            ("database", self.database.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("tls", self.tls),
            ("sentinel", self.sentinel.is_some()),
            ("cluster", self.cluster),
        ];
        match named.into_iter().find(|(_, is_named)| *is_named) {
            Some((name, _)) => invalid(format!("{name}: the client that was passed in says this already")),
            None => Ok(()),
        }
    }

    fn check_server(&self) -> Result<()> {
        if self.sentinel.is_some() && self.cluster {
            return invalid("sentinel and cluster: they exclude each other".to_owned());
        }
        if self.sentinel.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return invalid("sentinel \"\": it must be the name of the master".to_owned());
        }
        if self.sentinel.is_none() && (self.sentinel_user.is_some() || self.sentinel_password.is_some()) {
            return invalid("sentinel_user and sentinel_password: they need sentinel, the name of the master".to_owned());
        }
        if let Some(database @ 1..) = self.database.filter(|_| self.cluster) {
            return invalid(format!("database {database}: a cluster has only database 0"));
        }
        if self.sentinel.is_none() && !self.cluster && self.addresses.len() > 1 {
            return invalid(format!(
                "{} addresses: several are those of Sentinels or of a cluster; set sentinel or cluster, too",
                self.addresses.len()
            ));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return invalid("tls_cert and tls_key: each needs the other".to_owned());
        }
        if !self.tls && (self.tls_ca.is_some() || self.tls_cert.is_some()) {
            return invalid("tls_ca, tls_cert and tls_key: they need an encrypted connection; write rediss://".to_owned());
        }
        if self.user.is_some() && self.password.is_none() {
            return invalid("user: it needs a password".to_owned());
        }
        Ok(())
    }
}

fn invalid<T>(message: String) -> Result<T> {
    Err(Error::invalid(message).during("connect"))
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let rule = if most == u64::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
    invalid(format!("{name} {value}: it must be {rule}"))
}

/// The prefix stands in keys, in hash tags and in patterns of channels.
fn check_prefix(prefix: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/@+~-".contains(c);
    if prefix.is_empty() || prefix.len() > 128 || !prefix.chars().all(allowed) {
        let shown: String = prefix.chars().take(40).collect();
        return invalid(format!("prefix {shown:?}: it must be 1 to 128 characters of A-Z, a-z, 0-9 and _ . : / @ + ~ -"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_refused_by_name() {
        let config = RedisConfig::default;
        for (config, name) in [
            (config().prefix(""), "prefix"),
            (config().prefix("a{b}"), "prefix"),
            (config().prefix("a*"), "prefix"),
            (config().prefix("a".repeat(129)), "prefix"),
            (config().partitions(0), "partitions 0"),
            (config().partitions(1025), "partitions 1025"),
            (config().lease(Duration::ZERO), "lease"),
            (config().lease(Duration::from_millis(50)), "lease"),
            (config().publish_timeout(Duration::ZERO), "publish_timeout"),
            (config().close_timeout(Duration::MAX), "close_timeout"),
            (config().dedup_window(Duration::MAX), "dedup_window"),
            (config().dedup_window(Duration::from_nanos(1)), "dedup_window"),
            (config().max_age(Duration::MAX), "max_age"),
            (config().max_payload(0), "max_payload"),
            (config().max_payload(usize::MAX), "max_payload"),
            (config().max_dead_letters(0), "max_dead_letters"),
            (config().hold(0), "hold"),
            (config().sentinel("m").cluster(), "sentinel and cluster"),
            (config().sentinel(" "), "sentinel"),
            (config().sentinel_user("u"), "sentinel_user"),
            (config().cluster().database(1), "database 1"),
            (config().address("a").address("b"), "2 addresses"),
            (config().tls().tls_cert("c"), "tls_key"),
            (config().tls_ca("c"), "rediss://"),
            (config().user("u"), "password"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error} does not name {name}");
        }
        config().check().unwrap();
    }

    #[test]
    fn what_is_for_kept_events_is_refused_where_none_are() {
        let second = Duration::from_secs(1);
        let (config, default) = (|| RedisConfig::default().mode(Mode::PubSub), RedisConfig::default());
        for (config, name) in [
            (config().partitions(2), "partitions"),
            (config().partitions(default.partitions), "partitions"),
            (config().dedup_window(second), "dedup_window"),
            (config().dedup_window(default.dedup_window), "dedup_window"),
            (config().idmp(crate::Idmp::Auto), "idmp"),
            (config().idmp(default.idmp), "idmp"),
            (config().max_age(second), "max_age"),
            (config().max_age(default.max_age), "max_age"),
            (config().max_msgs(1), "max_msgs"),
            (config().max_msgs(default.max_msgs), "max_msgs"),
            (config().max_dead_letters(1), "max_dead_letters"),
            (config().max_dead_letters(default.max_dead_letters), "max_dead_letters"),
            (config().lease(second), "lease"),
            (config().lease(default.lease), "lease"),
        ] {
            let refused = config.clone().check().map_err(|error| error.to_string());
            let named = refused.as_ref().is_err_and(|error| error.contains(name) && error.contains("mode=pubsub"));
            assert!(named, "{refused:?} does not name {name}");
            config.mode(Mode::Streams).check().unwrap();
        }
        config().publish_timeout(second).hold(1).database(0).check().unwrap();
    }
}
