//! What there is to say of the server.

use crate::{
    api::{Api, StreamInfo},
    link::Link,
};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Health, HealthState, Result};
use std::time::Duration;
use tokio::time::Instant;

/// How long a sign of life may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// From how much of a limit on it is near.
const NEAR: f64 = 0.9;

/// Asks for a sign of life. What looks wrong is added by whoever knows the mode.
pub(crate) async fn of_connection(link: &Link) -> Result<Health> {
    let mut health = Health::default();
    health.server = link.client.try_server_info().map(|info| format!("nats-server {}", info.version));
    match link.check() {
        Ok(()) => {}
        Err(error) if error.is_retryable() => {
            health.state = HealthState::Reconnecting;
            return Ok(health);
        }
        Err(error) => return Err(error),
    }
    match round_trip(link).await {
        Ok(took) => health.round_trip = Some(took),
        Err(error) if error.kind() == ErrorKind::Unavailable => health.state = HealthState::Reconnecting,
        Err(error) => return Err(error),
    }
    Ok(health)
}

/// How long a message to ourselves takes.
pub(crate) async fn round_trip(link: &Link) -> Result<Duration> {
    let address = link.client.new_inbox();
    let away = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Unavailable, "the server could not be asked").caused_by(error)
    };
    let mut echo = link.client.subscribe(address.clone()).await.map_err(|error| away(error.into()))?;
    let begun = Instant::now();
    link.client.publish(address.clone(), Bytes::new()).await.map_err(|error| away(error.into()))?;
    let echo = std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut echo), cx));
    match tokio::time::timeout(PATIENCE, link.answered(address.into(), echo)).await {
        Ok(answered) => answered.map(|_| begun.elapsed()),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, format!("the server did not answer within {PATIENCE:?}"))),
    }
}

/// What looks wrong about a stream and the server that keeps it.
pub(crate) async fn warnings(api: &Api, stream: &str) -> Result<Vec<String>> {
    let info = api.stream(stream).await?;
    let mut warnings = Vec::new();
    if let Some(server) = api.link.client.try_server_info()
        && is_before(&server.version, 2, 10)
    {
        warnings.push(format!(
            "nats-server {} is older than 2.10: subscriptions with several patterns are filtered by the client, and NATS no longer maintains it",
            server.version
        ));
    }
    warnings.extend(durability(&info));
    if let Some(server) = api.link.client.try_server_info()
        && info.config.num_replicas > 1
        && is_before(&server.version, 2, 10)
    {
        warnings.push(format!(
            "stream {} has replicas that may come to differ when a leader is lost, before nats-server 2.10: who reads from the wrong one \
             misses events",
            info.config.name
        ));
    }
    warnings.extend(usage(&info));
    Ok(warnings)
}

fn durability(info: &StreamInfo) -> Vec<String> {
    let config = &info.config;
    let mut warnings = Vec::new();
    if config.storage == "memory" {
        warnings.push(format!("stream {} is in memory: its events are gone when the server restarts", config.name));
        return warnings;
    }
    if config.num_replicas == 1 {
        warnings.push(format!("stream {} has one replica: its events are as safe as the disk of one server", config.name));
    }
    warnings.push(
        "a server writes acknowledged events to its disk every 2 minutes unless its sync_interval says otherwise, which a client cannot see: \
         check that it is `always` where no event may be lost with the power"
            .to_owned(),
    );
    warnings
}

fn usage(info: &StreamInfo) -> Vec<String> {
    let (config, state) = (&info.config, &info.state);
    let consequence =
        if config.discard == "new" { "publishing fails when it is full" } else { "its oldest events are removed when it is full" };
    let limits = [("events", state.messages, config.max_msgs), ("bytes", state.bytes, config.max_bytes)];
    let near = limits.into_iter().filter(|(_, used, limit)| *limit > 0 && *used as f64 >= *limit as f64 * NEAR);
    near.map(|(what, used, limit)| format!("stream {} has {used} of at most {limit} {what}: {consequence}", config.name)).collect()
}

/// Whether a version is older than `major.minor`. One that cannot be read is not.
pub(crate) fn is_before(version: &str, major: u64, minor: u64) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(found_major)), Some(Ok(found_minor))) => (found_major, found_minor) < (major, minor),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_before("2.9.10", 2, 10));
        assert!(is_before("v2.9.0", 2, 10));
        assert!(!is_before("2.10.0-beta.1", 2, 10));
        assert!(!is_before("3.0.0", 2, 10));
        assert!(!is_before("unknown", 2, 10));
    }

    #[test]
    fn a_stream_that_is_nearly_full_says_what_follows() {
        let info = |messages: u64, discard: &str| -> StreamInfo {
            serde_json::from_value(serde_json::json!({
                "created": "", "state": { "messages": messages, "bytes": 0, "first_seq": 1, "last_seq": messages,
                           "first_ts": "2026-01-31T12:00:00Z", "last_ts": "2026-01-31T12:00:00Z" },
                "config": { "name": "S", "retention": "limits", "max_msgs": 100, "max_bytes": -1, "max_age": 0, "storage": "file",
                            "num_replicas": 1, "discard": discard }
            }))
            .unwrap()
        };
        assert!(usage(&info(89, "old")).is_empty());
        assert!(usage(&info(90, "old"))[0].contains("oldest events are removed"));
        assert!(usage(&info(100, "new"))[0].contains("publishing fails"));
    }
}
