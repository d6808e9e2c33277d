//! What a member does about what it has: renewing its leases, and counting how much is before it.

use super::member::Member;
use crate::{
    error,
    link::{Failed, Link, call},
    names::GroupKeys,
    reply,
    script::{EXTEND, LAG},
    source::Token,
};
use eventbus_core::{Error, Result};
use eventbus_runtime::Run;
use std::{sync::Arc, time::Duration};

impl Member {
    /// Renews leases. Returns what this member has no more.
    pub(super) async fn extend(&self, held: &[Run<Token>], waiting: &[Run<Token>]) -> Result<Vec<Run<Token>>> {
        let mut lost = Vec::new();
        for partition in self.home.names.partitions() {
            let mut call = self.call(&EXTEND, partition, |keys| vec![&keys.stream, &keys.members]);
            call.arg(&self.name);
            let mut places = Vec::new();
            for run in held.iter().chain(waiting) {
                for (place, (_, token)) in run.range().zip(run.iter()).filter(|(_, (_, token))| token.partition == partition) {
                    call.arg(token.id.to_string()).arg(run.attempt());
                    places.push((run, place, token));
                }
            }
            if places.is_empty() {
                continue;
            }
            let answer = match self.link(partition).run(&call).await {
                // The group is made again by whoever reads, and gives all of this to somebody then.
                Err(Failed::Answered(gone)) if error::is_group_lost(&gone) => continue,
                answer => reply::array(answer?)?,
            };
            let mut answer = answer.into_iter();
            let now = self.tell(reply::count(reply::next(&mut answer)?)?);
            let mut gone = answer.map(|place| Ok(reply::count(place)? as usize - 1)).collect::<Result<std::collections::VecDeque<_>>>()?;
            let lost_leases: Vec<_> = gone.iter().filter_map(|at| places.get(*at)?.2.lease.clone()).collect();
            for (at, (run, place, token)) in places.into_iter().enumerate() {
                if gone.front() == Some(&at) {
                    gone.pop_front();
                    lost.push(Run::new(Arc::clone(run.batch()), place..place + 1, run.attempt()));
                } else if let Some(lease) = &token.lease
                    && !lost_leases.iter().any(|lost| Arc::ptr_eq(lost, lease))
                {
                    lease.extend(now + self.lease_millis());
                }
            }
        }
        Ok(lost)
    }

    /// Asks how much the group has before it.
    pub(super) async fn measure(&self) -> Result<()> {
        let measuring = self.tally.begin();
        let mut sum = Lag::default();
        for partition in self.home.names.partitions() {
            match lag(self.link(partition), self.keys(partition), &self.group, self.lease_millis()).await {
                Ok(lag) => sum.add(&lag),
                Err(Failed::Answered(gone)) if error::is_group_lost(&gone) => return Ok(()),
                Err(failed) => return Err(failed.into()),
            }
        }
        self.tally.measured(measuring, sum.undelivered + sum.pending, sum.oldest);
        Ok(())
    }
}

/// What a group has before it at one partition, or at several together.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lag {
    pub(crate) undelivered: u64,
    pub(crate) pending: u64,
    pub(crate) waiting: u64,
    pub(crate) oldest: Option<Duration>,
    pub(crate) members: u64,
}

impl Lag {
    pub(crate) fn add(&mut self, other: &Self) {
        self.undelivered += other.undelivered;
        self.pending += other.pending;
        self.waiting += other.waiting;
        self.oldest = self.oldest.max(other.oldest);
        self.members = self.members.max(other.members);
    }
}

/// Asks how much a group has before it at one partition.
pub(crate) async fn lag(link: &Link, keys: &GroupKeys, group: &str, lease_millis: u64) -> Result<Lag, Failed> {
    let mut call = call(&LAG, [&*keys.stream, &keys.group, &keys.members, &keys.retry]);
    let answer = link.run(call.arg(group).arg(lease_millis.max(5000))).await?;
    let read = || {
        let mut parts = reply::array(answer)?.into_iter();
        let mut next = || reply::integer(reply::next(&mut parts)?);
        let [undelivered, pending, waiting, oldest, members] = [next()?, next()?, next()?, next()?, next()?];
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok::<_, Error>(Lag {
            undelivered: count(undelivered),
            pending: count(pending),
            waiting: count(waiting),
            oldest: u64::try_from(oldest).ok().map(Duration::from_millis),
            members: count(members),
        })
    };
    read().map_err(Failed::Unconnected)
}
