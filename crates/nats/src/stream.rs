//! The stream: made with what was said, or checked against it and left as it is.

use crate::{
    api::{Api, StreamConfig, StreamInfo, found, reason},
    config::{Discard, NatsConfig, Storage, StreamSettings},
};
use eventbus_core::{Error, ErrorKind, Result};
use std::time::Duration;

/// How old events get where nothing is said.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
const MAX_BYTES: u64 = 1 << 30;
const MAX_MSGS: u64 = 1_000_000;
const DEDUP_WINDOW: Duration = Duration::from_secs(120);
pub(crate) const MAX_DEAD_LETTERS: u64 = 10_000;

/// Finds the stream or makes it.
///
/// # Errors
/// [`ErrorKind::Conflict`] with each difference where there is another one than was said.
pub(crate) async fn open(api: &Api, config: &NatsConfig) -> Result<StreamInfo> {
    let name = config.stream_name();
    if let Some(info) = found(api.stream(&name).await, &[reason::NO_STREAM])? {
        return verified(config, info);
    }
    match api.create_stream(&wanted(config)).await {
        Ok(info) => verified(config, info),
        // Somebody else was faster.
        Err(failure) if failure.is(reason::STREAM_IN_USE) => verified(config, api.stream(&name).await?),
        Err(failure) if failure.is(reason::SUBJECTS_OVERLAP) => {
            Err(Error::from(failure).with("prefix", &config.prefix).with("stream", name))
        }
        Err(failure) => Err(Error::from(failure).with("stream", name)),
    }
}

/// The stream to be made.
fn wanted(config: &NatsConfig) -> StreamConfig {
    let StreamSettings { max_age, max_bytes, max_msgs, replicas, storage, discard, dedup_window, .. } = &config.stream;
    let max_age = max_age.unwrap_or(MAX_AGE);
    let limit = |limit: Option<u64>, default: u64| match limit.unwrap_or(default) {
        0 => -1,
        limit => i64::try_from(limit).unwrap_or(i64::MAX),
    };
    StreamConfig {
        name: config.stream_name(),
        subjects: vec![format!("{}.>", config.prefix)],
        retention: "limits".to_owned(),
        max_msgs: limit(*max_msgs, MAX_MSGS),
        max_bytes: limit(*max_bytes, MAX_BYTES),
        max_age,
        max_msgs_per_subject: None,
        storage: storage.unwrap_or_default().written().to_owned(),
        num_replicas: replicas.unwrap_or(1),
        discard: discard.unwrap_or_default().written().to_owned(),
        duplicate_window: dedup_window.unwrap_or(if max_age.is_zero() { DEDUP_WINDOW } else { DEDUP_WINDOW.min(max_age) }),
        allow_atomic: config.atomic,
    }
}

fn verified(config: &NatsConfig, info: StreamInfo) -> Result<StreamInfo> {
    let differences = differences(config, &info.config);
    if differences.is_empty() {
        return Ok(info);
    }
    let message = format!("the stream exists with other settings and was left as it is: {}", differences.join("; "));
    Err(Error::new(ErrorKind::Conflict, message).during("connect").with("stream", info.config.name))
}

/// What a stream has otherwise than was said, and what the bus cannot do with.
fn differences(config: &NatsConfig, found: &StreamConfig) -> Vec<String> {
    let wanted = wanted(config);
    let said = &config.stream;
    let mut differences = Vec::new();
    let mut compare = |name: &str, said: bool, wanted: String, found: String| {
        if said && wanted != found {
            differences.push(format!("{name}: wanted {wanted}, found {found}"));
        }
    };
    // Whoever files events under further subjects may do so.
    let covered = found.subjects.iter().any(|subject| wanted.subjects.contains(subject) || subject == ">");
    compare("subjects", !covered, wanted.subjects.join(","), found.subjects.join(","));
    compare("retention", true, wanted.retention, found.retention.clone());
    compare("max_age", said.max_age.is_some(), duration(wanted.max_age), duration(found.max_age));
    compare("max_bytes", said.max_bytes.is_some(), limit(wanted.max_bytes), limit(found.max_bytes));
    compare("max_msgs", said.max_msgs.is_some(), limit(wanted.max_msgs), limit(found.max_msgs));
    compare("replicas", said.replicas.is_some(), wanted.num_replicas.to_string(), found.num_replicas.to_string());
    compare("storage", said.storage.is_some(), wanted.storage, found.storage.clone());
    compare("discard", said.discard.is_some(), wanted.discard, found.discard.clone());
    compare("dedup_window", said.dedup_window.is_some(), duration(wanted.duplicate_window), duration(found.duplicate_window));
    compare("atomic", config.atomic, wanted.allow_atomic.to_string(), found.allow_atomic.to_string());
    differences
}

fn duration(duration: Duration) -> String {
    format!("{duration:?}")
}

fn limit(limit: i64) -> String {
    if limit < 1 { "none".to_owned() } else { limit.to_string() }
}

impl Storage {
    pub(crate) fn written(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

impl Discard {
    fn written(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_is_taken_as_it_is_found() {
        let mut stream = wanted(&NatsConfig::default());
        assert_eq!((stream.max_age, stream.max_bytes, stream.max_msgs, stream.num_replicas), (MAX_AGE, 1 << 30, 1_000_000, 1));
        assert_eq!(stream.duplicate_window, Duration::from_secs(120));
        stream.max_age = Duration::from_secs(1);
        stream.max_msgs = -1;
        stream.num_replicas = 3;
        stream.subjects.push("more.>".to_owned());
        assert!(differences(&NatsConfig::default(), &stream).is_empty());
    }

    #[test]
    fn each_difference_is_named_with_what_was_wanted_and_found() {
        let stream = wanted(&NatsConfig::default());
        let said = NatsConfig::default()
            .max_age(Duration::from_secs(60))
            .max_bytes(0)
            .max_msgs(7)
            .replicas(3)
            .storage(Storage::Memory)
            .discard(Discard::New)
            .dedup_window(Duration::from_secs(5))
            .prefix("other")
            .stream("EVENTS");
        let text = differences(&said, &stream).join("; ");
        for part in [
            "subjects: wanted other.>, found events.>",
            "max_age: wanted 60s, found 86400s",
            "max_bytes: wanted none, found 1073741824",
            "max_msgs: wanted 7, found 1000000",
            "replicas: wanted 3, found 1",
            "storage: wanted memory, found file",
            "discard: wanted new, found old",
            "dedup_window: wanted 5s, found 120s",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert_eq!(differences(&NatsConfig::default(), &StreamConfig { retention: "workqueue".to_owned(), ..stream }).len(), 1);
    }
}
