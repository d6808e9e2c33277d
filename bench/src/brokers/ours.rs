//! Eventbus, the same over any server.

use super::{Consume, Members, Publish, Sample};
use crate::{contest::Result, traffic::Tally};
use eventbus::{Bus, BusExt as _, Data, Event, EventData as _, Start, Subscribe};
use std::{ops::Range, sync::Arc};

/// A bus, and how large its samples are.
#[derive(Clone)]
pub struct Ours {
    bus: Arc<dyn Bus>,
    size: usize,
}

impl Ours {
    /// Connects to the URL of a bus.
    ///
    /// # Errors
    /// Those of [`eventbus::connect`].
    pub async fn connect(url: String, size: usize) -> Result<Self> {
        Ok(Self { bus: eventbus::connect(&url).await?, size })
    }

    fn event(&self, number: u64) -> Event {
        Event::new(Sample::new(number, self.size))
    }
}

impl Publish for Ours {
    async fn one(&self, number: u64) -> Result<()> {
        Ok(self.bus.publish(self.event(number)).await?)
    }

    async fn many(&self, numbers: Range<u64>) -> Result<()> {
        let events = numbers.map(|number| self.event(number)).collect();
        Ok(self.bus.publish_all(events).await.into_iter().collect::<eventbus::Result<()>>()?)
    }
}

impl Consume for Ours {
    async fn fill(&self, samples: u64) -> Result<()> {
        for first in (0..samples).step_by(super::BATCH as usize) {
            self.many(first..(first + super::BATCH).min(samples)).await?;
        }
        Ok(())
    }

    async fn join(&self, group: String, members: usize, tally: Arc<Tally>) -> Result<Members> {
        let mut joined = Vec::with_capacity(members);
        for _ in 0..members {
            let tally = Arc::clone(&tally);
            let handler = move |Data(sample): Data<Sample>| {
                tally.note(0, sample.number());
                async {}
            };
            let member = Subscribe::to(Sample::TYPE).group(&group).from(Start::Earliest);
            joined.push(self.bus.on(member, handler).await?.into_guard());
        }
        Ok(Box::new(joined))
    }
}
