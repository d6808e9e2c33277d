//! Consumers.

use super::{Answer, Api, Done, nanos};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of a pull consumer: those that the bus sets or looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConsumerConfig {
    /// Left out by servers for consumers without a name of their own.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) durable_name: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    #[serde(flatten)]
    pub(crate) deliver: DeliverPolicy,
    pub(crate) ack_policy: AckPolicy,
    #[serde(default, with = "nanos", skip_serializing_if = "Duration::is_zero")]
    pub(crate) ack_wait: Duration,
    #[serde(default)]
    pub(crate) max_deliver: i64,
    #[serde(default)]
    pub(crate) max_ack_pending: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) filter_subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) filter_subjects: Vec<String>,
    #[serde(default, with = "nanos", skip_serializing_if = "Duration::is_zero")]
    pub(crate) inactive_threshold: Duration,
    #[serde(default)]
    pub(crate) num_replicas: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) mem_storage: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) headers_only: bool,
}

/// Where a consumer begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deliver_policy", rename_all = "snake_case")]
pub(crate) enum DeliverPolicy {
    All,
    New,
    ByStartSequence {
        opt_start_seq: u64,
    },
    ByStartTime {
        opt_start_time: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AckPolicy {
    None,
    Explicit,
    #[serde(other)]
    Other,
}

/// A consumer and its figures.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) delivered: Place,
    pub(crate) ack_floor: Place,
    pub(crate) num_ack_pending: u64,
    pub(crate) num_waiting: u64,
    pub(crate) num_pending: u64,
    /// How many are not acknowledged that were delivered more than once. What waits to be delivered for the second time is not among them.
    #[serde(default)]
    pub(crate) num_redelivered: u64,
}

/// How far a consumer has got: in the log of the stream, and counted by deliveries.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Place {
    pub(crate) stream_seq: u64,
    pub(crate) consumer_seq: u64,
}

impl ConsumerConfig {
    /// The subjects that it is asked for, in order.
    pub(crate) fn filters(&self) -> Vec<String> {
        let one = Some(self.filter_subject.clone()).filter(|subject| !subject.is_empty());
        let mut filters: Vec<String> = one.into_iter().chain(self.filter_subjects.iter().cloned()).collect();
        filters.sort();
        filters
    }

    /// Says which subjects it is asked for.
    pub(crate) fn with_filters(mut self, mut subjects: Vec<String>) -> Self {
        if subjects.len() == 1 {
            self.filter_subject = subjects.remove(0);
        } else {
            self.filter_subjects = subjects;
        }
        self
    }
}

impl Api {
    pub(crate) async fn consumer(&self, stream: &str, name: &str) -> Answer<ConsumerInfo> {
        self.ask(&format!("CONSUMER.INFO.{stream}.{name}"), &serde_json::json!({})).await
    }

    /// Makes a consumer. Where there is one of that name with other settings, servers from 2.10 refuse.
    pub(crate) async fn create_consumer(&self, stream: &str, config: &ConsumerConfig) -> Answer<ConsumerInfo> {
        #[derive(Serialize)]
        struct Create<'a> {
            stream_name: &'a str,
            config: &'a ConsumerConfig,
            action: &'static str,
        }
        self.ask(&format!("CONSUMER.CREATE.{stream}.{}", config.name), &Create { stream_name: stream, config, action: "create" }).await
    }

    pub(crate) async fn delete_consumer(&self, stream: &str, name: &str) -> Answer<Done> {
        self.ask(&format!("CONSUMER.DELETE.{stream}.{name}"), &serde_json::json!({})).await
    }

    /// All consumers of a stream.
    pub(crate) async fn consumers(&self, stream: &str) -> Answer<Vec<ConsumerInfo>> {
        #[derive(Deserialize)]
        struct Page {
            total: usize,
            #[serde(default)]
            consumers: Option<Vec<ConsumerInfo>>,
        }
        let mut all = Vec::new();
        loop {
            let page: Page = self.ask(&format!("CONSUMER.LIST.{stream}"), &serde_json::json!({ "offset": all.len() })).await?;
            let consumers = page.consumers.unwrap_or_default();
            let is_last = consumers.is_empty() || all.len() + consumers.len() >= page.total;
            all.extend(consumers);
            if is_last {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_a_strict_server_wants_them() {
        let config = ConsumerConfig {
            name: "g".to_owned(),
            durable_name: Some("g".to_owned()),
            description: String::new(),
            deliver: DeliverPolicy::ByStartSequence { opt_start_seq: 7 },
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(1),
            max_deliver: -1,
            max_ack_pending: -1,
            filter_subject: String::new(),
            filter_subjects: Vec::new(),
            inactive_threshold: Duration::ZERO,
            num_replicas: 0,
            mem_storage: false,
            headers_only: false,
        };
        let expected = serde_json::json!({
            "name": "g", "durable_name": "g", "deliver_policy": "by_start_sequence", "opt_start_seq": 7, "ack_policy": "explicit",
            "ack_wait": 1_000_000_000, "max_deliver": -1, "max_ack_pending": -1, "num_replicas": 0
        });
        assert_eq!(serde_json::to_value(&config).unwrap(), expected);
        let one = config.clone().with_filters(vec!["a".to_owned()]);
        assert_eq!((one.filter_subject.as_str(), one.filter_subjects.len()), ("a", 0));
        let two = config.with_filters(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(two.filters(), ["a", "b"]);
    }

    #[test]
    fn what_others_have_made_can_be_read() {
        let info = r#"{"name":"x","created":"2026-01-01T00:00:00Z","config":{"deliver_policy":"last","ack_policy":"all","ack_wait":5,
            "max_deliver":-1,"replay_policy":"instant"},"delivered":{"consumer_seq":1,"stream_seq":2},
            "ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":1,"num_redelivered":0,"num_waiting":0,"num_pending":3}"#;
        let info: ConsumerInfo = serde_json::from_str(info).unwrap();
        assert_eq!((info.config.deliver, info.config.ack_policy), (DeliverPolicy::Other, AckPolicy::Other));
    }
}
