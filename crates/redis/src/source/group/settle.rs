//! Hands outcomes to the server: in one call for each partition, whatever they are.

use super::member::{GRACE, Member};
use crate::{error, link::Failed, reply, script::SETTLE, source::Token};
use eventbus_core::Result;
use eventbus_runtime::{Outcome, Run, Settled};
use redis::Cmd;
use std::time::Duration;

/// The outcomes of one partition.
#[derive(Default)]
struct Outcomes {
    /// Attempt and ids of what was handled.
    handled: Vec<(u32, Vec<String>)>,
    /// Until when all of that is surely this member's.
    sure: Option<u64>,
    again: Vec<Again>,
    released: Vec<(Token, u32)>,
}

struct Again {
    token: Token,
    attempt: u32,
    after: Duration,
}

impl Member {
    /// Settles everything or nothing, as far as is known: what was settled and is settled again is left as it is.
    pub(super) async fn settle(&self, settled: &[Settled<Token>]) -> Result<()> {
        for (partition, outcomes) in self.by_partition(settled).into_iter().enumerate().filter(|(_, outcomes)| !outcomes.is_empty()) {
            let partition = u32::try_from(partition).unwrap_or(u32::MAX);
            let call = self.settle_call(partition, &outcomes);
            match self.link(partition).run_twice(&call).await {
                Ok(answer) => {
                    let mut parts = reply::array(answer)?.into_iter();
                    self.tell(reply::count(reply::next(&mut parts)?)?);
                    let others = reply::count(reply::next(&mut parts)?)?;
                    if others > 0 {
                        tracing::warn!(target: "eventbus", group = self.group(), others, "a late outcome settled nothing: another member has the event");
                    }
                }
                // With the group went what was to be settled. It is made again by whoever reads.
                Err(Failed::Answered(gone)) if error::is_group_lost(&gone) => {}
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(())
    }

    fn by_partition(&self, settled: &[Settled<Token>]) -> Vec<Outcomes> {
        let mut partitions: Vec<Outcomes> = (0..self.partitions()).map(|_| Outcomes::default()).collect();
        for Settled { run, outcome } in settled {
            for (_, token) in run.iter() {
                let outcomes = &mut partitions[token.partition as usize];
                match outcome {
                    Outcome::Ack => outcomes.handle(token, run),
                    Outcome::Retry { after, ticket } => {
                        // What others wait for is due for this member first.
                        let after = if ticket.is_some() { *after + GRACE } else { *after };
                        outcomes.again.push(Again { token: token.clone(), attempt: run.attempt(), after });
                    }
                    _ => outcomes.released.push((token.clone(), run.attempt())),
                }
            }
        }
        partitions
    }

    fn settle_call(&self, partition: u32, outcomes: &Outcomes) -> Cmd {
        let mut call = self.call(&SETTLE, partition, |keys| vec![&keys.stream, &keys.group, &keys.retry]);
        call.arg(self.name()).arg(outcomes.sure.unwrap_or(0)).arg(outcomes.handled.len());
        for (attempt, ids) in &outcomes.handled {
            call.arg(attempt).arg(ids.len()).arg(ids);
        }
        call.arg(outcomes.again.len());
        for Again { token, attempt, after } in &outcomes.again {
            // Rounded up: a retry is never early.
            call.arg(token.id.to_string()).arg(token.id.padded()).arg(attempt).arg(after.as_nanos().div_ceil(1_000_000) as u64);
        }
        call.arg(outcomes.released.len());
        for (token, attempt) in &outcomes.released {
            call.arg(token.id.to_string()).arg(token.id.padded()).arg(attempt);
        }
        call
    }
}

impl Outcomes {
    fn is_empty(&self) -> bool {
        self.handled.is_empty() && self.again.is_empty() && self.released.is_empty()
    }

    fn handle(&mut self, token: &Token, run: &Run<Token>) {
        let sure = token.lease.as_ref().map_or(0, |lease| lease.end());
        self.sure = Some(self.sure.map_or(sure, |known| known.min(sure)));
        match self.handled.last_mut().filter(|(attempt, _)| *attempt == run.attempt()) {
            Some((_, ids)) => ids.push(token.id.to_string()),
            None => self.handled.push((run.attempt(), vec![token.id.to_string()])),
        }
    }
}
