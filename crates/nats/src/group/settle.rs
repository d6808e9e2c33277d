//! Telling the server what became of deliveries.

use super::{GroupSource, fetch::Reading};
use crate::{delivery::Token, pull::EXPIRES, reply};
use bytes::Bytes;
use eventbus_core::{DeadLetterPolicy, Error, ErrorKind, Result};
use eventbus_runtime::{Buried, Outcome, Run, Settled, Ticket};
use std::time::Duration;
use tokio::time::Instant;

pub(super) const ACK: &[u8] = b"+ACK";
pub(super) const PROGRESS: &[u8] = b"+WPI";
const TERM: &[u8] = b"+TERM";
const BACK: &[u8] = b"-NAK";

/// How many confirmations are waited for at once.
const AT_ONCE: usize = 1024;
/// How much at once of what was given back before is fetched to be given back again in order.
const SOME_BEFORE: usize = 64;
/// How long one confirmation may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl GroupSource {
    pub(super) async fn settle_all(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        self.grounds.api.link.check()?;
        // From the end, so that what is done can be taken off while the order stays.
        settled.reverse();
        let told = self.tell_all(settled).await;
        settled.reverse();
        told
    }

    async fn tell_all(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        if self.grounds.confirmed_acks {
            self.confirm_acks(settled).await?;
        }
        let mut released = Vec::new();
        while let Some(Settled { run, outcome }) = settled.last() {
            match outcome {
                Outcome::Ack => self.ack(run).await?,
                Outcome::Retry { after, ticket } => self.put_back(run, *after, *ticket).await?,
                _ => {
                    released.extend(settled.pop());
                    continue;
                }
            }
            settled.pop();
        }
        if released.is_empty() {
            return Ok(());
        }
        self.ledger().give_back_later(released.iter().flat_map(|settled| settled.run.iter()).map(|(_, token)| token));
        let outcome = self.stop_asking_and_release().await;
        if outcome.is_err() {
            settled.extend(released.into_iter().rev());
        }
        outcome
    }

    async fn ack(&self, run: &Run<Token>) -> Result<()> {
        for (_, token) in run.iter().filter(|(_, token)| self.is_current(token)) {
            self.tell(token, Bytes::from_static(ACK)).await?;
            self.ledger().settle(token);
        }
        Ok(())
    }

    /// Acknowledges all at once and waits for the server to confirm each.
    async fn confirm_acks(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        let is_ack = |settled: &Settled<Token>| settled.outcome == Outcome::Ack;
        let tokens: Vec<Token> = settled
            .iter()
            .rev()
            .filter(|settled| is_ack(settled))
            .flat_map(|settled| settled.run.iter())
            .map(|(_, token)| token.clone())
            .collect();
        for some in tokens.chunks(AT_ONCE) {
            let mut confirming = tokio::task::JoinSet::new();
            for reply in some.iter().filter(|token| self.is_current(token)).filter_map(|token| token.reply.clone()) {
                let link = self.grounds.api.link.clone();
                confirming.spawn(async move { link.request(reply.to_string(), Bytes::from_static(ACK), PATIENCE).await });
            }
            while let Some(confirmed) = confirming.join_next().await {
                let confirmed = confirmed.map_err(|fault| Error::new(ErrorKind::Unavailable, fault.to_string()))??;
                if confirmed.is_none() {
                    return Err(Error::new(ErrorKind::Unavailable, "nobody confirms acknowledgements; the consumer may be gone"));
                }
            }
            some.iter().filter(|token| self.is_current(token)).for_each(|token| self.ledger().settle(token));
        }
        settled.retain(|settled| !is_ack(settled));
        Ok(())
    }

    async fn put_back(&self, run: &Run<Token>, after: Duration, ticket: Option<Ticket>) -> Result<()> {
        for (_, token) in run.iter() {
            if !self.is_current(token) {
                self.ledger().gone.extend(ticket);
                continue;
            }
            // Noted first, since it may be back before this goes on.
            self.ledger().put_back(token, Instant::now() + after, ticket);
            self.tell_back(token, after).await?;
        }
        Ok(())
    }

    /// Gives back what was not started, together with what has arrived meanwhile, in the order of the stream. None of it counts as an attempt.
    /// Whether the server has heard of it.
    pub(super) async fn release(&self, reading: &mut Reading) -> Result<bool> {
        self.take_what_was_given_back_before(reading).await?;
        let tokens = self.returning().await?;
        let counts: Vec<(u64, u64)> = tokens.iter().map(|token| (token.sequence, token.uncounted + 1)).collect();
        let born = self.known().born;
        if let Err(error) = self.grounds.released.keep(&self.name, &born, &counts).await {
            if !self.grounds.api.link.is_up() {
                return Err(error);
            }
            // Better an attempt too many than an event that waits for its lease to end.
            tracing::warn!(target: "eventbus", group = self.group(), %error, "what is given back counts as an attempt");
        }
        for token in &tokens {
            self.ledger().give_back(token);
            self.tell_back(token, Duration::ZERO).await?;
        }
        // Requests for messages overtake outcomes at the server. Once the last outcome is answered, whoever asks gets these first.
        if let Some(reply) = tokens.last().and_then(|token| token.reply.as_ref())
            && self.grounds.api.link.request(reply.to_string(), Bytes::from_static(PROGRESS), PATIENCE).await?.is_none()
        {
            return Ok(false);
        }
        self.ledger().returning.clear();
        Ok(true)
    }

    /// All that goes back, in the order of the stream.
    async fn returning(&self) -> Result<Vec<Token>> {
        self.count_attempts().await?;
        let mut ledger = self.ledger();
        let arrived = ledger.take_arrived();
        ledger.returning.extend(arrived);
        let mut tokens = std::mem::take(&mut ledger.returning);
        drop(ledger);
        tokens.retain(|token| self.is_current(token));
        tokens.sort_by_key(|token| token.sequence);
        tokens.dedup_by_key(|token| token.sequence);
        self.ledger().returning.clone_from(&tokens);
        Ok(tokens)
    }

    /// The server queues what is given back behind what was given back before. Where something of that is still there, it is fetched, so that
    /// all goes back in order.
    async fn take_what_was_given_back_before(&self, reading: &mut Reading) -> Result<()> {
        let tokens = self.returning().await?;
        if !tokens.iter().any(|token| token.delivered > 1) {
            return Ok(());
        }
        let info = self.grounds.api.consumer(&self.grounds.stream, &self.name).await?;
        // The server does not count what waits to be redelivered, only what nobody has acknowledged.
        let mut more = usize::try_from(info.num_ack_pending).unwrap_or(usize::MAX).saturating_sub(tokens.len());
        while more > 0 {
            let (some, before) = (more.min(SOME_BEFORE), self.ledger().waiting());
            more -= some;
            reading.puller.ask_for_what_is_there(some).await?;
            self.until_over(reading).await;
            // It brings what was given back first. Once there is something new, there is no more of that.
            let ledger = self.ledger();
            if ledger.waiting() < before + some || ledger.each_arrived().any(|token| token.delivered == 1) {
                break;
            }
        }
        Ok(())
    }

    async fn tell(&self, token: &Token, outcome: Bytes) -> Result<()> {
        match &token.reply {
            Some(reply) => self.grounds.api.link.publish(reply.clone(), None, outcome).await,
            None => Ok(()),
        }
    }

    /// Asks for an event again after a while.
    pub(super) async fn tell_back(&self, token: &Token, after: Duration) -> Result<()> {
        let Some(reply) = &token.reply else { return Ok(()) };
        // The server passes over what it has delivered later than it remembers, and it may have been killed since.
        let reply = reply::renumbered(reply, self.ledger().delivery);
        let outcome = match after.as_nanos() {
            0 => Bytes::from_static(BACK),
            nanos => format!("-NAK {{\"delay\":{nanos}}}").into(),
        };
        self.grounds.api.link.publish(reply, None, outcome).await
    }

    /// Waits until no request is open any more, since what is given back must not come back here, and gives it back.
    async fn stop_asking_and_release(&self) -> Result<()> {
        let mut reading = self.reading.lock().await;
        self.until_over(&mut reading).await;
        self.release(&mut reading).await.map(drop)
    }

    /// Takes in what comes until no request is open.
    async fn until_over(&self, reading: &mut Reading) {
        let deadline = Instant::now() + EXPIRES * 2;
        while reading.puller.is_open() {
            let Ok(Ok(pulled)) = tokio::time::timeout_at(deadline, reading.puller.next()).await else { break };
            if self.take_in(reading, pulled).await.is_err() {
                break;
            }
        }
        while let Some(pulled) = reading.puller.at_once() {
            if self.take_in(reading, pulled).await.is_err() {
                break;
            }
        }
    }

    /// The member leaves: what has arrived and was not fetched goes back.
    pub(crate) async fn leave(&self) {
        if !self.grounds.api.link.is_up() {
            return;
        }
        if let Err(error) = self.stop_asking_and_release().await {
            tracing::warn!(target: "eventbus", group = self.group(), %error, "what had arrived could not be given back; it comes again when its lease is over");
        }
    }
}

/// Dead letters.
impl GroupSource {
    pub(super) async fn bury_one(&self, buried: &Buried<Token>) -> Result<()> {
        let token = buried.run.first().1;
        if !self.is_current(token) {
            return Ok(());
        }
        // The same for every attempt to bury it, so that a crash before the end leaves one letter.
        let id = format!("{}#{}#{}", self.name, self.known().born, token.sequence);
        match &buried.policy {
            DeadLetterPolicy::Discard => {}
            DeadLetterPolicy::Publish(target) => self.grounds.letters.publish(&buried.letter, target, &id).await?,
            _ => self.grounds.letters.store(&buried.letter, &id).await?,
        }
        self.tell(token, Bytes::from_static(TERM)).await?;
        self.ledger().settle(token);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NatsConfig, broker::NatsSource};
    use eventbus_core::{Event, Plan, Subscribe};
    use eventbus_runtime::{Fetched, Source as _, remote::Broker as _};
    use eventbus_testing::servers::NatsServer;
    use futures_core::Stream as _;
    use std::{future::poll_fn, pin::Pin};

    const EVENTS: u64 = 100;

    #[tokio::test]
    async fn what_was_not_started_and_what_was_not_fetched_goes_back_at_once_in_the_order_of_the_stream() {
        let server = NatsServer::start().await;
        let broker = crate::connect::connect(&NatsConfig::default().server(&server.url())).await.unwrap();
        let plan = Plan::new(Subscribe::to("a").group("g"), broker.capabilities(), "h").unwrap();
        let NatsSource::Group(source) = broker.subscribe(&plan).await.unwrap() else { panic!("it has a group") };
        for number in 0..EVENTS {
            broker.send(&Event::json("a", number).unwrap()).await.unwrap().await.unwrap();
        }
        // All are asked for, and few are taken.
        let mut reading = source.reading.lock().await;
        reading.puller.ask(EVENTS as usize, None).await.unwrap();
        source.until_over(&mut reading).await;
        drop(reading);
        let Fetched::Run(mut first) = source.fetch(20).await.unwrap() else { panic!("events were published") };
        let second = first.split_off(10).unwrap();
        assert_eq!(source.ledger().waiting(), EVENTS as usize - 20);

        let watcher = async_nats::connect(server.url()).await.unwrap();
        let mut told = watcher.subscribe("$JS.ACK.>").await.unwrap();
        watcher.flush().await.unwrap();
        let mut released: Vec<_> = [second, first].map(|run| Settled { run, outcome: Outcome::Release }).into();
        source.settle(&mut released).await.unwrap();
        assert!(released.is_empty());
        assert_eq!(source.ledger().waiting(), 0, "nothing is left for when the member leaves");
        let mut back = Vec::new();
        while back.len() < EVENTS as usize {
            let next = tokio::time::timeout(PATIENCE, poll_fn(|cx| Pin::new(&mut told).poll_next(cx))).await.unwrap().unwrap();
            if next.payload == BACK {
                back.push(reply::place(&next.subject).unwrap().sequence);
            }
        }
        assert_eq!(back, (1..=EVENTS).collect::<Vec<_>>());
        broker.close().await;
    }
}
