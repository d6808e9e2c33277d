//! Redis Pub/Sub: from publishers to subscribers that are there, at most once.

use super::{fresh, raw::connection};
use crate::{
    brokers::{BATCH, Sample},
    contest::{Contest, Result, Side, Unit, turn},
    traffic::{Numbers, Tally, per_second},
};
use eventbus::{BusExt as _, Data, Event, EventData as _, Subscribe, cloudevents::json};
use futures_util::StreamExt as _;
use redis::{Client, pipe};
use std::sync::Arc;

const SIZE: usize = 256;
/// What a subscriber of ours may have waiting. By hand there is no bound.
const BUFFER: usize = 100_000;

/// All of them.
pub(super) fn contests(url: &str) -> Vec<Contest> {
    [1, 4]
        .map(|subscribers| {
            let name = format!("redis pubsub/1→{subscribers}, 256 B");
            Contest::new(name, Unit::EventsPerSecond, 40_000 / subscribers as u64, ours(url.to_owned(), subscribers)).against(
                "redis",
                0.9,
                raw(url.to_owned(), subscribers),
            )
        })
        .into()
}

fn ours(url: String, subscribers: usize) -> Side {
    Side::new(move || async move {
        let bus = eventbus::connect(&format!("{url}/?prefix={}&mode=pubsub", fresh("pubsub"))).await?;
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let tally = Arc::clone(&tally);
            let handler = move |Data(sample): Data<Sample>| {
                tally.note(subscriber, sample.number());
                async {}
            };
            bus.on(Subscribe::to(Sample::TYPE).buffer(BUFFER), handler).await?;
        }
        Ok(turn(move |events| {
            let (bus, tally) = (Arc::clone(&bus), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let bus = Arc::clone(&bus);
                    async move {
                        let numbers: Vec<_> = numbers.collect();
                        for some in numbers.chunks(BATCH as usize) {
                            let events = some.iter().map(|number| Event::new(Sample::new(*number, SIZE))).collect();
                            bus.publish_all(events).await.into_iter().collect::<eventbus::Result<()>>()?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(1, events, publish).await?))
            }
        }))
    })
}

/// A connection for each subscriber, as a process of its own would have. What is sent are structured CloudEvents.
fn raw(url: String, subscribers: usize) -> Side {
    Side::new(move || async move {
        let (client, channel) = (Client::open(url)?, format!("{}:sample", fresh("raw")));
        let connection = connection(&client).await?;
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let mut listening = client.get_async_pubsub().await?;
            listening.subscribe(&channel).await?;
            let tally = Arc::clone(&tally);
            tokio::spawn(async move {
                let mut messages = listening.into_on_message();
                while let Some(message) = messages.next().await {
                    let data = json::decode(&message.get_payload_bytes().to_vec().into()).and_then(|event| event.decode::<Sample>());
                    if let Ok(sample) = data {
                        tally.note(subscriber, sample.number());
                    }
                }
            });
        }
        Ok(turn(move |events| {
            let (connection, channel, tally) = (connection.clone(), channel.clone(), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let (mut connection, channel) = (connection.clone(), channel.clone());
                    async move {
                        let numbers: Vec<_> = numbers.collect();
                        for some in numbers.chunks(BATCH as usize) {
                            let mut together = pipe();
                            for number in some {
                                let body = json::encode(&Event::new(Sample::new(*number, SIZE)))?;
                                together.publish(&channel, &body[..]).ignore();
                            }
                            () = together.query_async(&mut connection).await?;
                        }
                        Result::<()>::Ok(())
                    }
                };
                Ok(per_second(events, tally.round(1, events, publish).await?))
            }
        }))
    })
}
