//! `strev` with its in-memory channel: a router with a consumer for each subscriber, which gets the data from JSON.

use super::{BUFFER, Topology};
use crate::{
    contest::{Side, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use strev::{HandlerError, HandlerResult, Message, Publisher, Router, ShutdownSignal, Topic};
use strev_channel::Channel;
use tokio_util::sync::CancellationToken;

/// The number of what is published until every consumer is there.
const PROBE: u64 = u64::MAX;

/// The job as strev does it.
pub(super) fn strev(Topology { publishers, subscribers }: Topology) -> Side {
    Side::new(move || async move {
        let (channel, topic) = (Channel::new(BUFFER), Topic::new("bench.tick"));
        let tally = Tally::new(subscribers);
        let there = Arc::new(Mutex::new(vec![false; subscribers]));
        let mut router = Router::new();
        for subscriber in 0..subscribers {
            let (tally, there) = (Arc::clone(&tally), Arc::clone(&there));
            router.add_consumer(format!("consumer-{subscriber}"), topic.clone(), channel.clone(), move |message: Message| {
                let (tally, there) = (Arc::clone(&tally), Arc::clone(&there));
                async move {
                    match message.deserialize::<Tick>().map_err(|fault| HandlerError::Processing(fault.into()))?.number() {
                        PROBE => there.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[subscriber] = true,
                        number => tally.note(subscriber, number),
                    }
                    Ok(HandlerResult::ack(message))
                }
            });
        }
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().drop_guard();
        tokio::spawn(router.run(ShutdownSignal::Token(shutdown)));
        while there.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&false) {
            channel.publish(&topic, vec![message(PROBE)?]).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(turn(move |events| {
            // The router lives as long as the closure.
            let _ = &stop;
            let (channel, topic, tally) = (channel.clone(), topic.clone(), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let (channel, topic) = (channel.clone(), topic.clone());
                    async move {
                        for number in numbers {
                            channel.publish(&topic, vec![message(number)?]).await?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(publishers, events, publish).await?))
            }
        }))
    })
}

fn message(number: u64) -> serde_json::Result<Message> {
    Ok(Message::new(serde_json::to_vec(&Tick::new(number))?.into()))
}
