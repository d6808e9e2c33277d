//! Fetching for a member of a group.

use super::{GroupSource, gap::Trace};
use crate::{
    delivery::{self, Token, unreadable},
    filter::Filter,
    pull::{Place, Pulled, Puller},
};
use async_nats::Message;
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use eventbus_runtime::Fetched;
use std::time::Duration;
use tokio::time::Instant;

/// When a delivery that others wait for is taken to be with another member.
struct Doubt {
    /// How long after it was due the server is asked about it.
    after: Duration,
    /// How often the server is asked.
    again: Duration,
    /// How often it has to answer without bringing it.
    shows: u32,
}

/// Where there seems to be no other member, and order is promised.
const ALONE: Doubt = Doubt { after: Duration::from_secs(1), again: Duration::from_millis(500), shows: 3 };
/// Where there are others, who may each wait for what another one got.
const AMONG_OTHERS: Doubt = Doubt { after: Duration::from_millis(100), again: Duration::from_millis(50), shows: 1 };
/// How much may arrive that was not asked for, while only what others wait for is wanted.
const BESIDES: usize = 64;
/// How often such a request is repeated.
const BESIDES_AGAIN: Duration = Duration::from_millis(20);
/// How often the place of the group is noted, for the case that somebody deletes its consumer.
const NOTE: Duration = Duration::from_secs(5);
/// How long room is waited for before it is looked at again.
const ROOM: Duration = Duration::from_millis(5);

/// The reading side.
pub(super) struct Reading {
    pub(super) puller: Puller,
    pub(super) filter: Filter,
    /// Whether the consumer has to be looked for before it is asked for more.
    pub(super) is_doubtful: bool,
    /// How far deliveries have arrived.
    pub(super) trace: Trace,
    /// Since when there is no stream.
    pub(super) missing_since: Option<Instant>,
    /// The next message is larger than the room that is left.
    is_too_large: bool,
    last_asked: Instant,
    last_shown: Instant,
    last_noted: Instant,
    losses: u64,
}

impl Reading {
    pub(super) fn new(puller: Puller, filter: Filter, trace: Trace) -> Self {
        let now = Instant::now();
        Self {
            puller,
            filter,
            is_doubtful: false,
            trace,
            missing_since: None,
            is_too_large: false,
            last_asked: now,
            last_shown: now,
            last_noted: now,
            losses: 0,
        }
    }

    fn doubt(&self) -> Doubt {
        if self.trace.is_shared() { AMONG_OTHERS } else { ALONE }
    }
}

impl GroupSource {
    pub(super) async fn fetch_some(&self, max: usize) -> Result<Fetched<Token>> {
        let mut reading = self.reading.lock().await;
        loop {
            self.take_in_all(&mut reading).await?;
            let link = &self.grounds.api.link;
            if reading.trace.is_broken(link.connection()) && link.is_up() {
                self.close_the_gap(&mut reading).await?;
            }
            self.count_attempts().await?;
            if let Some(fetched) = self.ledger().take(max) {
                return Ok(fetched);
            }
            self.mind_the_connection(&mut reading).await?;
            if reading.is_doubtful {
                self.recover(&mut reading).await?;
            }
            self.note_now_and_then(&mut reading).await;
            self.look_for_the_overdue(&mut reading).await?;
            self.ask(&mut reading, max).await?;
            self.wait(&mut reading, max).await?;
        }
    }

    /// Takes in what has arrived.
    pub(super) async fn take_in_all(&self, reading: &mut Reading) -> Result<()> {
        while let Some(pulled) = reading.puller.at_once() {
            self.take_in(reading, pulled).await?;
        }
        Ok(())
    }

    pub(super) async fn take_in(&self, reading: &mut Reading, pulled: Pulled) -> Result<()> {
        match pulled {
            Pulled::Message(message, place) => {
                reading.trace.see(&place, self.grounds.api.link.connection());
                self.arrive(&reading.filter, message, place).await?;
            }
            Pulled::Over => {}
            Pulled::TooLarge => reading.is_too_large = true,
            Pulled::Silence => reading.is_doubtful = true,
        }
        Ok(())
    }

    async fn arrive(&self, filter: &Filter, message: Message, place: Place) -> Result<()> {
        let link = &self.grounds.api.link;
        if !filter.wants(&message.subject) {
            if let Some(reply) = message.reply {
                link.publish(reply, None, Bytes::from_static(super::settle::ACK)).await?;
            }
            return Ok(());
        }
        let token = Token {
            reply: message.reply.clone(),
            sequence: place.sequence,
            delivered: place.delivered,
            uncounted: 0,
            stored_at: place.stored_at,
            arrived: Instant::now(),
            bytes: message.length,
            epoch: self.known().epoch,
        };
        let (event, read) = delivery::read(&message, filter, || format!("{}-{}", self.grounds.stream, place.sequence));
        let fault = read.err().map(|error| unreadable(error, &message.subject, place.sequence));
        let is_new = self.ledger().arrive(event, token, fault);
        if let (false, Some(reply)) = (is_new, message.reply) {
            // The engine still has it: that it takes so long is a sign of life.
            link.publish(reply, None, Bytes::from_static(super::settle::PROGRESS)).await?;
        }
        Ok(())
    }

    /// Finds out which deliveries count as attempts, where the server has delivered something before.
    pub(super) async fn count_attempts(&self) -> Result<()> {
        let unknown = self.ledger().uncounted();
        if unknown.is_empty() {
            return Ok(());
        }
        let born = self.known().born;
        for (sequence, uncounted) in self.grounds.released.get_all(&self.name, &born, &unknown).await? {
            self.ledger().count(sequence, uncounted);
        }
        Ok(())
    }

    /// Says once that the connection is lost, and then waits for it.
    async fn mind_the_connection(&self, reading: &mut Reading) -> Result<()> {
        let link = &self.grounds.api.link;
        if link.is_up() {
            return Ok(());
        }
        self.ledger().wait_on();
        let losses = link.losses();
        if std::mem::replace(&mut reading.losses, losses) != losses {
            return Err(link.check().err().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the connection was lost")));
        }
        link.until_up().await
    }

    /// Notes how far the group has got.
    async fn note_now_and_then(&self, reading: &mut Reading) {
        if reading.last_noted.elapsed() > NOTE {
            reading.last_noted = Instant::now();
            // Where it cannot be told, the last time counts.
            let _ = self.measure().await;
        }
    }

    /// Asks the server about what others wait for and what should have come back. It may be with another member.
    async fn look_for_the_overdue(&self, reading: &mut Reading) -> Result<()> {
        let doubt = reading.doubt();
        if !self.ledger().is_overdue(doubt.after) || reading.last_shown.elapsed() < doubt.again || !reading.puller.is_open() {
            return Ok(());
        }
        reading.last_shown = Instant::now();
        match self.grounds.api.consumer(&self.grounds.stream, &self.name).await {
            Ok(info) => {
                self.note(reading.last_shown, &info);
                self.ledger().give_up_waiting(info.ack_floor.stream_seq, doubt.after, doubt.shows);
            }
            Err(failure) => {
                tracing::debug!(target: "eventbus", ?failure, "the consumer could not be asked");
                self.ledger().wait_on();
            }
        }
        Ok(())
    }

    /// Asks for more, as far as there is room.
    async fn ask(&self, reading: &mut Reading, max: usize) -> Result<()> {
        if reading.puller.is_open() {
            return Ok(());
        }
        if max == 0 {
            let is_due = self.ledger().next_due().is_some_and(|due| due <= Instant::now());
            if !is_due || self.ledger().waiting() >= BESIDES || reading.last_asked.elapsed() < BESIDES_AGAIN {
                return Ok(());
            }
            reading.last_asked = Instant::now();
            return reading.puller.ask(1, None).await;
        }
        let unstarted = self.ledger().unstarted.bytes(self.progress.started());
        if unstarted == 0 && reading.is_too_large {
            // One is let in, however large.
            reading.is_too_large = false;
            return reading.puller.ask(1, None).await;
        }
        match self.plan.buffer_bytes.saturating_sub(unstarted) {
            0 => Ok(()),
            _ if reading.is_too_large => Ok(()),
            room => reading.puller.ask(max, Some(room)).await,
        }
    }

    /// Waits for whatever comes next.
    async fn wait(&self, reading: &mut Reading, max: usize) -> Result<()> {
        if !reading.puller.is_open() && max > 0 {
            // There is no room.
            let _ = tokio::time::timeout(ROOM, self.progressed.notified()).await;
            return Ok(());
        }
        let until = self.next_look(max, &reading.doubt());
        let pulled = tokio::select! {
            biased;
            pulled = reading.puller.next() => pulled?,
            () = sleep_until(until) => return Ok(()),
        };
        self.take_in(reading, pulled).await
    }

    /// When to look again, though nothing has come.
    fn next_look(&self, max: usize, doubt: &Doubt) -> Option<Instant> {
        let now = Instant::now();
        let due = self.ledger().next_due()?;
        if due + doubt.after <= now {
            return Some(now + doubt.again);
        }
        if max > 0 {
            return Some(due + doubt.after);
        }
        Some(if due <= now { now + BESIDES_AGAIN } else { due })
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
