//! Deliveries that count for nothing.
//!
//! A server counts every delivery of an event, also of those that a member gave back unstarted when it left. How many these are is kept beside the
//! events, in a stream of its own, which is made with the first group and is looked at only where an event was delivered more than once.

use crate::{
    api::{Api, StreamConfig, found, reason},
    publish::{Outgoing, Publisher},
};
use async_nats::HeaderMap;
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use std::time::Duration;

/// How many answers are waited for at once.
const AT_ONCE: usize = 256;
/// The shortest dedup window that a stream may have.
const WINDOW: Duration = crate::config::MIN_WINDOW;

/// The counts of all groups of a stream.
#[derive(Clone)]
pub(crate) struct ReleasedCounts {
    api: Api,
    publisher: Publisher,
    /// The stream to be made: like that of the events, where it lives and for how long.
    stream: StreamConfig,
    prefix: String,
}

impl ReleasedCounts {
    pub(crate) fn new(api: Api, publisher: Publisher, events: &StreamConfig, prefix: &str) -> Self {
        let prefix = format!("{prefix}-state");
        let stream = StreamConfig {
            name: format!("{}_STATE", events.name),
            subjects: vec![format!("{prefix}.>")],
            retention: "limits".to_owned(),
            max_msgs: -1,
            max_bytes: -1,
            max_age: events.max_age,
            max_msgs_per_subject: Some(1),
            storage: events.storage.clone(),
            num_replicas: events.num_replicas,
            discard: "old".to_owned(),
            duplicate_window: WINDOW,
            allow_atomic: false,
        };
        Self { api, publisher, stream, prefix }
    }

    /// Where the count of an event is kept. A consumer that is made again begins to count anew, so its birth is part of it.
    fn subject(&self, consumer: &str, born: &str, sequence: u64) -> String {
        format!("{}.{consumer}.{born}.{sequence}", self.prefix)
    }

    /// How many deliveries of an event count for nothing.
    pub(super) async fn get(&self, consumer: &str, born: &str, sequence: u64) -> Result<u64> {
        let subject = self.subject(consumer, born, sequence);
        let message = found(self.api.last_message(&self.stream.name, &subject).await, &[reason::NO_MESSAGE, reason::NO_STREAM])?;
        Ok(message.and_then(|message| str::from_utf8(&message.payload).ok()?.parse().ok()).unwrap_or(0))
    }

    /// The same for several events.
    pub(super) async fn get_all(&self, consumer: &str, born: &str, sequences: &[u64]) -> Result<Vec<(u64, u64)>> {
        let mut counts = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(AT_ONCE) {
            let mut asking = tokio::task::JoinSet::new();
            for sequence in some {
                let (all, consumer, born, sequence) = (self.clone(), consumer.to_owned(), born.to_owned(), *sequence);
                asking.spawn(async move { all.get(&consumer, &born, sequence).await.map(|count| (sequence, count)) });
            }
            while let Some(answer) = asking.join_next().await {
                counts.push(answer.map_err(|fault| Error::new(ErrorKind::Unavailable, fault.to_string()))??);
            }
        }
        Ok(counts)
    }

    /// Makes the stream where there is none.
    pub(super) async fn prepare(&self) -> Result<()> {
        if found(self.api.stream(&self.stream.name).await, &[reason::NO_STREAM])?.is_none() {
            found(self.api.create_stream(&self.stream).await, &[reason::STREAM_IN_USE])?;
        }
        Ok(())
    }

    /// Keeps how many deliveries of each event count for nothing.
    pub(super) async fn keep(&self, consumer: &str, born: &str, counts: &[(u64, u64)]) -> Result<()> {
        for some in counts.chunks(AT_ONCE) {
            let mut acks = Vec::with_capacity(some.len());
            for count in some {
                acks.push(self.publisher.send(self.message(consumer, born, *count)).await?);
            }
            for ack in acks {
                ack.await?;
            }
        }
        Ok(())
    }

    fn message(&self, consumer: &str, born: &str, (sequence, count): (u64, u64)) -> Outgoing {
        let payload = Bytes::from(count.to_string());
        let size = payload.len();
        Outgoing { subject: self.subject(consumer, born, sequence).into(), headers: HeaderMap::new(), payload, size }
    }

    /// Forgets what was kept for a group.
    pub(crate) async fn forget(&self, consumer: &str) -> Result<()> {
        found(self.api.purge(&self.stream.name, &format!("{}.{consumer}.>", self.prefix)).await, &[reason::NO_STREAM]).map(|_| ())
    }
}
