//! Settings as they are shown.

use super::RedisConfig;
use crate::connect::Secret;
use std::fmt;

/// Everything but what is secret.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("addresses", &self.addresses)
            .field("database", &self.database.unwrap_or_default())
            .field("user", &self.user.as_ref().map(|_| Secret::SHOWN))
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("tls_ca", &self.tls_ca)
            .field("tls_cert", &self.tls_cert)
            .field("tls_key", &self.tls_key)
            .field("sentinel", &self.sentinel)
            .field("sentinel_user", &self.sentinel_user.as_ref().map(|_| Secret::SHOWN))
            .field("sentinel_password", &self.sentinel_password)
            .field("cluster", &self.cluster)
            .field("mode", &self.mode)
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions)
            .field("dedup_window", &self.dedup_window)
            .field("idmp", &self.idmp)
            .field("max_age", &self.max_age)
            .field("max_msgs", &self.max_msgs)
            .field("max_dead_letters", &self.max_dead_letters)
            .field("lease", &self.lease)
            .field("connect_timeout", &self.connect_timeout)
            .field("retry_on_connect", &self.retry_on_connect)
            .field("response_timeout", &self.response_timeout)
            .field("reconnect_wait", &self.reconnect_wait)
            .field("max_reconnect_wait", &self.max_reconnect_wait)
            .field("publish_timeout", &self.publish_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_in_flight_bytes", &self.max_in_flight_bytes)
            .field("max_payload", &self.max_payload)
            .field("hold", &self.hold)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let config = RedisConfig::default().user("alice").password("hunter2").sentinel_user("bob").sentinel_password("hunter3");
        let shown = format!("{config:?}");
        for secret in ["alice", "bob", "hunter"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
