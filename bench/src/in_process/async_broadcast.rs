//! `async-broadcast`, whose senders wait while it is full.

use super::{BUFFER, Topology};
use crate::{
    contest::{Side, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use std::sync::Arc;

/// The job as it is done with `async-broadcast`.
pub(super) fn broadcast(Topology { publishers, subscribers }: Topology) -> Side {
    Side::new(move || async move {
        let (sender, receiver) = async_broadcast::broadcast::<Arc<Tick>>(BUFFER);
        let tally = Tally::new(subscribers);
        for subscriber in 0..subscribers {
            let (mut receiver, tally) = (receiver.new_receiver(), Arc::clone(&tally));
            tokio::spawn(async move {
                while let Ok(tick) = receiver.recv().await {
                    tally.note(subscriber, tick.number());
                }
            });
        }
        drop(receiver);
        Ok(turn(move |events| {
            let (sender, tally) = (sender.clone(), Arc::clone(&tally));
            async move {
                let publish = |numbers: Numbers| {
                    let sender = sender.clone();
                    async move {
                        for number in numbers {
                            sender.broadcast(Arc::new(Tick::new(number))).await?;
                        }
                        Ok(())
                    }
                };
                Ok(per_second(events, tally.round(publishers, events, publish).await?))
            }
        }))
    })
}
