//! Three servers that keep each event twice more: one of them dies, or is cut off, while events are published and handled.

mod common;

use common::{PATIENCE, soon, until};
use eventbus_core::{Bus, Event, Subscribe};
use eventbus_nats::{NatsBus, NatsConfig};
use eventbus_testing::{History, servers::NatsServer};
use std::{sync::Arc, time::Duration};

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
    let (grouped, alone) = (History::new(), History::new());
    consumer.subscribe(Subscribe::to("a").group("g"), Arc::new(grouped.clone())).await.unwrap();
    consumer.subscribe(Subscribe::to("a"), Arc::new(Beside(alone.clone()))).await.unwrap();
    let (stop, mut publishing) = load(&publisher, &grouped);
    until("some events", async || grouped.deliveries() > 500).await;
    harm(&cluster, &grouped).await;
    let before = grouped.deliveries();
    until("more events", async || grouped.deliveries() > before + 500).await;
    stop.send_replace(true);
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    grouped.until_handled_within(PATIENCE * 2).await;
    // A member that died with its server leaves its events to be delivered again, behind others: their order is another promise.
    grouped.judge().nothing_is_lost();
    let come = until("all events, without a group", async || alone.deliveries() >= grouped.acknowledged());
    let come = tokio::time::timeout(PATIENCE - Duration::from_secs(1), come).await;
    assert!(
        come.is_ok(),
        "without a group, {} of {} events came: {:?}",
        alone.deliveries(),
        grouped.acknowledged(),
        consumer.stats().await
    );
}

/// Says what a bus reports, for whoever reads of a failure.
async fn tell(mut errors: eventbus_core::ErrorStream) {
    while let Some(error) = errors.next().await {
        eprintln!("{error}");
    }
}

/// Handles what another history has published.
struct Beside(History);

#[eventbus_core::async_trait]
impl eventbus_core::Handler for Beside {
    async fn handle(&self, ctx: &eventbus_core::Context, event: &Event) -> Result<(), eventbus_core::HandlerError> {
        self.0.publishing(event);
        self.0.handled(event.id(), ctx.attempt());
        Ok(())
    }

    fn name(&self) -> &'static str {
        "beside"
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
