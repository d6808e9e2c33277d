//! What the server had sent when a connection broke, and what never arrived.
//!
//! The server takes it for delivered, and would bring it again when its lease is over, behind later events of its keys. A member that has the
//! group for itself can tell what it was: it gives it back unseen, so that it comes at once and first, and counts no attempt.

use super::{GroupSource, fetch::Reading, ledger::Back};
use crate::{
    api::{AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, Failure, found, reason},
    delivery::Token,
    pull::{Pulled, Puller},
    reply::{self, Place},
};
use eventbus_core::{Error, ErrorKind, Result};
use std::{ops::RangeInclusive, time::Duration};
use tokio::time::Instant;

/// For how long after a delivery to another member a gap is taken to be with it.
const SHARED: Duration = Duration::from_secs(60);
/// How many events are looked through at the most for what was lost and is older than what had arrived.
const OLDER: usize = 10_000;
/// For how long a server keeps a consumer that looks for what was sent, where nobody deletes it.
const INACTIVE: Duration = Duration::from_secs(5);

/// How far deliveries have arrived.
#[derive(Debug)]
pub(super) struct Trace {
    /// All that is new to the group up to this place of the stream is accounted for.
    arrived: u64,
    /// The last delivery that is accounted for, as the consumer counts them.
    delivery: u64,
    /// What has arrived since the connection was made anew, and on which one. Before it there may be others that have not.
    since: Vec<(Place, u64)>,
    /// When a delivery is known to have gone to another member.
    shared: Option<Instant>,
    /// The connection on which they arrive.
    connection: u64,
}

impl Trace {
    /// From where the group is.
    pub(super) fn from(consumer: &ConsumerInfo, connection: u64) -> Self {
        let (arrived, delivery) = (consumer.delivered.stream_seq, consumer.delivered.consumer_seq);
        Self { arrived, delivery, since: Vec::new(), shared: None, connection }
    }

    /// Whether something may have been sent that will not arrive.
    pub(super) fn is_broken(&self, connection: u64) -> bool {
        self.connection != connection
    }

    /// A delivery has arrived on a connection.
    pub(super) fn see(&mut self, place: &Place, connection: u64) {
        if self.is_broken(connection) {
            self.since.push((*place, connection));
        } else {
            self.account_for(place);
        }
    }

    fn account_for(&mut self, place: &Place) {
        if place.delivery > self.delivery + 1 {
            self.share();
        }
        self.delivery = place.delivery;
        if place.delivered == 1 {
            self.arrived = place.sequence;
        }
    }

    /// Whether another member has got deliveries of late.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some_and(|shared| shared.elapsed() < SHARED)
    }

    /// Whether all deliveries of the group have arrived here.
    pub(super) fn has_all(&self, consumer: &ConsumerInfo) -> bool {
        !self.is_shared() && consumer.delivered.consumer_seq <= self.delivery
    }

    /// How many have arrived since the connection was made anew.
    fn late(&self) -> usize {
        self.since.len()
    }

    /// More requests wait at the server than are ours.
    fn share(&mut self) {
        self.shared = Some(Instant::now());
    }

    /// How many deliveries are unaccounted for, and from which place of the stream on those are that were new. `None` where there are none, or
    /// more than this member had asked for, so that another one must have got some.
    fn gap(&self, consumer: &ConsumerInfo, owed: usize) -> Option<(u64, u64)> {
        let deliveries = consumer.delivered.consumer_seq.checked_sub(self.delivery)?;
        (deliveries > 0 && deliveries <= owed as u64).then_some((self.arrived + 1, deliveries))
    }

    /// All that the consumer had delivered when it was asked on `connection` is accounted for, or is given back and remembered. A server that
    /// was killed may have forgotten some, and sends them anew. Where that connection was lost meanwhile, so may be what was sent on it.
    fn resume(&mut self, consumer: &ConsumerInfo, connection: u64, is_lost: bool) {
        (self.arrived, self.delivery, self.connection) = (consumer.delivered.stream_seq, consumer.delivered.consumer_seq, connection);
        let mut since = std::mem::take(&mut self.since);
        since.retain(|(place, on)| place.delivery > self.delivery && *on >= connection);
        let mut since = since.into_iter().peekable();
        while let Some((place, _)) = since.next_if(|(place, _)| !is_lost || place.delivery == self.delivery + 1) {
            self.account_for(&place);
        }
        self.since = since.collect();
    }
}

impl GroupSource {
    /// Looks for what was sent and has not arrived, after a connection was lost and made again.
    pub(super) async fn close_the_gap(&self, reading: &mut Reading) -> Result<()> {
        let connection = self.grounds.api.link.connection();
        let Some(consumer) =
            found(self.grounds.api.consumer(&self.grounds.stream, &self.name).await, &[reason::NO_CONSUMER, reason::NO_STREAM])?
        else {
            return self.recover(reading).await;
        };
        // As it was when the server answered: a request that is over since then waited, too.
        let (owed, waiting) = (reading.puller.owed() + reading.trace.late(), reading.puller.waiting());
        // What was sent before that answer is here by now.
        self.take_in_all(reading).await?;
        if super::born(&consumer) != *self.known().born {
            return self.recover(reading).await;
        }
        self.ledger().resume(&consumer);
        if consumer.num_waiting > waiting {
            reading.trace.share();
        }
        if !reading.trace.is_shared() {
            self.give_back_again().await?;
            if let Some((first, deliveries)) = reading.trace.gap(&consumer, owed) {
                self.find_unseen(&consumer, first, deliveries).await?;
            }
            self.give_back_unseen(reading).await?;
        }
        let is_lost = self.grounds.api.link.connection() != connection;
        if !is_lost && !reading.puller.is_open() {
            reading.puller.owes_nothing();
        }
        reading.trace.resume(&consumer, connection, is_lost);
        Ok(())
    }

    /// That something was given back may have been lost as well, or the server may have forgotten it.
    async fn give_back_again(&self) -> Result<()> {
        let (unstarted, tried): (Vec<Back>, Vec<Back>) = self.ledger().each_back().cloned().partition(|back| back.unstarted);
        self.ledger().returning.extend(unstarted.into_iter().map(|back| back.token));
        for back in tried {
            self.tell_back(&back.token, back.due.saturating_duration_since(Instant::now())).await?;
        }
        Ok(())
    }

    /// Finds out what was sent and has not arrived, to be given back: of what was new, from the place `first` on, and of what others had before.
    async fn find_unseen(&self, consumer: &ConsumerInfo, first: u64, deliveries: u64) -> Result<()> {
        let most = usize::try_from(deliveries).unwrap_or(usize::MAX);
        let mut sent = self.sent(consumer, first..=consumer.delivered.stream_seq, most).await?;
        let left = most.saturating_sub(sent.len());
        sent.retain(|sequence| !self.ledger().knows(*sequence));
        if left > 0 {
            let mut older = self.sent(consumer, consumer.ack_floor.stream_seq + 1..=first - 1, OLDER).await?;
            let is_all = older.len() < OLDER;
            older.retain(|sequence| !self.ledger().knows(*sequence));
            // Where there are more, some of them are with a member that has died, or does not ask.
            if is_all && older.len() <= left {
                sent.extend(older);
            }
        }
        let known = self.known();
        let counts = self.grounds.released.get_all(&self.name, &known.born, &sent).await?;
        tracing::debug!(target: "eventbus", group = self.group(), events = counts.len(), "what was lost with the connection is asked for again");
        let unseen = counts.into_iter().map(|(sequence, uncounted)| Token {
            reply: Some(reply::unseen(&self.grounds.stream, &self.name, sequence, consumer.delivered.consumer_seq)),
            sequence,
            delivered: uncounted + 1,
            uncounted,
            stored_at: 0,
            arrived: Instant::now(),
            bytes: 0,
            epoch: known.epoch,
        });
        self.ledger().returning.extend(unseen);
        Ok(())
    }

    /// Gives back what has not arrived, and all that is newer.
    async fn give_back_unseen(&self, reading: &mut Reading) -> Result<()> {
        let mut is_first = true;
        // A request of before may still bring something newer, or what was on its way after all: it must not go before the rest.
        while !self.ledger().returning.is_empty() || !is_first && self.ledger().waiting() > 0 {
            is_first = false;
            if !self.release(reading).await? {
                return Err(Error::new(ErrorKind::Unavailable, "nobody hears what is given back; the consumer may be gone"));
            }
            self.take_in_all(reading).await?;
        }
        Ok(())
    }

    /// Which events the group was sent between two places: at most so many, found by a consumer that asks for the same.
    async fn sent(&self, consumer: &ConsumerInfo, places: RangeInclusive<u64>, most: usize) -> Result<Vec<u64>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let (api, stream) = (&self.grounds.api, &self.grounds.stream);
        let unique = api.link.client.new_inbox();
        let same = ConsumerConfig {
            name: format!("gap-{}", unique.rsplit('.').next().unwrap_or_default()),
            durable_name: None,
            description: String::new(),
            deliver: DeliverPolicy::ByStartSequence { opt_start_seq: *places.start() },
            ack_policy: AckPolicy::None,
            ack_wait: Duration::ZERO,
            max_ack_pending: 0,
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            mem_storage: true,
            headers_only: true,
            ..consumer.config.clone()
        };
        let name = match api.create_consumer(stream, &same).await {
            Ok(made) => made.name,
            Err(Failure::Refused(refusal)) => {
                tracing::warn!(target: "eventbus", group = self.group(), ?refusal, "what was lost with the connection comes when its lease is over");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure.into()),
        };
        let mut puller = Puller::new(&api.link, stream, &name).await?;
        puller.ask_for_what_is_there(most).await?;
        let (mut sent, connection) = (Vec::new(), api.link.connection());
        while puller.is_open() {
            match puller.next().await? {
                Pulled::Message(_, place) if places.contains(&place.sequence) => sent.push(place.sequence),
                Pulled::Silence => return Err(Error::new(ErrorKind::Unavailable, "nobody says what was sent")),
                _ => break,
            }
        }
        // A connection that broke again has taken the rest with it.
        if api.link.connection() != connection || !api.link.is_up() {
            return Err(Error::new(ErrorKind::Unavailable, "the connection was lost before it was known what was sent"));
        }
        // It ends of itself, too.
        let _ = api.delete_consumer(stream, &name).await;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer that has got this far in the stream, with so many deliveries.
    fn consumer(stream_seq: u64, consumer_seq: u64) -> ConsumerInfo {
        let info = serde_json::json!({
            "name": "g", "created": "2026-01-01T00:00:00Z", "config": { "deliver_policy": "all", "ack_policy": "explicit" },
            "delivered": { "stream_seq": stream_seq, "consumer_seq": consumer_seq }, "ack_floor": { "stream_seq": 0, "consumer_seq": 0 },
            "num_ack_pending": 0, "num_waiting": 0, "num_pending": 0
        });
        serde_json::from_value(info).unwrap()
    }

    fn place(sequence: u64, delivery: u64, delivered: u64) -> Place {
        Place { sequence, delivery, delivered, pending: 0, stored_at: 0 }
    }

    #[test]
    fn what_was_sent_behind_the_last_arrival_is_missing() {
        let mut trace = Trace::from(&consumer(10, 10), 1);
        trace.see(&place(12, 11, 1), 1);
        trace.see(&place(9, 12, 2), 1);
        assert!(!trace.is_broken(1) && trace.is_broken(2));
        assert!(trace.has_all(&consumer(12, 12)) && !trace.has_all(&consumer(12, 13)));
        assert_eq!(trace.gap(&consumer(12, 12), 9), None);
        assert_eq!(trace.gap(&consumer(20, 15), 9), Some((13, 3)));
        assert_eq!(trace.gap(&consumer(20, 15), 2), None, "only two were asked for");
        // What arrives before the gap is closed hides nothing of it.
        trace.see(&place(21, 16, 1), 2);
        assert_eq!(trace.gap(&consumer(21, 16), 9), Some((13, 4)));
        trace.resume(&consumer(21, 16), 2, false);
        assert_eq!(trace.gap(&consumer(21, 16), 9), None);
        // Some of it was given back, and what is lost now is behind it.
        trace.see(&place(13, 17, 2), 2);
        trace.see(&place(22, 18, 1), 2);
        assert!(!trace.is_shared());
        assert_eq!(trace.gap(&consumer(24, 20), 9), Some((23, 2)));
    }

    #[test]
    fn a_connection_that_breaks_while_a_gap_is_closed_leaves_another_one() {
        let mut trace = Trace::from(&consumer(10, 10), 1);
        // The first comes on the connection on which the consumer is asked, two are lost with it, and the next comes on the one after.
        trace.see(&place(11, 11, 1), 2);
        trace.see(&place(12, 12, 1), 2);
        trace.see(&place(15, 15, 1), 3);
        trace.resume(&consumer(11, 11), 2, true);
        assert!(trace.is_broken(3) && !trace.is_shared());
        assert_eq!(trace.gap(&consumer(15, 15), 9), Some((13, 3)));
        trace.resume(&consumer(15, 15), 3, false);
        assert_eq!(trace.gap(&consumer(15, 15), 9), None);
        // Where it did not break, another member has what is missing.
        trace.see(&place(17, 17, 1), 4);
        trace.resume(&consumer(15, 15), 4, false);
        assert!(trace.is_shared());
    }

    #[test]
    fn a_delivery_to_another_member_says_that_there_is_one() {
        let mut trace = Trace::from(&consumer(0, 0), 1);
        trace.see(&place(1, 1, 1), 1);
        assert!(!trace.is_shared());
        trace.see(&place(3, 3, 1), 1);
        assert!(trace.is_shared());
    }

    #[test]
    fn a_server_that_forgot_deliveries_makes_them_again() {
        let mut trace = Trace::from(&consumer(10, 10), 1);
        assert_eq!(trace.gap(&consumer(5, 5), 9), None);
        trace.see(&place(12, 12, 1), 2);
        trace.resume(&consumer(5, 5), 3, false);
        trace.see(&place(6, 6, 1), 3);
        assert!(!trace.is_shared());
        assert_eq!(trace.gap(&consumer(8, 8), 9), Some((7, 2)));
    }
}
