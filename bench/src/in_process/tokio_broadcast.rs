//! `tokio::sync::broadcast` with `Arc`s, and a gate that keeps it from losing events.

use super::{BUFFER, Topology, gate::Gate};
use crate::{
    contest::{Side, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use std::sync::Arc;
use tokio::sync::broadcast::channel;

/// The job as it is done with a broadcast channel.
pub(super) fn broadcast(Topology { publishers, subscribers }: Topology) -> Side {
    Side::new(move || async move {
        let (sender, _) = channel::<Arc<Tick>>(BUFFER);
        let gate = Arc::new(Gate::new(BUFFER, subscribers));
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let (mut receiver, tally, gate) = (sender.subscribe(), Arc::clone(&tally), Arc::clone(&gate));
            tokio::spawn(async move {
                // An event that was overwritten would be missed by the tally.
                while let Ok(tick) = receiver.recv().await {
                    tally.note(subscriber, tick.number());
                    gate.leave(subscriber);
                }
            });
        }
        Ok(turn(move |events| {
            let (sender, tally, gate) = (sender.clone(), Arc::clone(&tally), Arc::clone(&gate));
            async move {
                let publish = |numbers: Numbers| {
                    let (sender, gate) = (sender.clone(), Arc::clone(&gate));
                    async move {
                        for number in numbers {
                            gate.enter().await;
                            sender.send(Arc::new(Tick::new(number)))?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(publishers, events, publish).await?))
            }
        }))
    })
}
