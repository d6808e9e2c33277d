//! `async-nats` by hand: the headers of a CloudEvent and an id to store it once, in a stream like ours.

use super::fresh;
use crate::{
    brokers::{BATCH, Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::PublishAckFuture,
        stream::{self, StorageType},
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{ops::Range, sync::Arc, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinSet;
use uuid::Uuid;

#[derive(Clone)]
pub(super) struct Raw {
    context: Context,
    stream: String,
    subject: String,
    size: usize,
}

impl Raw {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let context = jetstream::new(async_nats::connect(&url).await?);
        let stream = fresh("raw");
        let config = stream::Config {
            name: stream.clone(),
            subjects: vec![format!("{stream}.>")],
            storage: StorageType::File,
            max_messages: 1_000_000,
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(24 * 3600),
            duplicate_window: Duration::from_secs(120),
            ..stream::Config::default()
        };
        context.create_stream(config).await?;
        Ok(Self { context, subject: format!("{stream}.sample"), stream, size })
    }

    async fn send(&self, number: u64) -> Result<PublishAckFuture> {
        let (headers, body) = message(number, self.size)?;
        Ok(self.context.publish_with_headers(self.subject.clone(), headers, body).await?)
    }
}

/// A CloudEvent in binary mode.
pub(super) fn message(number: u64, size: usize) -> Result<(HeaderMap, Bytes)> {
    let id = Uuid::now_v7().to_string();
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id.as_str());
    headers.insert("ce-source", "/eventbus");
    headers.insert("ce-type", "sample");
    headers.insert("ce-time", OffsetDateTime::now_utc().format(&Rfc3339)?);
    headers.insert("ce-datacontenttype", "application/json");
    headers.insert("Nats-Msg-Id", format!("/eventbus#{id}"));
    Ok((headers, Sample::new(number, size).json()?.into()))
}

impl Publish for Raw {
    async fn one(&self, number: u64) -> Result<()> {
        self.send(number).await?.await?;
        Ok(())
    }

    async fn many(&self, numbers: Range<u64>) -> Result<()> {
        let mut acks = Vec::with_capacity(BATCH as usize);
        for number in numbers {
            acks.push(self.send(number).await?);
        }
        for ack in acks {
            ack.await?;
        }
        Ok(())
    }
}

impl Consume for Raw {
    async fn fill(&self, samples: u64) -> Result<()> {
        for first in (0..samples).step_by(BATCH as usize) {
            self.many(first..(first + BATCH).min(samples)).await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        let config = pull::Config {
            durable_name: Some(group),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            filter_subject: format!("{}.sample", self.stream),
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let consumer = self.context.create_consumer_on_stream(config, self.stream.as_str()).await?;
        let mut joined = JoinSet::new();
        for _ in 0..members {
            let (mut messages, tally) = (consumer.stream().max_messages_per_batch(500).messages().await?, Arc::clone(&tally));
            joined.spawn(async move {
                while let Some(Ok(message)) = messages.next().await {
                    if let Ok(sample) = serde_json::from_slice::<Sample>(&message.payload) {
                        tally.note(0, sample.number());
                        let _ = message.ack().await;
                    }
                }
            });
        }
        Ok(Box::new(joined))
    }
}
