//! What a member of a group says to the server.

use crate::{
    entry::{Decoded, Entry, EntryId},
    error::{self, unavailable},
    link::{Failed, Link, call},
    names::{GroupKeys, Names},
    reply,
    script::{CLAIM, EXTEND, JOIN, LAG, LEAVE, RECOVER},
    source::{Lease, Step, Token, sift},
    tally::Tally,
};
use eventbus_core::{Error, ErrorKind, Plan, Result, Start};
use eventbus_runtime::{Reporter, Run};
use redis::{Cmd, Value, cmd};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

/// How long one read waits for something new. A connection that is silent for much longer is lost.
pub(crate) const BLOCK: Duration = Duration::from_secs(2);
/// For how long a retry that others wait for is left to the member that put it back, before any member takes it.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// What a member needs of its bus.
pub(crate) struct Home {
    pub(crate) names: Names,
    /// The connection for commands, of each partition.
    pub(crate) links: Vec<Arc<Link>>,
    /// Connections of the member's own, with the partitions that each reads.
    pub(crate) readers: Vec<(Arc<Link>, Vec<u32>)>,
    pub(crate) lease: Duration,
    pub(crate) reporter: Reporter,
}

pub(crate) struct Member {
    home: Home,
    plan: Plan,
    group: String,
    name: String,
    declaration: String,
    keys: Vec<GroupKeys>,
    clock: Clock,
    pub(super) tally: Tally,
}

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
    pub(super) elsewhere: Vec<EntryId>,
    pub(super) lease: Arc<Lease>,
}

/// What to claim of one partition.
pub(super) struct Wanted {
    pub(super) partition: u32,
    pub(super) room: usize,
    pub(super) cursor: String,
    pub(super) own: Vec<EntryId>,
}

impl Member {
    pub(super) fn new(home: Home, plan: &Plan) -> Self {
        let group = plan.group.clone().unwrap_or_default();
        let keys = home.names.partitions().map(|partition| home.names.group(partition, &group)).collect();
        Self {
            declaration: declaration(plan),
            plan: plan.clone(),
            name: Uuid::now_v7().to_string(),
            group,
            keys,
            clock: Clock::default(),
            tally: Tally::default(),
            home,
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    pub(super) fn lease(&self) -> Duration {
        self.home.lease
    }

    pub(super) fn partitions(&self) -> u32 {
        self.home.names.partitions().end
    }

    pub(super) fn stream(&self, partition: u32) -> &str {
        self.home.names.stream(partition)
    }

    pub(super) fn readers(&self) -> usize {
        self.home.readers.len()
    }

    pub(super) fn keys(&self, partition: u32) -> &GroupKeys {
        &self.keys[partition as usize]
    }

    pub(super) fn link(&self, partition: u32) -> &Arc<Link> {
        &self.home.links[partition as usize]
    }

    pub(super) fn call(&self, script: &crate::script::Script, partition: u32, keys: fn(&GroupKeys) -> Vec<&str>) -> Cmd {
        let mut call = call(script, keys(self.keys(partition)));
        call.arg(&self.group);
        call
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What an entry is to this group: nothing where no pattern wants it.
    pub(super) fn sift(&self, entry: &Entry, partition: u32) -> Option<Decoded> {
        sift(&self.plan, entry, self.stream(partition))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Beginning and end.
impl Member {
    pub(super) async fn join(&self) -> Result<()> {
        self.join_from(&start(&self.plan.start)?, "").await.map(drop)
    }

    /// Makes the group again after it was lost, from where it stood.
    async fn join_again(&self) -> Result<()> {
        let places = self.join_from("0-0", "again").await?;
        let error = unavailable("the group was gone at the server and was made again");
        let error = error.during("fetch").with("group", &self.group).with("from", places.join(" "));
        tracing::warn!(target: "eventbus", %error, "a group was lost");
        self.home.reporter.report(|| error);
        Ok(())
    }

    /// Returns where the group begins at the partitions where it was made.
    async fn join_from(&self, start: &str, again: &str) -> Result<Vec<String>> {
        let mut made = Vec::new();
        for partition in self.home.names.partitions() {
            let mut call = self.call(&JOIN, partition, |keys| vec![&keys.stream, &keys.group, &keys.members]);
            call.arg(&self.declaration).arg(start).arg(&self.name).arg(again);
            let answer = self.link(partition).run(&call).await?;
            let mut parts = reply::array(answer)?.into_iter();
            let (verdict, place) = (reply::text(reply::next(&mut parts)?)?, reply::text(reply::next(&mut parts)?)?);
            if verdict == "conflict" {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the group is declared otherwise: {}", differences(&place, &self.declaration)),
                )
                .during("subscribe")
                .with("group", &self.group));
            }
            if !place.is_empty() {
                made.push(place);
            }
        }
        Ok(made)
    }

    /// Wakes a read that waits, so that nothing more is given to it, and waits until it is over.
    pub(super) async fn stop_reading(&self, reading: Vec<(usize, Step<Result<Read>>)>) {
        for (reader, step) in reading {
            let (link, partitions) = &self.home.readers[reader];
            if let (Some(live), Some(partition)) = (link.live(), partitions.first()) {
                let woken = self.link(*partition).send(cmd("CLIENT").arg("UNBLOCK").arg(live.id)).await;
                if woken.is_ok() {
                    // What it was given meanwhile goes back with everything else of this member.
                    let _ = tokio::time::timeout(Duration::from_secs(1), step).await;
                }
            }
            link.disconnect();
        }
    }

    pub(super) async fn leave(&self) {
        for partition in self.home.names.partitions() {
            let mut call = self.call(&LEAVE, partition, |keys| vec![&keys.stream, &keys.group, &keys.members, &keys.retry]);
            call.arg(&self.name);
            loop {
                match self.link(partition).run(&call).await {
                    Ok(Value::Int(went)) if went >= 1000 => {}
                    Ok(_) => break,
                    Err(failed) => {
                        let error = Error::from(failed);
                        tracing::debug!(target: "eventbus", %error, group = self.group, "a member could not say goodbye; its lease will end");
                        break;
                    }
                }
            }
        }
        self.home.readers.iter().for_each(|(link, _)| link.disconnect());
    }
}

/// Reading and taking over.
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
        let given = self.clock.now();
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

    pub(super) async fn claim(self: Arc<Self>, wanted: Vec<Wanted>) -> Result<Vec<Claimed>> {
        let mut claimed = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let call = self.claim_call(&wanted);
            match self.link(wanted.partition).run(&call).await {
                Ok(answer) => claimed.push(self.read_claimed(wanted.partition, answer)?),
                Err(Failed::Answered(lost)) if error::is_group_lost(&lost) => self.join_again().await?,
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(claimed)
    }

    fn claim_call(&self, wanted: &Wanted) -> Cmd {
        let mut call = self.call(&CLAIM, wanted.partition, |keys| vec![&keys.stream, &keys.group, &keys.members, &keys.retry]);
        call.arg(&self.name).arg(wanted.room).arg(self.lease_millis()).arg(&wanted.cursor).arg(GRACE.as_millis() as u64);
        for id in &wanted.own {
            call.arg(id.padded());
        }
        call
    }

    fn read_claimed(&self, partition: u32, answer: Value) -> Result<Claimed> {
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
            elsewhere,
            lease: Lease::until(now + self.lease_millis()),
        })
    }

    /// Asks for what this member was given and did not get, since a connection was lost: all that the server says it has, but what it
    /// `held` knows.
    pub(super) async fn recover(self: Arc<Self>, held: HashSet<(u32, EntryId)>) -> Result<Vec<Claimed>> {
        for (link, partitions) in &self.home.readers {
            // A read that still waits on the lost connection would be given more.
            if let (Some(lost), Some(partition)) = (link.take_lost(), partitions.first()) {
                self.link(*partition).send(cmd("CLIENT").arg("UNBLOCK").arg(lost)).await?;
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

    async fn recover_partition(&self, partition: u32, held: &HashSet<(u32, EntryId)>) -> Result<Vec<Claimed>, Failed> {
        const PAGE: usize = 1000;
        let link = self.link(partition);
        let (mut from, mut recovered) = ("-".to_owned(), Vec::new());
        loop {
            let mut command = cmd("XPENDING");
            command.arg(self.stream(partition)).arg(&self.group).arg(&from).arg("+").arg(PAGE).arg(&self.name);
            let page = ids(link.send(&command).await?).map_err(Failed::Unconnected)?;
            let missing: Vec<_> = page.iter().filter(|id| !held.contains(&(partition, **id))).collect();
            if !missing.is_empty() {
                let mut call = self.call(&RECOVER, partition, |keys| vec![&keys.stream, &keys.group]);
                call.arg(&self.name);
                for id in missing {
                    call.arg(id.to_string());
                }
                recovered.push(self.read_recovered(partition, link.run(&call).await?).map_err(Failed::Unconnected)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => from = format!("({last}"),
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
        Ok(Claimed { partition, next: None, cursor: String::new(), entries, elsewhere: Vec::new(), lease })
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

/// Holding.
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

    pub(super) fn lease_millis(&self) -> u64 {
        self.home.lease.as_millis() as u64
    }

    /// Notes what the server's clock said, which was at the latest now.
    pub(super) fn tell(&self, millis: u64) -> u64 {
        self.clock.tell(millis);
        millis
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

/// The ids in an answer to `XPENDING`.
fn ids(pending: Value) -> Result<Vec<EntryId>> {
    let read = |pending| EntryId::read(&reply::bytes(reply::next(&mut reply::array(pending)?.into_iter())?)?);
    reply::array(pending)?.into_iter().map(read).collect()
}

/// What every member of a group has to agree on.
fn declaration(plan: &Plan) -> String {
    let patterns: Vec<&str> = plan.patterns.iter().map(eventbus_core::Pattern::as_str).collect();
    format!("patterns={} ordering={:?} overflow={:?}", patterns.join(","), plan.ordering, plan.overflow)
}

/// What differs between two declarations, in words.
fn differences(found: &str, wanted: &str) -> String {
    let differing = found.split(' ').zip(wanted.split(' ')).filter(|(found, wanted)| found != wanted);
    differing
        .map(|(found, wanted)| format!("it has {found}, not {}", wanted.split_once('=').map_or(wanted, |(_, value)| value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where a group begins, as the server takes it: after this entry.
fn start(start: &Start) -> Result<String> {
    Ok(match start {
        Start::New => "$".to_owned(),
        Start::Earliest => "0-0".to_owned(),
        other => position(other)?.to_string(),
    })
}

/// The entry after which a replay begins.
pub(crate) fn position(start: &Start) -> Result<EntryId> {
    match start {
        Start::Sequence(sequence) => Ok(EntryId::of_sequence(*sequence).before()),
        Start::Time(time) => {
            let since = time.to_system_time().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            // A time within a millisecond is before what the server took in the next one.
            let millis = since.as_millis() + u128::from(since.subsec_nanos() % 1_000_000 > 0);
            Ok(EntryId { millis: u64::try_from(millis).unwrap_or(u64::MAX), number: 0 }.before())
        }
        Start::Earliest => Ok(EntryId::FIRST),
        other => Err(Error::unsupported(&format!("{other:?}"), crate::BACKEND)),
    }
}

/// The server's clock, as far as it is known here.
#[derive(Default)]
struct Clock(Mutex<Option<(Instant, u64)>>);

impl Clock {
    fn tell(&self, millis: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), millis));
    }

    /// What the server's clock shows now, at the least.
    fn now(&self) -> u64 {
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.map_or(0, |(since, millis)| millis + since.elapsed().as_millis() as u64)
    }
}
