//! Fetching for a reader.

use super::{Consumer, From, ReaderSource};
use crate::{
    api::{found, reason},
    delivery::{self, Token, unreadable},
    filter::{self, Filter},
    group::Grounds,
    pull::{Pulled, Puller},
    reply::Place,
};
use async_nats::Message;
use eventbus_core::{Error, ErrorKind, Plan, Result};
use eventbus_runtime::{Batch, Fetched, Run};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a stream may be gone before the subscription ends. Whoever deletes one may make it again.
const MISSING: Duration = Duration::from_secs(3);
/// How long room is waited for before it is looked at again.
const ROOM: Duration = Duration::from_millis(5);

/// The reading side.
pub(super) struct Reading {
    pub(super) puller: Puller,
    filter: Filter,
    /// Whether another consumer is needed before there can be more.
    is_doubtful: bool,
    missing_since: Option<Instant>,
    is_too_large: bool,
    losses: u64,
    reported: u64,
}

/// Makes a consumer that begins at a place.
pub(super) async fn begin(grounds: &Grounds, plan: &Plan, place: &From) -> Result<(Consumer, Reading)> {
    let link = &grounds.api.link;
    let losses = link.losses();
    let unique = link.client.new_inbox();
    let name = format!("reader-{}", unique.rsplit('.').next().unwrap_or_default());
    let wanted = super::consumer(grounds, plan, place, name);
    let info = grounds.api.create_consumer(&grounds.stream, &wanted).await?;
    let mut subjects = filter::subjects(&grounds.prefix, &plan.patterns, true);
    subjects.sort();
    let exact = info.config.filters() == subjects && filter::is_narrow(&plan.patterns);
    let puller = Puller::new(link, &grounds.stream, &info.name).await?.patient();
    let consumer = Consumer { name: info.name, arrived: 0, known: info.num_pending };
    let filter = Filter::new(&grounds.prefix, &plan.patterns, exact);
    Ok((consumer, Reading { puller, filter, is_doubtful: false, missing_since: None, is_too_large: false, losses, reported: losses }))
}

impl ReaderSource {
    pub(super) async fn fetch_some(&self, max: usize) -> Result<Fetched<Token>> {
        if max == 0 {
            return Ok(Fetched::Run(self.back.due(true).await));
        }
        let mut reading = self.reading.lock().await;
        let mut due = std::pin::pin!(self.back.due(false));
        loop {
            // What failed waits here and not at the server, so it takes room as anything else.
            let has_room = !self.back.is_full();
            tokio::select! {
                biased;
                run = &mut due => return Ok(Fetched::Run(run)),
                fetched = self.step(&mut reading, max), if has_room => {
                    if let Some(fetched) = fetched? {
                        return Ok(fetched);
                    }
                }
            }
        }
    }

    /// Does one thing towards having something.
    async fn step(&self, reading: &mut Reading, max: usize) -> Result<Option<Fetched<Token>>> {
        while !reading.is_doubtful
            && let Some(pulled) = reading.puller.at_once()
        {
            self.take_in(reading, pulled);
        }
        if let Some(fetched) = self.take(max) {
            return Ok(Some(fetched));
        }
        self.mind_the_connection(reading).await?;
        if reading.is_doubtful {
            self.go_on(reading).await?;
        }
        if !self.ask(reading, max).await? {
            let _ = tokio::time::timeout(ROOM, self.progressed.notified()).await;
            return Ok(None);
        }
        let pulled = reading.puller.next().await?;
        self.take_in(reading, pulled);
        Ok(None)
    }

    fn take_in(&self, reading: &mut Reading, pulled: Pulled) {
        match pulled {
            Pulled::Message(message, place) => reading.is_doubtful |= !self.arrive(&reading.filter, &message, place),
            Pulled::Over => {}
            Pulled::TooLarge => reading.is_too_large = true,
            Pulled::Silence => reading.is_doubtful = true,
        }
    }

    /// Takes in a message. False where others have been lost before it: it will come again after them.
    fn arrive(&self, filter: &Filter, message: &Message, place: Place) -> bool {
        let mut state = self.state();
        if place.delivery != state.consumer.arrived + 1 {
            return false;
        }
        state.consumer.arrived = place.delivery;
        state.consumer.known = place.delivery + place.pending;
        // A server that was cut off from its disk may have lost the end of the stream, and give the places of what it lost to what it stores next.
        let is_overwritten = state.newest > 0 && place.stored_at > state.newest;
        let is_old = matches!(state.place, From::Sequence(next) if place.sequence < next) && !is_overwritten;
        if is_old {
            return true;
        }
        state.place = From::Sequence(place.sequence + 1);
        state.newest = state.newest.max(place.stored_at);
        if !filter.wants(&message.subject) {
            return true;
        }
        let token = Token {
            reply: None,
            sequence: place.sequence,
            delivered: 1,
            uncounted: 0,
            stored_at: place.stored_at,
            arrived: Instant::now(),
            bytes: message.length,
            epoch: 0,
        };
        let (event, read) = delivery::read(message, filter, || format!("{}-{}", self.grounds.stream, place.sequence));
        let fault = read.err().map(|error| unreadable(error, &message.subject, place.sequence));
        state.arrived.push_back((event, token, fault));
        true
    }

    /// Hands at most `max` deliveries to the engine.
    fn take(&self, max: usize) -> Option<Fetched<Token>> {
        let mut state = self.state();
        let (event, token, fault) = state.arrived.pop_front()?;
        state.unsettled += 1;
        state.unstarted.add(token.bytes);
        if let Some(fault) = fault {
            return Some(Fetched::Undecodable(Run::one(event, token, 1), fault));
        }
        let mut deliveries = vec![(event, token)];
        while deliveries.len() < max
            && let Some((event, token, _)) = state.arrived.pop_front_if(|(_, _, fault)| fault.is_none())
        {
            state.unsettled += 1;
            state.unstarted.add(token.bytes);
            deliveries.push((event, token));
        }
        let batch: Batch<Token> = deliveries.into_iter().collect();
        let places = batch.places();
        Some(Fetched::Run(Run::new(Arc::new(batch), 0..places, 1)))
    }

    /// Says once that the connection is lost, and then waits for it. What was on its way is lost with it.
    async fn mind_the_connection(&self, reading: &mut Reading) -> Result<()> {
        let link = &self.grounds.api.link;
        let losses = link.losses();
        if std::mem::replace(&mut reading.losses, losses) != losses {
            reading.is_doubtful = true;
        }
        if link.is_up() {
            return Ok(());
        }
        if std::mem::replace(&mut reading.reported, losses) != losses {
            return Err(link.check().err().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the connection was lost")));
        }
        link.until_up().await
    }

    /// Goes on with another consumer, behind what has arrived; or from the beginning, where the stream is another one, since all of that is new.
    async fn go_on(&self, reading: &mut Reading) -> Result<()> {
        let Some(stream) = found(self.grounds.api.stream(&self.grounds.stream).await, &[reason::NO_STREAM])? else {
            let since = *reading.missing_since.get_or_insert_with(Instant::now);
            let error = Error::new(ErrorKind::Unavailable, "the stream is gone").retryable(since.elapsed() < MISSING);
            return Err(error.with("stream", &self.grounds.stream));
        };
        let (place, old) = {
            let mut state = self.state();
            if state.stream_born != stream.created {
                tracing::warn!(target: "eventbus", stream = self.grounds.stream, subscription = self.plan.name, "the stream was made again; it is read from its beginning");
                state.stream_born.clone_from(&stream.created);
                state.place = From::Sequence(1);
                state.arrived.clear();
            }
            if let From::Sequence(next) = state.place
                && stream.state.first_seq > next
            {
                // All of it, or what the patterns want of it: the server does not say.
                let lost = stream.state.first_seq - next;
                if self.plan.patterns.iter().any(eventbus_core::Pattern::is_everything) {
                    state.lost_to_retention += lost;
                }
                state.place = From::Sequence(stream.state.first_seq);
            }
            let place = match state.place {
                From::Sequence(next) if next > stream.state.last_seq + 1 => {
                    tracing::warn!(target: "eventbus", stream = self.grounds.stream, subscription = self.plan.name, "the stream has lost its newest events; it is read from its end");
                    From::Sequence(stream.state.last_seq + 1)
                }
                _ => state.place.clone(),
            };
            (place, state.consumer.name.clone())
        };
        let (consumer, fresh) = begin(&self.grounds, &self.plan, &place).await?;
        self.state().consumer = consumer;
        let reported = reading.reported;
        *reading = Reading { reported, ..fresh };
        // It may be there still, though nothing came of it. Its server may be gone, so nobody waits for the answer.
        let grounds = self.grounds.clone();
        tokio::spawn(async move { grounds.api.delete_consumer(&grounds.stream, &old).await.map(drop) });
        Ok(())
    }

    /// Asks for more. False where there is no room.
    async fn ask(&self, reading: &mut Reading, max: usize) -> Result<bool> {
        if !reading.puller.may_ask() {
            return Ok(true);
        }
        let unstarted = self.state().unstarted.bytes(self.progress.started());
        if unstarted == 0 && std::mem::take(&mut reading.is_too_large) {
            // One is let in, however large.
            return reading.puller.ask(1, None).await.map(|()| true);
        }
        let room = self.plan.buffer_bytes.saturating_sub(unstarted);
        if room == 0 || reading.is_too_large {
            return Ok(false);
        }
        reading.puller.ask(max, Some(room.min(reading.puller.most_bytes()))).await.map(|()| true)
    }
}
