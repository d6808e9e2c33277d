//! Keeping what a member has: signs of life for it, and what was lost for want of them.

use super::{
    GroupSource,
    settle::{PATIENCE, PROGRESS},
};
use crate::delivery::Token;
use async_nats::Subject;
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use eventbus_runtime::Run;
use tokio::time::Instant;

impl GroupSource {
    pub(super) async fn extend_all(&self, held: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        // What came while nobody fetches is ours, too. Whoever fetches takes it in.
        if let Ok(mut reading) = self.reading.try_lock() {
            let _ = self.take_in_all(&mut reading).await;
        }
        let begun = Instant::now();
        let told = self.tell_progress(held).await;
        if told.is_ok() {
            self.ledger().extended = Some(begun);
        }
        let lost = self.lost(held);
        if lost.is_empty() { told.map(|()| lost) } else { Ok(lost) }
    }

    async fn tell_progress(&self, held: &[Run<Token>]) -> Result<()> {
        let replies = self.replies(held);
        // What is settled or put back meanwhile must hear no more of it: it waits for as long as it was told, and no longer.
        let is_here = |(sequence, _): &&(u64, Subject)| self.ledger().has(*sequence);
        let Some(last) = replies.iter().rposition(|reply| is_here(&reply)) else { return Ok(()) };
        self.grounds.api.link.check()?;
        for (_, reply) in replies[..last].iter().filter(is_here) {
            self.grounds.api.link.publish(reply.clone(), None, Bytes::from_static(PROGRESS)).await?;
        }
        // The last that is still here is answered, which says that the server has heard them all. Where none is, there is nothing to be heard.
        let Some((_, reply)) = replies[..=last].iter().rfind(is_here) else { return Ok(()) };
        let within = PATIENCE.min(self.lease / 3);
        if self.grounds.api.link.request(reply.to_string(), Bytes::from_static(PROGRESS), within).await?.is_none() {
            return Err(Error::new(ErrorKind::Unavailable, "nobody hears of leases; the consumer may be gone"));
        }
        Ok(())
    }

    /// Where signs of life go, each with its place in the stream.
    fn replies(&self, held: &[Run<Token>]) -> Vec<(u64, Subject)> {
        let of = |token: &Token| Some((token.sequence, token.reply.clone()?));
        let mut replies: Vec<(u64, Subject)> = self.ledger().each_arrived().filter_map(of).collect();
        for run in held {
            replies.extend(run.iter().filter(|(_, token)| self.is_current(token)).filter_map(|(_, token)| of(token)));
        }
        replies
    }

    /// Splits off what the server may have given to another member.
    fn lost(&self, held: &[Run<Token>]) -> Vec<Run<Token>> {
        let extended = self.ledger().extended;
        let is_lost = |token: &Token| {
            let since = extended.map_or(token.arrived, |extended| extended.max(token.arrived));
            !self.is_current(token) || since.elapsed() >= self.lease
        };
        let mut lost = Vec::new();
        for run in held {
            let mut rest = Some(run.clone());
            while let Some(mut one) = rest {
                rest = one.split_off(1);
                if is_lost(one.first().1) {
                    lost.push(one);
                }
            }
        }
        lost.iter().for_each(|run| self.ledger().let_go(run.first().1));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NatsConfig,
        broker::{NatsBroker, NatsSource},
    };
    use eventbus_core::{Event, Plan, Subscribe};
    use eventbus_runtime::{Fetched, Outcome, Settled, Source as _, remote::Broker as _};
    use eventbus_testing::servers::NatsServer;
    use std::time::Duration;

    async fn publish(broker: &NatsBroker, events: u64) {
        for number in 0..events {
            broker.send(&Event::json("a", number).unwrap()).await.unwrap().await.unwrap();
        }
    }

    /// Fetches so many events, each a run of its own.
    async fn fetch(source: &GroupSource, events: usize) -> Vec<Run<Token>> {
        let mut held = Vec::new();
        while held.len() < events {
            let Fetched::Run(run) = source.fetch(events).await.unwrap() else { panic!("events were published") };
            let mut rest = Some(run);
            while let Some(mut one) = rest {
                rest = one.split_off(1);
                held.push(one);
            }
        }
        held
    }

    #[tokio::test]
    async fn signs_of_life_count_once_the_server_has_answered_though_the_last_delivery_is_settled_meanwhile() {
        let server = NatsServer::start().await;
        let config = NatsConfig::default().server(&server.url()).lease(Duration::from_secs(6));
        let broker = crate::connect::connect(&config).await.unwrap();
        let plan = Plan::new(Subscribe::to("a").group("g"), broker.capabilities(), "h").unwrap();
        let NatsSource::Group(source) = broker.subscribe(&plan).await.unwrap() else { panic!("it has a group") };
        publish(&broker, 3).await;
        let held = fetch(&source, 3).await;
        let ack = |run: &Run<Token>| vec![Settled { run: run.clone(), outcome: Outcome::Ack }];
        source.settle(&mut ack(&held[2])).await.unwrap();

        server.pause();
        source.extend(&held).await.unwrap_err();
        assert!(source.ledger().extended.is_none(), "nobody has answered");

        server.resume();
        assert!(source.extend(&held).await.unwrap().is_empty());
        assert!(source.ledger().extended.is_some());

        // Where nothing is left, nothing needs an answer.
        source.settle(&mut ack(&held[0])).await.unwrap();
        source.settle(&mut ack(&held[1])).await.unwrap();
        server.pause();
        assert!(source.extend(&held).await.unwrap().is_empty());
        server.resume();
        broker.close().await;
    }
}
