//! `strev-nats`: its publisher, and a router with its subscriber.

use super::fresh;
use crate::{
    brokers::{BATCH, Consume, Members, Publish, Sample},
    contest::Result,
    traffic::Tally,
};
use std::{ops::Range, sync::Arc};
use strev::{HandlerError, HandlerResult, Message, Publisher as _, Router, ShutdownSignal, Topic};
use strev_nats::{NatsPublisher, NatsPublisherConfig, NatsSubscriber, NatsSubscriberConfig};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct Strev {
    publisher: Arc<NatsPublisher>,
    client: async_nats_of_strev::Client,
    stream: String,
    topic: Topic,
    size: usize,
}

impl Strev {
    pub(super) async fn connect(url: String, size: usize) -> Result<Self> {
        let (client, stream) = (async_nats_of_strev::connect(&url).await?, fresh("strev"));
        let publisher = NatsPublisher::new(NatsPublisherConfig::new(client.clone(), &stream)).await?;
        Ok(Self { publisher: Arc::new(publisher), client, topic: Topic::new(format!("{stream}.sample")), stream, size })
    }

    fn message(&self, number: u64) -> Result<Message> {
        Ok(Message::new(Sample::new(number, self.size).json()?.into()))
    }
}

impl Publish for Strev {
    async fn one(&self, number: u64) -> Result<()> {
        self.publisher.publish(&self.topic, vec![self.message(number)?]).await?;
        Ok(())
    }

    async fn many(&self, numbers: Range<u64>) -> Result<()> {
        let messages = numbers.map(|number| self.message(number)).collect::<Result<_>>()?;
        self.publisher.publish(&self.topic, messages).await?;
        Ok(())
    }
}

impl Consume for Strev {
    async fn fill(&self, samples: u64) -> Result<()> {
        for first in (0..samples).step_by(BATCH as usize) {
            self.many(first..(first + BATCH).min(samples)).await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        let mut router = Router::new();
        for member in 0..members {
            let mut config = NatsSubscriberConfig::new(self.client.clone(), &self.stream);
            config.consumer_prefix.clone_from(&group);
            let tally = Arc::clone(&tally);
            router.add_consumer(format!("member-{member}"), self.topic.clone(), NatsSubscriber::new(config), move |message: Message| {
                let tally = Arc::clone(&tally);
                async move {
                    let sample: Sample = message.deserialize().map_err(|fault| HandlerError::Processing(fault.into()))?;
                    tally.note(0, sample.number());
                    Ok(HandlerResult::ack(message))
                }
            });
        }
        let shutdown = CancellationToken::new();
        tokio::spawn(router.run(ShutdownSignal::Token(shutdown.clone())));
        Ok(Box::new(shutdown.drop_guard()))
    }
}
