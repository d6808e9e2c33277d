//! What a member asks the server for: what is new, what is to be taken over, and what was lost on its way.

use super::{
    fetch::Held,
    member::{GRACE, Member},
};
use crate::{
    entry::{Entry, EntryId},
    error,
    link::Failed,
    reply,
    script::{CLAIM, RECOVER},
    source::Lease,
};
use eventbus_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value, cmd};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long one read waits for something new. A connection that is silent for much longer is lost.
pub(crate) const BLOCK: Duration = Duration::from_secs(2);

/// What one read brought: entries by their partition, and until when they are surely this member's.
pub(super) struct Read {
    pub(super) entries: Vec<(u32, Vec<Entry>)>,
    pub(super) lease: Arc<Lease>,
}

/// What the server handed over of one partition.
pub(super) struct Claimed {
    pub(super) partition: u32,
    /// When something is due next that waits to be tried again.
    pub(super) next: Option<Duration>,
    pub(super) cursor: String,
    pub(super) entries: Vec<(Entry, u32)>,
    /// What was asked for that this member put back.
    pub(super) asked: Vec<EntryId>,
    pub(super) elsewhere: Vec<EntryId>,
    pub(super) lease: Arc<Lease>,
}

/// What to claim of one partition.
pub(super) struct Wanted {
    pub(super) partition: u32,
    pub(super) cursor: String,
    pub(super) own: Vec<EntryId>,
}

impl Member {
    /// Reads what is new for the group, waiting for some.
    pub(super) async fn read(self: Arc<Self>, reader: usize, count: usize) -> Result<Read> {
        let (link, partitions) = &self.home.readers[reader];
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.name).arg("COUNT").arg(count).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS");
        for partition in partitions {
            command.arg(self.stream(*partition));
        }
        for _ in partitions {
            command.arg(">");
        }
        // Before it is asked: whatever is given is given later.
        let given = self.server_now();
        let answer = match link.send(&command).await {
            Err(Failed::Answered(lost)) if error::is_group_lost(&lost) => {
                self.join_again().await?;
                Value::Nil
            }
            answer => answer?,
        };
        let mut entries = Vec::new();
        for stream in reply::array(answer)? {
            let mut parts = reply::array(stream)?.into_iter();
            let name = reply::text(reply::next(&mut parts)?)?;
            let read = reply::array(reply::next(&mut parts)?)?.into_iter().map(Entry::read).collect::<Result<Vec<_>>>()?;
            if let Some(partition) = partitions.iter().find(|partition| self.stream(**partition) == name) {
                entries.push((*partition, read));
            }
        }
        let lease = Lease::until(given + self.lease_millis());
        Ok(Read { entries, lease })
    }

    /// Takes over what is due and what others left behind, `room` at the most of all partitions, and what this member put back itself.
    pub(super) async fn claim(self: Arc<Self>, wanted: Vec<Wanted>, mut room: usize) -> Result<Vec<Claimed>> {
        let mut claimed = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let call = self.claim_call(&wanted, room);
            match self.link(wanted.partition).run(&call).await {
                Ok(answer) => {
                    let of_partition = self.read_claimed(wanted, answer)?;
                    room = room.saturating_sub(of_partition.entries.len());
                    claimed.push(of_partition);
                }
                Err(Failed::Answered(lost)) if error::is_group_lost(&lost) => self.join_again().await?,
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(claimed)
    }

    fn claim_call(&self, wanted: &Wanted, room: usize) -> Cmd {
        let mut call = self.call(&CLAIM, wanted.partition, |keys| vec![&keys.stream, &keys.group, &keys.members, &keys.retry]);
        call.arg(&self.name).arg(room).arg(self.lease_millis()).arg(&wanted.cursor).arg(GRACE.as_millis() as u64);
        for id in &wanted.own {
            call.arg(id.padded());
        }
        call
    }

    fn read_claimed(&self, wanted: Wanted, answer: Value) -> Result<Claimed> {
        let Wanted { partition, own: asked, .. } = wanted;
        let mut parts = reply::array(answer)?.into_iter();
        let now = self.tell(reply::count(reply::next(&mut parts)?)?);
        let next = u64::try_from(reply::integer(reply::next(&mut parts)?)?).ok();
        let cursor = reply::text(reply::next(&mut parts)?)?;
        let lost = reply::count(reply::next(&mut parts)?)?;
        if let Some(more) = self.tally.took(partition, lost) {
            let error = Error::new(ErrorKind::Unavailable, "retention removed events before they were handled");
            let error = error.during("fetch").with("group", &self.group).with("events", more).retryable(false);
            tracing::error!(target: "eventbus", %error, "events were lost to retention");
            self.home.reporter.report(|| error);
        }
        let entries = deliveries(reply::next(&mut parts)?)?;
        let elsewhere = reply::array(reply::next(&mut parts)?)?;
        let elsewhere = elsewhere.into_iter().map(|place| EntryId::read(&reply::bytes(place)?)).collect::<Result<_>>()?;
        Ok(Claimed {
            partition,
            next: next.map(|next| Duration::from_millis(next.saturating_sub(now))),
            cursor,
            entries,
            asked,
            elsewhere,
            lease: Lease::until(now + self.lease_millis()),
        })
    }

    /// Asks for what this member was given and did not get, since a connection was lost: all that the server says it has, but what it
    /// `held` knows.
    pub(super) async fn recover(self: Arc<Self>, held: Held) -> Result<Vec<Claimed>> {
        for (link, partitions) in &self.home.readers {
            // A read that still waits on the lost connection would be given more.
            if let (Some(lost), Some(partition)) = (link.take_lost(), partitions.first()) {
                let unblocked = self.link(*partition).send(cmd("CLIENT").arg("UNBLOCK").arg(lost)).await;
                unblocked.inspect_err(|_| link.give_back_lost(lost))?;
            }
        }
        let mut recovered = Vec::new();
        for partition in self.home.names.partitions() {
            match self.recover_partition(partition, &held).await {
                Ok(given) => recovered.extend(given),
                Err(Failed::Answered(gone)) if error::is_group_lost(&gone) => self.join_again().await?,
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(recovered)
    }

    async fn recover_partition(&self, partition: u32, held: &Held) -> Result<Vec<Claimed>, Failed> {
        const PAGE: usize = 1000;
        let link = self.link(partition);
        let (mut from, mut recovered) = ("-".to_owned(), Vec::new());
        loop {
            let mut command = cmd("XPENDING");
            command.arg(self.stream(partition)).arg(&self.group).arg(&from).arg("+").arg(PAGE).arg(&self.name);
            let page = ids(link.send(&command).await?).map_err(Failed::Unconnected)?;
            let missing: Vec<_> = page.iter().filter(|(id, attempt)| held.get(&(partition, *id)) != Some(attempt)).collect();
            if !missing.is_empty() {
                let mut call = self.call(&RECOVER, partition, |keys| vec![&keys.stream, &keys.group]);
                call.arg(&self.name);
                for (id, _) in missing {
                    call.arg(id.to_string());
                }
                recovered.push(self.read_recovered(partition, link.run(&call).await?).map_err(Failed::Unconnected)?);
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => from = format!("({last}"),
                _ => return Ok(recovered),
            }
        }
    }

    fn read_recovered(&self, partition: u32, answer: Value) -> Result<Claimed> {
        let mut parts = reply::array(answer)?.into_iter();
        let now = self.tell(reply::count(reply::next(&mut parts)?)?);
        let entries = deliveries(reply::next(&mut parts)?)?;
        tracing::info!(target: "eventbus", group = self.group, events = entries.len(), "what was lost with a connection was asked for again");
        let lease = Lease::until(now + self.lease_millis());
        Ok(Claimed { partition, next: None, cursor: String::new(), entries, asked: Vec::new(), elsewhere: Vec::new(), lease })
    }

    /// Acknowledges entries that no pattern wants. Returns them with the outcome.
    pub(super) async fn pass_over(self: Arc<Self>, entries: Vec<(u32, EntryId)>) -> (Vec<(u32, EntryId)>, Result<()>) {
        let mut by_partition: BTreeMap<u32, Cmd> = BTreeMap::new();
        for (partition, id) in &entries {
            let command = by_partition.entry(*partition).or_insert_with(|| {
                let mut command = cmd("XACK");
                command.arg(self.stream(*partition)).arg(&self.group);
                command
            });
            command.arg(id.to_string());
        }
        for (partition, command) in by_partition {
            if let Err(failed) = self.link(partition).send(&command).await {
                return (entries, Err(failed.into()));
            }
        }
        self.tally.passed_over(entries.len() as u64);
        (entries, Ok(()))
    }
}

/// Deliveries as the scripts give them: id, attempt and fields.
fn deliveries(list: Value) -> Result<Vec<(Entry, u32)>> {
    let read = |delivery| {
        let mut delivery = reply::array(delivery)?.into_iter();
        let id = reply::next(&mut delivery)?;
        let attempt = u32::try_from(reply::count(reply::next(&mut delivery)?)?).unwrap_or(u32::MAX);
        Ok((Entry::read(Value::Array(vec![id, reply::next(&mut delivery)?]))?, attempt))
    };
    reply::array(list)?.into_iter().map(read).collect()
}

/// The ids in an answer to `XPENDING`, with their attempts.
fn ids(pending: Value) -> Result<Vec<(EntryId, u32)>> {
    let read = |pending| {
        let mut parts = reply::array(pending)?.into_iter();
        let id = EntryId::read(&reply::bytes(reply::next(&mut parts)?)?)?;
        let attempt = reply::count(parts.nth(2).unwrap_or(Value::Nil))?;
        Ok((id, u32::try_from(attempt).unwrap_or(u32::MAX)))
    };
    reply::array(pending)?.into_iter().map(read).collect()
}
