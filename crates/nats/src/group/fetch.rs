//! Fetching for a member of a group.

use super::{
    GroupSource,
    gap::Trace,
    ledger::Arrival,
    settle::{ACK, PROGRESS},
};
use crate::{
    delivery::{self, Token, unreadable},
    filter::Filter,
    pull::{Pulled, Puller},
    reply::Place,
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
const ALONE: Doubt = Doubt { after: Duration::from_secs(1), again: Duration::from_millis(500), shows: 5 };
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
    /// How many are asked for at once to get at what others wait for.
    besides: usize,
    last_shown: Instant,
    /// Whether anything was asked for since.
    was_asked: bool,
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
            besides: 1,
            last_shown: now,
            was_asked: false,
            last_noted: now,
            losses: 0,
        }
    }

    /// Something has arrived; it may be what nobody here needs. A server that was killed may bring much of that first.
    fn passes_over(&mut self, it: bool) {
        self.besides = if it { BESIDES.min(self.besides * 2) } else { 1 };
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
            // What has arrived on a connection that was lost again may be behind what has not.
            if !reading.trace.is_broken(link.connection())
                && let Some(fetched) = self.ledger().take(max)
            {
                return Ok(fetched);
            }
            if self.mind_the_connection(&mut reading).await? {
                continue;
            }
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
                self.ledger().is_shared = reading.trace.is_shared();
                let arrival = self.arrive(&reading.filter, message, place).await?;
                reading.passes_over(arrival != Arrival::Waiting);
            }
            Pulled::Over => {}
            Pulled::TooLarge => reading.is_too_large = true,
            Pulled::Silence => reading.is_doubtful = true,
        }
        Ok(())
    }

    async fn arrive(&self, filter: &Filter, message: Message, place: Place) -> Result<Arrival> {
        let link = &self.grounds.api.link;
        if !filter.wants(&message.subject) {
            if let Some(reply) = message.reply {
                link.publish(reply, None, Bytes::from_static(ACK)).await?;
            }
            return Ok(Arrival::Settled);
        }
        let mut token = Token {
            reply: message.reply.clone(),
            sequence: place.sequence,
            delivered: place.delivered,
            uncounted: 0,
            stored_at: place.stored_at,
            arrived: Instant::now(),
            bytes: message.length,
            epoch: self.epoch(),
        };
        if self.ledger().is_overwritten_by(&token) {
            token.epoch = self.begin_another_epoch();
        }
        let (event, read) = delivery::read(&message, filter, || format!("{}-{}", self.grounds.stream, place.sequence));
        let fault = read.err().map(|error| unreadable(error, &message.subject, place.sequence));
        let arrival = {
            let mut ledger = self.ledger();
            ledger.delivery = place.delivery;
            ledger.arrive(event, token, fault)
        };
        let answer = match arrival {
            Arrival::Waiting => return Ok(arrival),
            // That it takes so long is a sign of life.
            Arrival::Held => PROGRESS,
            Arrival::Settled => ACK,
        };
        if let Some(reply) = message.reply {
            link.publish(reply, None, Bytes::from_static(answer)).await?;
        }
        Ok(arrival)
    }

    /// What is known of places in the stream means nothing any more, nor do outcomes of what was delivered from there.
    fn begin_another_epoch(&self) -> u64 {
        tracing::warn!(target: "eventbus", stream = self.grounds.stream, group = self.group(), "the stream has lost its newest events; some may come twice");
        self.ledger().forget();
        self.learn(|known| known.epoch += 1);
        self.epoch()
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

    /// Says once that the connection is lost, and then waits for it. Whether it was lost.
    async fn mind_the_connection(&self, reading: &mut Reading) -> Result<bool> {
        let link = &self.grounds.api.link;
        if link.is_up() {
            return Ok(false);
        }
        self.ledger().wait_on();
        let losses = link.losses();
        if std::mem::replace(&mut reading.losses, losses) != losses {
            return Err(link.check().err().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the connection was lost")));
        }
        link.until_up().await.map(|()| true)
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
        let is_overdue = self.ledger().overdue(doubt.after).next().is_some();
        // Where there is no room for what else would come first, it cannot come.
        let has_room = self.ledger().waiting() < BESIDES;
        if !is_overdue || has_room && !reading.was_asked || reading.last_shown.elapsed() < doubt.again {
            return Ok(());
        }
        reading.last_shown = Instant::now();
        reading.was_asked = reading.puller.is_open();
        match self.grounds.api.consumer(&self.grounds.stream, &self.name).await {
            Ok(info) => {
                self.note(reading.last_shown, &info);
                // What was delivered before that answer is here by now.
                self.take_in_all(reading).await?;
                // A server that was killed may have forgotten that it has delivered it, and will do so when it gets there.
                let reached = if has_room { info.delivered.stream_seq } else { u64::MAX };
                self.ledger().give_up_waiting(info.ack_floor.stream_seq, reached, doubt.after, doubt.shows);
                if reading.trace.has_all(&info) {
                    self.ask_for_the_overdue(&doubt).await?;
                }
            }
            Err(failure) => {
                tracing::debug!(target: "eventbus", ?failure, "the consumer could not be asked");
                self.ledger().wait_on();
            }
        }
        Ok(())
    }

    /// Gives back once more what should have come back: the server may have lost it. One before 2.10 does, until its lease is over, where
    /// the request that it was for ends at that moment.
    async fn ask_for_the_overdue(&self, doubt: &Doubt) -> Result<()> {
        let overdue: Vec<Token> = self.ledger().overdue(doubt.after).map(|back| back.token.clone()).collect();
        for token in overdue {
            self.tell_back(&token, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Asks for more, as far as there is room.
    async fn ask(&self, reading: &mut Reading, max: usize) -> Result<()> {
        if !reading.puller.may_ask() {
            return Ok(());
        }
        let (unstarted, largest) = {
            let mut ledger = self.ledger();
            (ledger.unstarted.bytes(self.progress.started()), ledger.largest.max(1))
        };
        let room = self.plan.buffer_bytes.saturating_sub(unstarted).min(reading.puller.most_bytes());
        if max > 0 && unstarted == 0 && (reading.is_too_large || room < largest) {
            // One is let in, however large.
            reading.is_too_large = false;
            reading.was_asked = true;
            return reading.puller.ask(1, None).await;
        }
        if max == 0 || reading.is_too_large || room < largest {
            return self.ask_for_the_due(reading).await;
        }
        // No more than there is surely room for: a message that finds none loses its place among those that come again.
        reading.was_asked = true;
        reading.puller.ask(max.min(room / largest), Some(room)).await
    }

    /// Asks for what others wait for, for which there is always room.
    async fn ask_for_the_due(&self, reading: &mut Reading) -> Result<()> {
        let (is_due, waiting) = {
            let ledger = self.ledger();
            (ledger.next_due().is_some_and(|due| due <= Instant::now()), ledger.waiting())
        };
        let is_early = reading.besides == 1 && reading.last_asked.elapsed() < BESIDES_AGAIN;
        if !is_due || waiting >= BESIDES || is_early {
            return Ok(());
        }
        reading.last_asked = Instant::now();
        reading.was_asked = true;
        reading.puller.ask(reading.besides.min(BESIDES - waiting), None).await
    }

    /// Waits for whatever comes next.
    async fn wait(&self, reading: &mut Reading, max: usize) -> Result<()> {
        if reading.puller.may_ask() && max > 0 {
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
        let (now, ledger) = (Instant::now(), self.ledger());
        let awaited = ledger.next_due().map(|due| match due {
            _ if max == 0 => due.max(now + BESIDES_AGAIN),
            _ if due + doubt.after <= now => now + doubt.again,
            _ => due + doubt.after,
        });
        awaited.into_iter().chain(ledger.next_early()).min()
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
