//! Three servers that keep each event twice more: one of them dies, or is cut off, while events are published and handled.

mod common;

use common::{PATIENCE, is_before, soon, until};
use eventbus_core::{Bus, Event, Subscribe};
use eventbus_nats::{NatsBus, NatsConfig};
use eventbus_testing::{History, servers::NatsServer};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const PUBLISHERS: usize = 4;

struct Cluster {
    servers: Vec<NatsServer>,
}

impl Cluster {
    async fn start() -> Self {
        Self { servers: NatsServer::cluster(3).await }
    }

    fn config(&self) -> NatsConfig {
        let config =
            NatsBus::builder().replicas(3).max_bytes(64 * 1024 * 1024).max_reconnects(None).reconnect_wait(Duration::from_millis(200));
        let config = config
            .ping_interval(Duration::from_secs(1))
            .publish_timeout(Duration::from_secs(60))
            .lease(Duration::from_secs(5))
            .retry_on_connect(true);
        self.servers.iter().fold(config, |config, server| config.server(&server.url()))
    }

    /// Which server leads the stream, as any of those says that are up. None while it is being elected.
    async fn leader(&self, not: Option<usize>) -> Option<usize> {
        let up = self.servers.iter().enumerate().find(|(at, _)| Some(*at) != not).map(|(_, server)| server)?;
        let client = async_nats::connect(up.url()).await.ok()?;
        let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await.ok()?;
        let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
        self.servers.iter().position(|server| leader == format!("test-{}", server.address().port()))
    }

    async fn until_leader(&self, not: Option<usize>) -> usize {
        soon("a leader", async {
            loop {
                match self.leader(not).await {
                    Some(leader) if Some(leader) != not => return leader,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .await
    }
}

/// Publishes until it is told to stop, and returns how many were acknowledged.
fn load(bus: &NatsBus, history: &History) -> (tokio::sync::watch::Sender<bool>, tokio::task::JoinSet<()>) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut publishing = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (bus, history, stopped) = (bus.clone(), history.clone(), stopped.clone());
        publishing.spawn(async move {
            for number in 0.. {
                if *stopped.borrow() {
                    return;
                }
                let event = Event::json("a", number).unwrap().with_partition_key(publisher.to_string());
                history.publish(&bus, event).await.unwrap_or_else(|error| panic!("{error:?}"));
            }
        });
    }
    (stop, publishing)
}

async fn survives(harm: impl AsyncFnOnce(&Cluster, &History)) {
    let cluster = Cluster::start().await;
    let (publisher, consumer) = (cluster.config().connect().await.unwrap(), cluster.config().connect().await.unwrap());
    tokio::spawn(tell(consumer.errors()));
    let published = History::new();
    let (of_group, of_reader) = (Placed::new(&published), Placed::new(&History::new()));
    consumer.subscribe(Subscribe::to("a").group("g"), Arc::new(of_group.clone())).await.unwrap();
    consumer.subscribe(Subscribe::to("a"), Arc::new(of_reader.clone())).await.unwrap();
    let (stop, mut publishing) = load(&publisher, &published);
    until("some events", async || published.deliveries() > 500).await;
    harm(&cluster, &published).await;
    let before = published.deliveries();
    until("more events", async || published.deliveries() > before + 500).await;
    stop.send_replace(true);
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    published.until_handled_within(PATIENCE * 2).await;
    // A member that died with its server leaves its events to be delivered again, behind others: their order is another promise.
    published.judge().nothing_is_lost();
    let is_old = is_before(&async_nats::connect(cluster.servers[0].url()).await.unwrap(), 10);
    until("all events, without a group", async || {
        of_reader.count() >= published.acknowledged() || is_old && of_reader.differs_from(&of_group)
    })
    .await;
    if of_reader.count() < published.acknowledged() {
        eprintln!("the replicas of this nats-server, which is older than 2.10, do not keep the same events; one of them has lost some");
    }
}

/// Says what a bus reports, for whoever reads of a failure.
async fn tell(mut errors: eventbus_core::ErrorStream) {
    while let Some(error) = errors.next().await {
        eprintln!("{error}");
    }
}

/// Tells a history what is handled, and notes at which place of the stream it was.
#[derive(Clone)]
struct Placed {
    history: History,
    places: Arc<Mutex<HashMap<String, Option<u64>>>>,
}

impl Placed {
    fn new(history: &History) -> Self {
        Self { history: history.clone(), places: Arc::default() }
    }

    /// How many events it has handled, each counted once.
    fn count(&self) -> usize {
        self.places.lock().unwrap().len()
    }

    /// Whether an event that was stored once is at two places: so they were read from replicas that differ.
    fn differs_from(&self, other: &Self) -> bool {
        let (here, there) = (self.places.lock().unwrap(), other.places.lock().unwrap());
        here.iter().any(|(id, place)| there.get(id).is_some_and(|other| other != place))
    }
}

#[eventbus_core::async_trait]
impl eventbus_core::Handler for Placed {
    async fn handle(&self, ctx: &eventbus_core::Context, event: &Event) -> Result<(), eventbus_core::HandlerError> {
        self.places.lock().unwrap().insert(event.id().to_owned(), ctx.sequence());
        self.history.handled(event.id(), ctx.attempt());
        Ok(())
    }

    fn name(&self) -> &'static str {
        "placed"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_event_is_lost_when_the_leader_is_killed() {
    survives(async |cluster, history| {
        let leader = cluster.until_leader(None).await;
        cluster.servers[leader].kill().await;
        let acknowledged = history.acknowledged();
        let next = cluster.until_leader(Some(leader)).await;
        assert_ne!(leader, next, "another server leads");
        until("events are acknowledged by the others", async || history.acknowledged() > acknowledged + 200).await;
        cluster.servers[leader].start_again().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_event_is_lost_when_the_leader_is_cut_off() {
    survives(async |cluster, history| {
        let leader = cluster.until_leader(None).await;
        // It stands still, and the others hear nothing of it.
        cluster.servers[leader].pause();
        let acknowledged = history.acknowledged();
        let next = cluster.until_leader(Some(leader)).await;
        assert_ne!(leader, next, "another server leads");
        until("events are acknowledged by the others", async || history.acknowledged() > acknowledged + 200).await;
        cluster.servers[leader].resume();
    })
    .await;
}
