//! Core NATS: from publishers to subscribers that are there, at most once.

use super::{fresh, raw::message};
use crate::{
    brokers::{BATCH, Sample},
    contest::{Contest, Result, Side, Unit, turn},
    traffic::{Numbers, Tally, per_second},
};
use eventbus::{BusExt as _, Data, Event, EventData as _, Subscribe};
use futures_util::StreamExt as _;
use std::sync::Arc;

const SIZE: usize = 256;
/// What a subscriber of ours may have waiting: as much as a subscription of `async-nats`.
const BUFFER: usize = 65_536;

/// All of them.
pub(super) fn contests(url: &str) -> Vec<Contest> {
    [1, 4]
        .map(|subscribers| {
            let name = format!("nats core/1→{subscribers}, 256 B");
            Contest::new(name, Unit::EventsPerSecond, 40_000 / subscribers as u64, ours(url.to_owned(), subscribers)).against(
                "async-nats",
                0.9,
                raw(url.to_owned(), subscribers),
            )
        })
        .into()
}

fn ours(url: String, subscribers: usize) -> Side {
    Side::new(move || async move {
        let bus = eventbus::connect(&format!("{url}/{}?mode=core", fresh("core"))).await?;
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

fn raw(url: String, subscribers: usize) -> Side {
    Side::new(move || async move {
        let (client, subject) = (async_nats::connect(&url).await?, format!("{}.sample", fresh("raw")));
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let (mut messages, tally) = (client.subscribe(subject.clone()).await?, Arc::clone(&tally));
            tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    if let Ok(sample) = serde_json::from_slice::<Sample>(&message.payload) {
                        tally.note(subscriber, sample.number());
                    }
                }
            });
        }
        client.flush().await?;
        Ok(turn(move |events| {
            let (client, subject, tally) = (client.clone(), subject.clone(), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let (client, subject) = (client.clone(), subject.clone());
                    async move {
                        let numbers: Vec<_> = numbers.collect();
                        for some in numbers.chunks(BATCH as usize) {
                            for number in some {
                                let (headers, body) = message(*number, SIZE)?;
                                client.publish_with_headers(subject.clone(), headers, body).await?;
                            }
                            // So that it is known that the server has them.
                            client.flush().await?;
                        }
                        Result::<()>::Ok(())
                    }
                };
                Ok(per_second(events, tally.round(1, events, publish).await?))
            }
        }))
    })
}
