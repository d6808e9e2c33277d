//! Eventbus: a bus with the default settings, and a closure over the data for each subscriber.

use super::Topology;
use crate::{
    contest::{Side, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use eventbus::{Bus, BusExt as _, Data, Event, EventData as _, MemoryBus};
use std::sync::Arc;

/// The job as Eventbus does it.
pub(super) fn ours(Topology { publishers, subscribers }: Topology) -> Side {
    Side::new(move || async move {
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let tally = Arc::clone(&tally);
            let handler = move |Data(tick): Data<Tick>| {
                tally.note(subscriber, tick.number());
                async {}
            };
            bus.on(Tick::TYPE, handler).await?;
        }
        Ok(turn(move |events| {
            let (bus, tally) = (Arc::clone(&bus), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let bus = Arc::clone(&bus);
                    async move {
                        for number in numbers {
                            bus.publish(Event::new(Tick::new(number))).await?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(publishers, events, publish).await?))
            }
        }))
    })
}
