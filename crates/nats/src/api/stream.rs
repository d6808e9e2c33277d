//! Streams.

use super::{Answer, Api, Done, StoredMessage, message, nanos};
use eventbus_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of a stream: those that the bus sets or looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: String,
    pub(crate) max_msgs: i64,
    pub(crate) max_bytes: i64,
    #[serde(with = "nanos")]
    pub(crate) max_age: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_msgs_per_subject: Option<i64>,
    pub(crate) storage: String,
    pub(crate) num_replicas: usize,
    pub(crate) discard: String,
    #[serde(default, with = "nanos")]
    pub(crate) duplicate_window: Duration,
    /// Servers before 2.12 do not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) allow_atomic: bool,
}

/// A stream and its figures.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
    pub(crate) state: StreamState,
    /// When it was made: what tells it from another one of its name.
    pub(crate) created: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    /// When the first message was stored, where there is one.
    pub(crate) first_ts: String,
    /// When the last message was stored, where there is one.
    pub(crate) last_ts: String,
    pub(crate) last_seq: u64,
}

impl StreamState {
    /// How long ago the first and the last message were stored.
    pub(crate) fn since(&self) -> Option<(Duration, Duration)> {
        let since = |time: &str| Timestamp::parse(time).ok().map(|time| time.elapsed());
        // In this order, so that the older one is never the younger.
        let newest = since(&self.last_ts);
        since(&self.first_ts).zip(newest).filter(|_| self.messages > 0)
    }
}

impl Api {
    pub(crate) async fn stream(&self, name: &str) -> Answer<StreamInfo> {
        self.ask(&format!("STREAM.INFO.{name}"), &serde_json::json!({})).await
    }

    pub(crate) async fn create_stream(&self, config: &StreamConfig) -> Answer<StreamInfo> {
        self.ask(&format!("STREAM.CREATE.{}", config.name), config).await
    }

    /// The message at a place.
    pub(crate) async fn message(&self, stream: &str, sequence: u64) -> Answer<StoredMessage> {
        self.get(stream, serde_json::json!({ "seq": sequence })).await
    }

    /// The first message from a place on that has a subject, which may have wildcards.
    pub(crate) async fn next_message(&self, stream: &str, sequence: u64, subject: &str) -> Answer<StoredMessage> {
        self.get(stream, serde_json::json!({ "seq": sequence, "next_by_subj": subject })).await
    }

    /// The last message with a subject.
    pub(crate) async fn last_message(&self, stream: &str, subject: &str) -> Answer<StoredMessage> {
        self.get(stream, serde_json::json!({ "last_by_subj": subject })).await
    }

    async fn get(&self, stream: &str, place: serde_json::Value) -> Answer<StoredMessage> {
        let answer: message::Envelope = self.ask(&format!("STREAM.MSG.GET.{stream}"), &place).await?;
        Ok(answer.message.read()?)
    }

    pub(crate) async fn delete_message(&self, stream: &str, sequence: u64) -> Answer<Done> {
        self.ask(&format!("STREAM.MSG.DELETE.{stream}"), &serde_json::json!({ "seq": sequence, "no_erase": true })).await
    }

    /// Removes all messages that have a subject, which may have wildcards.
    pub(crate) async fn purge(&self, stream: &str, subject: &str) -> Answer<Done> {
        self.ask(&format!("STREAM.PURGE.{stream}"), &serde_json::json!({ "filter": subject })).await
    }
}
