//! Redis as the bus sees it: sending, subscribing, and looking after what the server keeps.

use crate::{
    BACKEND, Mode, RedisConfig,
    connect::Connector,
    ear::Ear,
    encode::Encoder,
    error::unavailable,
    health::{self, Info},
    letters::{Letters, Undertaker},
    link::{Link, call},
    names::Names,
    publish::{Ack, Publisher},
    replies::Replies,
    reply,
    retained::Retained,
    script::DELETE,
    source::{
        RedisSource,
        fanout::{FanOut, tail::Tail},
        group::{BLOCK, GroupMember, Home, Lag, Own, lag},
        listener::Listener,
    },
    trim::Trimmer,
};
use eventbus_core::{Capabilities, Error, ErrorKind, Event, GroupStats, Health, Ordering, Plan, ReplyTransport, Result, Retry};
use eventbus_runtime::{
    Reporter,
    remote::{Broker, Figures, Stored},
};
use redis::{Client, cmd};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// One bus's view of the server.
pub(crate) struct RedisBroker {
    config: RedisConfig,
    capabilities: Capabilities,
    names: Names,
    connector: Arc<Connector>,
    again: Retry,
    /// The connection for commands, of each partition.
    links: Vec<Arc<Link>>,
    /// The publisher of each partition.
    publishers: Vec<Arc<Publisher>>,
    letters: Option<Arc<Letters>>,
    ear: Arc<Ear>,
    replies: Replies,
    tail: Arc<Tail>,
    own: Own,
    trimmer: Arc<Trimmer>,
    trimming: tokio::task::JoinHandle<()>,
    reporter: Reporter,
}

impl RedisBroker {
    pub(crate) async fn connect(config: RedisConfig, client: Option<Client>, reporter: Reporter) -> Result<Self> {
        config.check()?;
        let connector = Arc::new(Connector::new(&config, client)?);
        let again = config.again();
        let names = Names::new(&config.prefix, if config.mode == Mode::Streams { config.partitions } else { 1 });
        let links = of_partitions(&connector, &names, || Duration::ZERO, &again);
        let info = Info::ask(&links[0]).await?;
        info.check_version()?;
        let idempotent = info.is_idempotent(config.idmp, config.dedup_window)?;
        let layout = Link::new(&connector, &names.layout(), Duration::ZERO, &again);
        if config.mode == Mode::Streams {
            agree_on_layout(if connector.is_spread() { &layout } else { &links[0] }, &names).await?;
            if idempotent && !config.dedup_window.is_zero() {
                for partition in names.partitions() {
                    set_window(&links[partition as usize], names.stream(partition), config.dedup_window).await?;
                }
            }
        }
        let trimmer = Trimmer::new(&config, &names);
        let encoder = Arc::new(Encoder::new(names.clone(), config.mode, config.dedup_window, idempotent));
        let publishers = publishers(&connector, &names, &again, &encoder, &trimmer);
        let letters = (config.mode == Mode::Streams).then(|| {
            let link =
                if connector.is_spread() { Link::new(&connector, &names.letters(), Duration::ZERO, &again) } else { Arc::clone(&links[0]) };
            Letters::new(&names, &links, link, config.max_dead_letters)
        });
        let ear = Ear::new(&connector, &again);
        let trimming = tokio::spawn({
            let (trimmer, links) = (Arc::clone(&trimmer), links.clone());
            async move { trimmer.run(|partition| Arc::clone(&links[partition as usize])).await }
        });
        let home = home(&connector, &names, &links, &again, &config, &reporter);
        Ok(Self {
            capabilities: capabilities(&config),
            replies: Replies::new(&names, &ear, &links[0]),
            tail: Tail::new(home),
            own: Own::default(),
            config,
            names,
            connector,
            again,
            links,
            publishers,
            letters,
            ear,
            trimmer,
            trimming,
            reporter,
        })
    }

    fn undertaker(&self) -> Undertaker {
        match &self.letters {
            Some(letters) => Undertaker::Keeping(Arc::clone(letters)),
            None => Undertaker::Publishing(Arc::clone(&self.publishers[0])),
        }
    }

    fn publisher(&self, partition: u32) -> &Arc<Publisher> {
        &self.publishers[partition as usize]
    }

    /// What every group has before it, at all partitions.
    async fn groups(&self) -> Result<Vec<GroupStats>> {
        let lease_millis = self.config.lease.as_millis() as u64;
        let mut groups: BTreeMap<String, Lag> = BTreeMap::new();
        for partition in self.names.partitions() {
            let link = &self.links[partition as usize];
            let answer = match link.send(cmd("XINFO").arg("GROUPS").arg(self.names.stream(partition))).await {
                Ok(answer) => reply::array(answer)?,
                // A stream that was never written to has no groups.
                Err(crate::link::Failed::Answered(error)) if error.to_string().contains("no such key") => continue,
                Err(failed) => return Err(failed.into()),
            };
            for group in answer {
                let info = reply::array(group)?;
                let Some(name) = reply::field(&info, "name") else { continue };
                // Names that are no text are no groups of ours.
                let Ok(name) = reply::text(name) else { continue };
                match lag(link, &self.names.group(partition, &name), &name, lease_millis).await {
                    Ok(lag) => groups.entry(name).or_default().add(&lag),
                    Err(crate::link::Failed::Answered(error)) if crate::error::is_group_lost(&error) => {}
                    Err(failed) => return Err(failed.into()),
                }
            }
        }
        let stats = groups.into_iter().map(|(name, lag)| {
            let mut group = GroupStats::default();
            let (own, held) = self.own.of_group(&name);
            group.members = lag.members.max(own);
            // What the server has settled and has not said so yet is not settled for those who wait for it here.
            group.lag = (lag.undelivered + lag.pending).max(held);
            group.in_flight = lag.pending.saturating_sub(lag.waiting);
            group.oldest_unacknowledged = lag.oldest;
            group.name = name;
            group
        });
        Ok(stats.collect())
    }
}

impl Broker for RedisBroker {
    type Source = RedisSource;
    type Ack = Ack;
    type Letters = Letters;

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, event: &Event) -> Result<Ack> {
        let partition = self.names.partition(event);
        self.publisher(partition).send(event, partition).await
    }

    fn takes_batches(&self) -> bool {
        true
    }

    async fn send_all(&self, events: &[Event]) -> Vec<Result<Stored>> {
        let posts = events.iter().map(|event| (event.clone(), self.names.partition(event)));
        // One publisher for all, or one for each partition.
        if !self.connector.is_spread() {
            return self.publishers[0].send_all(posts.collect()).await;
        }
        let mut by_partition: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (place, post) in posts.enumerate() {
            by_partition.entry(post.1).or_default().push((place, post));
        }
        let mut sending = JoinSet::new();
        for (partition, posts) in by_partition {
            let publisher = Arc::clone(self.publisher(partition));
            let (places, posts): (Vec<_>, Vec<_>) = posts.into_iter().unzip();
            sending.spawn(async move { (places, publisher.send_all(posts).await) });
        }
        let mut outcomes: Vec<Result<Stored>> = events.iter().map(|_| Err(unavailable("sending was interrupted"))).collect();
        while let Some(sent) = sending.join_next().await {
            let (places, answers) = sent.unwrap_or_default();
            places.into_iter().zip(answers).for_each(|(place, answer)| outcomes[place] = answer);
        }
        outcomes
    }

    async fn subscribe(&self, plan: &Plan) -> Result<RedisSource> {
        if self.config.mode == Mode::PubSub {
            return Ok(RedisSource::Listener(Box::new(Listener::begin(&self.ear, &self.names, plan, self.undertaker()).await?)));
        }
        if plan.ordering == Ordering::Strict && self.names.partitions().end > 1 {
            let partitions = self.names.partitions().end;
            return Err(Error::unsupported(
                &format!(
                    "Ordering::Strict, which needs one order of all events, with partitions={partitions} (ask for PerKey or Unordered)"
                ),
                BACKEND,
            ));
        }
        for partition in self.names.partitions() {
            self.trimmer.trim(&self.links[partition as usize], partition).await?;
        }
        if plan.group.is_none() {
            return Ok(RedisSource::FanOut(Box::new(FanOut::begin(&self.tail, plan, self.undertaker()).await?)));
        }
        let home = home(&self.connector, &self.names, &self.links, &self.again, &self.config, &self.reporter);
        let member = GroupMember::join(home, plan, self.undertaker()).await?;
        self.own.joined(&member);
        Ok(RedisSource::Group(Box::new(member)))
    }

    async fn leave(&self, source: &RedisSource) {
        match source {
            RedisSource::Group(member) => {
                self.own.left(member);
                member.leave().await;
            }
            RedisSource::FanOut(reader) => reader.leave(),
            RedisSource::Listener(listener) => listener.leave().await,
        }
    }

    async fn delete_group(&self, group: &str) -> Result<bool> {
        if self.config.mode == Mode::PubSub {
            return Ok(false);
        }
        let mut deleted = false;
        for partition in self.names.partitions() {
            let keys = self.names.group(partition, group);
            let mut call = call(&DELETE, [&*keys.stream, &keys.group, &keys.members, &keys.retry]);
            call.arg(group).arg((self.config.lease.as_millis() as u64).max(5000));
            match reply::integer(self.links[partition as usize].run(&call).await?)? {
                -1 => return Err(Error::new(ErrorKind::Conflict, "the group has members").with("group", group)),
                found => deleted |= found > 0,
            }
        }
        Ok(deleted)
    }

    fn letters(&self) -> Option<&Letters> {
        self.letters.as_deref()
    }

    fn replies(&self) -> Option<&dyn ReplyTransport> {
        Some(&self.replies)
    }

    async fn health(&self) -> Result<Health> {
        health::check(&self.links[0], self.config.mode).await
    }

    async fn figures(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        if let Some(letters) = &self.letters {
            figures.dead_letters = Some(letters.count().await?);
            for partition in self.names.partitions() {
                Retained::ask(&self.links[partition as usize], self.names.stream(partition)).await?.add_to(&mut figures);
            }
            figures.groups = self.groups().await?;
        }
        Ok(figures)
    }

    async fn close(&self) {
        self.trimming.abort();
        self.publishers.iter().for_each(|publisher| publisher.close());
        self.tail.close();
        self.ear.close();
        self.links.iter().for_each(|link| link.disconnect());
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.trimming.abort();
        self.ear.close();
        self.tail.close();
    }
}

fn capabilities(config: &RedisConfig) -> Capabilities {
    let mut capabilities = Capabilities::none(BACKEND);
    let stored = config.mode == Mode::Streams;
    capabilities.at_least_once = stored;
    capabilities.persistent = stored;
    capabilities.groups = stored;
    capabilities.replay = stored;
    capabilities.replay_by_sequence = stored && config.partitions == 1;
    capabilities.replay_by_time = stored;
    capabilities.dedup_window = (stored && !config.dedup_window.is_zero()).then_some(config.dedup_window);
    capabilities.redelivery = stored;
    capabilities.dead_letters = stored;
    capabilities.drops = !stored;
    capabilities.requests = true;
    capabilities.hold = config.hold.is_some();
    capabilities.confirmed_acks = stored;
    capabilities.max_payload = config.max_payload;
    capabilities
}

/// A connection for each partition where they may be on several servers, else one for all.
fn of_partitions(connector: &Arc<Connector>, names: &Names, patience: impl Fn() -> Duration, again: &Retry) -> Vec<Arc<Link>> {
    if connector.is_spread() {
        return names.streams().iter().map(|stream| Link::new(connector, stream, patience(), again)).collect();
    }
    let one = Link::new(connector, names.stream(0), patience(), again);
    names.partitions().map(|_| Arc::clone(&one)).collect()
}

fn publishers(
    connector: &Arc<Connector>,
    names: &Names,
    again: &Retry,
    encoder: &Arc<Encoder>,
    trimmer: &Arc<Trimmer>,
) -> Vec<Arc<Publisher>> {
    let publisher = |link| Arc::new(Publisher::new(link, Arc::clone(encoder), Arc::clone(trimmer)));
    let links = of_partitions(connector, names, || Duration::ZERO, again);
    if connector.is_spread() {
        return links.into_iter().map(publisher).collect();
    }
    let one = publisher(Arc::clone(&links[0]));
    names.partitions().map(|_| Arc::clone(&one)).collect()
}

/// What a subscription needs: the connections for commands, and some of its own to wait on.
fn home(connector: &Arc<Connector>, names: &Names, links: &[Arc<Link>], again: &Retry, config: &RedisConfig, reporter: &Reporter) -> Home {
    let readers = if connector.is_spread() {
        names.partitions().map(|partition| (Link::new(connector, names.stream(partition), BLOCK, again), vec![partition])).collect()
    } else {
        vec![(Link::new(connector, names.stream(0), BLOCK, again), names.partitions().collect())]
    };
    Home { names: names.clone(), links: links.to_vec(), readers, lease: config.lease, reporter: reporter.clone() }
}

/// Everybody who uses a prefix spreads its events in the same way.
async fn agree_on_layout(link: &Link, names: &Names) -> Result<()> {
    let partitions = names.partitions().end;
    link.send(cmd("HSETNX").arg(names.layout()).arg("partitions").arg(partitions)).await?;
    let found = reply::count(link.send(cmd("HGET").arg(names.layout()).arg("partitions")).await?)?;
    if found == u64::from(partitions) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("partitions {partitions}: the prefix has {found}, which is fixed when it is used first")))
}

/// Sets the server's own window, if it is another: that empties what the server remembers.
async fn set_window(link: &Link, stream: &str, window: Duration) -> Result<()> {
    let seconds = window.as_secs();
    let info = link.send(cmd("XINFO").arg("STREAM").arg(stream)).await.ok().and_then(|info| reply::array(info).ok()).unwrap_or_default();
    let is = |name: &str, value: u64| reply::field(&info, name).is_some_and(|found| reply::count(found).is_ok_and(|found| found == value));
    if is("idmp-duration", seconds) && is("idmp-maxsize", MOST_REMEMBERED) {
        return Ok(());
    }
    if info.is_empty() {
        // The window belongs to the stream, so there has to be one.
        link.send(cmd("XGROUP").arg("CREATE").arg(stream).arg(":made").arg("$").arg("MKSTREAM")).await?;
        link.send(cmd("XGROUP").arg("DESTROY").arg(stream).arg(":made")).await?;
    }
    link.send(cmd("XCFGSET").arg(stream).arg("IDMP-DURATION").arg(seconds).arg("IDMP-MAXSIZE").arg(MOST_REMEMBERED)).await?;
    Ok(())
}

/// How many ids of one source the server can remember.
const MOST_REMEMBERED: u64 = 10_000;
