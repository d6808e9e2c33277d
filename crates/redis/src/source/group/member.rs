//! What a member of a group says to the server.

use super::{
    clock::Clock,
    declaration::{declaration, differences, start},
    reading::{Claimed, Read},
};
use crate::{
    entry::{Decoded, Entry},
    error::unavailable,
    link::{Link, call},
    names::{GroupKeys, Names},
    reply,
    script::{JOIN, LEAVE, Script},
    source::{Step, sift},
    tally::Tally,
};
use eventbus_core::{Error, ErrorKind, Plan, Result};
use eventbus_runtime::Reporter;
use redis::{Cmd, Value, cmd};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

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
    pub(super) home: Home,
    pub(super) plan: Plan,
    pub(super) group: String,
    pub(super) name: String,
    declaration: String,
    keys: Vec<GroupKeys>,
    clock: Clock,
    pub(super) tally: Tally,
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

    pub(super) fn call(&self, script: &Script, partition: u32, keys: fn(&GroupKeys) -> Vec<&str>) -> Cmd {
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

    pub(super) fn lease_millis(&self) -> u64 {
        self.home.lease.as_millis() as u64
    }

    /// Notes what the server's clock said, which was at the latest now.
    pub(super) fn tell(&self, millis: u64) -> u64 {
        self.clock.tell(millis);
        millis
    }

    /// What the server's clock shows now, at the least.
    pub(super) fn server_now(&self) -> u64 {
        self.clock.now()
    }
}

/// Beginning and end.
impl Member {
    pub(super) async fn join(&self) -> Result<()> {
        self.join_from(&start(&self.plan.start)?, "").await.map(drop)
    }

    /// Makes the group again after it was lost, from where it stood.
    pub(super) async fn join_again(&self) -> Result<()> {
        let places = self.join_from("0-0", "again").await?;
        if places.is_empty() {
            // Another member made it again, and has said so.
            return Ok(());
        }
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

    /// Waits until nothing more is taken over, so that all of it goes back.
    pub(super) async fn stop_claiming(&self, claiming: Vec<Step<Result<Vec<Claimed>>>>) {
        for step in claiming {
            let _ = tokio::time::timeout(Duration::from_secs(1), step).await;
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
