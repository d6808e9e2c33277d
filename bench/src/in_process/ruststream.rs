//! `ruststream` with its in-memory broker: a handler function for each subscriber, which gets the data from JSON.
//!
//! Its queues have no bound, so publishers never wait.

use super::Topology;
use crate::{
    contest::{Side, turn},
    traffic::{Numbers, Tally, Tick, per_second},
};
use ruststream::memory::prelude::*;
use std::sync::Arc;

/// What its handlers reach as the state of the application.
#[derive(Clone)]
struct Counting(Arc<Tally>);

impl Default for Counting {
    fn default() -> Self {
        Self(Tally::new(0))
    }
}

/// One handler for each subscriber.
macro_rules! handlers {
    ($($handler:ident: $number:literal),*) => {
        $(
            #[subscriber("bench.tick")]
            async fn $handler(tick: &Tick, ctx: &mut Context<'_, (), Counting>) -> HandlerOutcome {
                ctx.state().0.note($number, tick.number());
                HandlerOutcome::ack()
            }
        )*

        /// The job as ruststream does it.
        pub(super) fn ruststream(Topology { publishers, subscribers }: Topology) -> Side {
            Side::new(move || async move {
                let broker = MemoryBroker::new();
                let publisher = broker.publisher();
                let tally = Tally::new(subscribers);
                let counting = Counting(Arc::clone(&tally));
                let app = RustStream::new(AppInfo::new("bench", "0.0.0"))
                    .on_startup(move |_| async move { Ok::<_, std::convert::Infallible>(counting) })
                    .with_broker(broker, move |app| {
                        $(if $number < subscribers {
                            app.include($handler);
                        })*
                    });
                let running = app.start().await?;
                Ok(turn(move |events| {
                    // The application lives as long as the closure.
                    let _ = &running;
                    let (publisher, tally) = (publisher.clone(), Arc::clone(&tally));
                    async move {
                        let publish = |numbers: Numbers| {
                            let publisher = publisher.clone();
                            async move {
                                for number in numbers {
                                    publisher.message(&Tick::new(number)).to("bench.tick").publish().await?;
                                }
                                Ok(())
                            }
                        };
                        Ok(per_second(events, tally.round(publishers, events, publish).await?))
                    }
                }))
            })
        }
    };
}

handlers!(
    h0: 0, h1: 1, h2: 2, h3: 3, h4: 4, h5: 5, h6: 6, h7: 7, h8: 8, h9: 9, h10: 10, h11: 11, h12: 12, h13: 13, h14: 14, h15: 15
);
