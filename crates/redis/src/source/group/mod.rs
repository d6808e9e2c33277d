//! A member of a group: reads what is new for the group, takes over what is due or left behind, and settles it at the server.

mod clock;
mod declaration;
mod fetch;
mod holding;
mod member;
mod reading;
mod ready;
mod settle;

pub(crate) use self::{
    declaration::position,
    holding::{Lag, lag},
    member::Home,
    reading::BLOCK,
};

use super::Token;
use crate::letters::Undertaker;
use eventbus_core::{Plan, Result};
use eventbus_runtime::{Backlog, Buried, Fetched, Outcome, Progress, Run, Settled};
use fetch::Fetching;
use member::Member;
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

pub(crate) struct GroupMember {
    member: Arc<Member>,
    undertaker: Undertaker,
    progress: Progress,
    fetching: Mutex<Fetching>,
}

impl GroupMember {
    /// Makes or joins the group at every partition.
    pub(crate) async fn join(home: Home, plan: &Plan, undertaker: Undertaker) -> Result<Self> {
        let member = Arc::new(Member::new(home, plan));
        member.join().await?;
        let fetching = Mutex::new(Fetching::new(&member));
        Ok(Self { member, undertaker, progress: Progress::default(), fetching })
    }

    pub(crate) fn group(&self) -> &str {
        self.member.group()
    }

    pub(crate) fn lease(&self) -> Duration {
        self.member.lease()
    }

    pub(crate) fn sequence(&self, token: &Token) -> Option<u64> {
        if self.member.partitions() == 1 { token.id.sequence() } else { None }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) async fn fetch(&self, max: usize) -> Result<Fetched<Token>> {
        poll_fn(|cx| self.fetching().poll(&self.member, max, cx)).await
    }

    pub(crate) async fn settle(&self, settled: &mut Vec<Settled<Token>>) -> Result<()> {
        for Settled { run, outcome } in &*settled {
            if let Outcome::Retry { ticket: Some(ticket), .. } = outcome {
                self.fetching().announce(run, *ticket);
            }
        }
        self.member.settle(settled).await?;
        let mut fetching = self.fetching();
        for Settled { run, outcome } in settled.drain(..) {
            self.member.tally.settled(run.len() as u64, matches!(outcome, Outcome::Ack));
            fetching.let_go(&run);
            if let Outcome::Retry { after, ticket } = outcome {
                fetching.expect(&run, tokio::time::Instant::now() + after, ticket);
            }
        }
        Ok(())
    }

    pub(crate) async fn bury(&self, buried: &Buried<Token>) -> Result<()> {
        let token = buried.run.first().1;
        self.undertaker.bury(buried, &format!("{}/{}", self.member.stream(token.partition), token.id), self.group()).await?;
        self.settle(&mut vec![Settled { run: buried.run.clone(), outcome: Outcome::Ack }]).await
    }

    /// Renews the leases of what the engine holds, and of what waits here for it.
    pub(crate) async fn extend(&self, held: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        let waiting = {
            let mut fetching = self.fetching();
            fetching.catch_up(&self.member);
            fetching.waiting()
        };
        let mut lost = self.member.extend(held, &waiting).await?;
        self.member.tally.lost(lost.len() as u64);
        let mut fetching = self.fetching();
        lost.iter().for_each(|run| fetching.let_go(run));
        // What was lost while it waited here has not reached the engine, and must not.
        lost.retain(|run| !fetching.forget(run));
        drop(fetching);
        Ok(lost)
    }

    pub(crate) async fn measure(&self) -> Result<()> {
        self.member.measure().await
    }

    pub(crate) fn backlog(&self) -> Backlog {
        self.member.tally.backlog()
    }

    /// Ends the membership: what was not settled goes back at once, and the server's record of the member goes.
    pub(crate) async fn leave(&self) {
        let reading = self.fetching().end();
        let claiming = self.fetching().end_claims();
        self.member.stop_reading(reading).await;
        self.member.stop_claiming(claiming).await;
        self.member.leave().await;
    }

    fn fetching(&self) -> MutexGuard<'_, Fetching> {
        // No foreign code runs under this lock, so what it protects is consistent even if a panic poisoned it.
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members that this process has, whatever the server has heard of them.
#[derive(Default)]
pub(crate) struct Own(Mutex<Vec<Weak<Member>>>);

impl Own {
    pub(crate) fn joined(&self, joined: &GroupMember) {
        let mut members = self.members();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&joined.member));
    }

    pub(crate) fn left(&self, left: &GroupMember) {
        self.members().retain(|member| member.strong_count() > 0 && !std::ptr::eq(member.as_ptr(), &*left.member));
    }

    /// How many members of a group there are, and how much they have that is not known to be settled.
    pub(crate) fn of_group(&self, group: &str) -> (u64, u64) {
        let members: Vec<_> = self.members().iter().filter_map(Weak::upgrade).collect();
        let of_group = members.iter().filter(|member| member.group() == group);
        of_group.fold((0, 0), |(count, held), member| (count + 1, held + member.tally.held()))
    }

    fn members(&self) -> MutexGuard<'_, Vec<Weak<Member>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
