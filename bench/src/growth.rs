//! What an event costs as subscriptions, retained events and payloads grow. Eventbus beside itself.

use crate::{
    contest::{Contest, Result, Side, Turn, Unit, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use eventbus::{Bus, BusExt as _, Data, Event, EventData as _, MemoryBus, Payload};
use std::{sync::Arc, time::Instant};

/// All of them.
pub fn contests() -> Vec<Contest> {
    let mut all = vec![
        Contest::new("growth/publish, 100,000 subscriptions to other types", Unit::PublishesPerSecond, 100_000, elsewhere(100_000))
            .against("10 of them", 0.8, elsewhere(10)),
        Contest::new("growth/1,000 matching subscriptions", Unit::DeliveriesPerSecond, 400_000, matching(1000)).against(
            "10 of them",
            1.0,
            matching(10),
        ),
        Contest::new("growth/10,000 matching subscriptions", Unit::DeliveriesPerSecond, 400_000, matching(10_000))
            .against("1 of them", None, matching(1))
            .against("100 of them", None, matching(100)),
        Contest::new("growth/1,000,000 events retained", Unit::EventsPerSecond, 100_000, retaining(1_000_000))
            .against("100 of them", None, retaining(100))
            .against("10,000 of them", None, retaining(10_000)),
    ];
    let mut payloads = Contest::new("growth/payload of 1 MiB", Unit::EventsPerSecond, 20_000, carrying(1024 * 1024));
    for (name, size) in [("64 B", 64), ("1 KiB", 1024), ("16 KiB", 16 * 1024), ("256 KiB", 256 * 1024)] {
        payloads = payloads.against(name, None, carrying(size));
    }
    all.push(payloads);
    all
}

/// Publishing what nobody has subscribed to.
fn elsewhere(subscriptions: usize) -> Side {
    Side::new(move || async move {
        let bus = MemoryBus::new();
        for number in 0..subscriptions {
            bus.on(format!("other.t{number}"), |_: Event| async {}).await?;
        }
        Ok(turn(move |events| {
            let bus = bus.clone();
            async move {
                let since = Instant::now();
                for number in 0..events {
                    bus.publish(Event::new(Tick::new(number))).await?;
                }
                Ok(per_second(events, since.elapsed()))
            }
        }))
    })
}

/// So many deliveries, by as many subscriptions.
fn matching(subscriptions: usize) -> Side {
    Side::new(move || async move {
        let bus = MemoryBus::new();
        delivering(bus, subscriptions, move |deliveries| (deliveries / subscriptions as u64).max(1), tick).await
    })
}

/// Publishing to one subscriber while so many events are retained, and as many were published before.
fn retaining(events: usize) -> Side {
    Side::new(move || async move {
        let bus = MemoryBus::builder().retain_events(events).retain_bytes(1 << 30).build()?;
        for number in 0..events as u64 {
            bus.publish(tick(number)).await?;
        }
        delivering(bus, 1, |events| events, tick).await
    })
}

/// Encoded payloads of a size.
fn carrying(size: usize) -> Side {
    Side::new(move || async move {
        let bus = MemoryBus::new();
        let body = bytes::Bytes::from(vec![b'x'; size]);
        let tally = Tally::new(1);
        let handler = {
            let tally = Arc::clone(&tally);
            move |event: Event| {
                tally.note(0, event.subject().and_then(|number| number.parse().ok()).unwrap_or_default());
                async {}
            }
        };
        bus.on("bench.bytes", handler).await?;
        Ok(turn(move |events| {
            let (bus, tally, body) = (bus.clone(), Arc::clone(&tally), body.clone());
            async move {
                let publish = |numbers: Numbers| {
                    let (bus, body) = (bus.clone(), body.clone());
                    async move {
                        for number in numbers {
                            // A copy, for every event has data of its own.
                            let data = Payload::bytes("application/octet-stream", body.to_vec())?;
                            let event = Event::builder("bench.bytes").subject(number.to_string()).payload(data).build()?;
                            bus.publish(event).await?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(1, events, publish).await?))
            }
        }))
    })
}

fn tick(number: u64) -> Event {
    Event::new(Tick::new(number))
}

/// Figures are deliveries in a second.
async fn delivering(
    bus: MemoryBus,
    subscriptions: usize,
    events: impl Fn(u64) -> u64 + Send + 'static,
    event: fn(u64) -> Event,
) -> Result<Turn> {
    let tally = Tally::new(subscriptions);
    for subscriber in 0..subscriptions {
        let tally = Arc::clone(&tally);
        let handler = move |Data(tick): Data<Tick>| {
            tally.note(subscriber, tick.number());
            async {}
        };
        bus.on(Tick::TYPE, handler).await?;
    }
    Ok(turn(move |asked| {
        let (bus, tally, events) = (bus.clone(), Arc::clone(&tally), events(asked));
        async move {
            let publish = |numbers: Numbers| {
                let bus = bus.clone();
                async move {
                    for number in numbers {
                        bus.publish(event(number)).await?;
                    }
                    Ok(())
                }
            };
            Ok(per_second(events * subscriptions as u64, tally.round(1, events, publish).await?))
        }
    }))
}
