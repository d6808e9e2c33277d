//! `sea-streamer-redis`: a producer whose receipts are awaited, and consumers that commit what they have handled.

use super::fresh;
use crate::{
    brokers::{Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use sea_streamer_redis::{AutoCommit, AutoStreamReset, RedisConsumerOptions, RedisProducer, RedisStreamer};
use sea_streamer_types::{
    Buffer as _, Consumer as _, ConsumerGroup, ConsumerMode, ConsumerOptions as _, Message as _, Producer as _, StreamKey, Streamer as _,
};
use std::sync::Arc;
use tokio::task::JoinSet;

#[derive(Clone)]
pub(super) struct SeaStreamer {
    streamer: RedisStreamer,
    producer: RedisProducer,
    key: StreamKey,
    size: usize,
}

impl SeaStreamer {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let streamer = RedisStreamer::connect(url.parse()?, Default::default()).await?;
        let key = StreamKey::new(fresh("sea"))?;
        let producer = streamer.create_producer(key.clone(), Default::default()).await?;
        Ok(Self { streamer, producer, key, size })
    }
}

impl Publish for SeaStreamer {
    async fn one(&self, number: u64) -> Result<()> {
        self.producer.send(String::from_utf8(Sample::new(number, self.size).json()?)?)?.await?;
        Ok(())
    }
}

impl Consume for SeaStreamer {
    async fn fill(&self, samples: u64) -> Result<()> {
        let mut sent = Vec::new();
        for number in 0..samples {
            sent.push(self.producer.send(String::from_utf8(Sample::new(number, self.size).json()?)?)?);
        }
        for receipt in sent {
            receipt.await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        let mut joined = JoinSet::new();
        for _ in 0..members {
            let mut options = RedisConsumerOptions::new(ConsumerMode::LoadBalanced);
            options.set_consumer_group(ConsumerGroup::new(group.clone()))?;
            options.set_auto_stream_reset(AutoStreamReset::Earliest);
            // Acknowledged after it was handled, many at once.
            options.set_auto_commit(AutoCommit::Rolling);
            options.set_batch_size(500);
            let consumer = self.streamer.create_consumer(std::slice::from_ref(&self.key), options).await?;
            let tally = Arc::clone(&tally);
            joined.spawn(async move {
                while let Ok(message) = consumer.next().await {
                    if let Ok(sample) = serde_json::from_slice::<Sample>(message.message().as_bytes()) {
                        tally.note(0, sample.number());
                        let _ = consumer.ack(&message);
                    }
                }
            });
        }
        Ok(Box::new(joined))
    }
}
