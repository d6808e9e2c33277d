//! `omniqueue` over Redis Streams: a queue, whose deliveries are acknowledged each.

use super::{fresh, raw::connection};
use crate::{
    brokers::{Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use futures_util::StreamExt as _;
use omniqueue::backends::{
    RedisBackend,
    redis::{RedisConfig, RedisConnectionManager, RedisProducer},
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

#[derive(Clone)]
pub(super) struct Omniqueue {
    url: String,
    producer: Arc<RedisProducer<RedisConnectionManager>>,
    key: String,
    size: usize,
}

impl Omniqueue {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let key = fresh("omniqueue");
        make_group(&url, &key, "bench").await?;
        let producer = Arc::new(RedisBackend::builder(config(&url, &key, "bench", 0)).build_producer().await?);
        Ok(Self { url, producer, key, size })
    }
}

/// It leaves the making of groups to others.
async fn make_group(url: &str, key: &str, group: &str) -> Result<()> {
    let mut connection = connection(&redis::Client::open(url)?).await?;
    () = redis::cmd("XGROUP").arg("CREATE").arg(key).arg(group).arg("0").arg("MKSTREAM").query_async(&mut connection).await?;
    Ok(())
}

fn config(url: &str, key: &str, group: &str, member: usize) -> RedisConfig {
    RedisConfig {
        dsn: url.to_owned(),
        max_connections: 16,
        reinsert_on_nack: false,
        queue_key: key.to_owned(),
        delayed_queue_key: format!("{key}-delayed"),
        delayed_lock_key: format!("{key}-lock"),
        consumer_group: group.to_owned(),
        consumer_name: format!("member-{member}"),
        payload_key: "payload".to_owned(),
        ack_deadline_ms: 30_000,
        dlq_config: None,
        sentinel_config: None,
    }
}

impl Publish for Omniqueue {
    async fn one(&self, number: u64) -> Result<()> {
        Ok(self.producer.send_serde_json(&Sample::new(number, self.size)).await?)
    }
}

impl Consume for Omniqueue {
    /// An acknowledgement deletes the entry.
    const USES_UP: bool = true;

    async fn fill(&self, samples: u64) -> Result<()> {
        let mut filling = futures_util::stream::iter((0..samples).map(|number| self.one(number))).buffer_unordered(64);
        while let Some(filled) = filling.next().await {
            filled?;
        }
        Ok(())
    }

    async fn join(&self, _: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        let mut joined = JoinSet::new();
        for member in 0..members {
            let mut consumer = RedisBackend::builder(config(&self.url, &self.key, "bench", member)).build_consumer().await?;
            let tally = Arc::clone(&tally);
            joined.spawn(async move {
                while let Ok(deliveries) = consumer.receive_all(500, Duration::from_secs(1)).await {
                    for delivery in deliveries {
                        if let Ok(Some(sample)) = delivery.payload_serde_json::<Sample>() {
                            // Noted last, for what is left in the queue would be handled in the next turn.
                            if delivery.ack().await.is_ok() {
                                tally.note(0, sample.number());
                            }
                        }
                    }
                }
            });
        }
        Ok(Box::new(joined))
    }
}
