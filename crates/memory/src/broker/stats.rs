//! The figures of the broker.

use super::{
    Broker, ConsumerId, MemberId, Token,
    consumer::{Consumer, Stream},
};
use crate::clock::nanos;
use eventbus_core::{BusStats, GroupStats};
use eventbus_runtime::{Backlog, Run};
use std::time::{Duration, SystemTime};

impl Broker {
    pub(crate) fn stats(&self) -> BusStats {
        let mut stats = BusStats::default();
        stats.published = self.published;
        stats.duplicates = self.duplicates;
        stats.retained = Some(self.log.len() as u64);
        stats.retained_bytes = Some(self.log.bytes() as u64);
        if let Some((oldest, newest)) = self.log.span() {
            // In this order, so that the older one is never the younger.
            stats.newest_retained = Some(since(newest));
            stats.oldest_retained = Some(since(oldest));
        }
        stats.dead_letters = Some(self.letters.len() as u64);
        stats.groups = self.groups.values().map(|consumer| self.group_stats(*consumer)).collect();
        stats
    }

    fn group_stats(&self, id: ConsumerId) -> GroupStats {
        let consumer = &self.consumers[id];
        let mut stats = GroupStats::default();
        stats.name = consumer.group.as_deref().unwrap_or_default().to_owned();
        stats.members = consumer.members.len() as u64;
        stats.lag = self.lag(id);
        stats.in_flight = consumer.members.iter().map(|member| self.members[*member].link.unsettled()).sum();
        stats.oldest_unacknowledged = self.oldest(consumer);
        stats
    }

    pub(crate) fn backlog(&self, member: MemberId) -> Backlog {
        let id = self.members[member].consumer;
        let consumer = &self.consumers[id];
        let mut backlog = Backlog::default();
        backlog.lag = Some(self.lag(id));
        backlog.oldest = self.oldest(consumer);
        if let Stream::Queue(queue) = &consumer.stream {
            backlog.dropped = queue.dropped;
            backlog.lost_to_retention = queue.lost_to_retention;
        }
        backlog
    }

    /// How long the oldest event waits that is with the broker. What engines hold and what readers of a chain have not fetched yet, they
    /// know themselves.
    fn oldest(&self, consumer: &Consumer) -> Option<Duration> {
        let first = |run: &Run<Token>| run.first().1.at;
        let queued = match &consumer.stream {
            Stream::Queue(queue) => queue.first().map(|token| token.at),
            Stream::Chain { .. } => None,
        };
        let delayed = consumer
            .members
            .iter()
            .flat_map(|member| &self.members[*member].delayed)
            .chain(&consumer.orphans)
            .map(|delayed| first(&delayed.run));
        let at = consumer
            .returned
            .front()
            .map(first)
            .into_iter()
            .chain(consumer.replay.front().map(first))
            .chain(queued)
            .chain(delayed)
            .min()?;
        Some(since(at))
    }
}

/// How long ago that was, in nanoseconds since the Unix epoch.
fn since(at: u64) -> Duration {
    Duration::from_nanos(nanos(SystemTime::now()).saturating_sub(at))
}
