//! The server that the events go through.

use crate::options::Backend;
use eventbus_testing::servers::{NatsServer, RedisServer};

/// How many events to retain where it shall soon be so many, so that what is retained does not look like growth.
pub(crate) const FEW: u32 = 20_000;

/// A server with durable settings: what it has acknowledged is on its disk.
#[derive(Debug)]
pub(crate) enum Server {
    None,
    Nats(NatsServer),
    Redis(RedisServer),
}

impl Server {
    pub(crate) async fn start(backend: Backend) -> Self {
        match backend {
            Backend::Memory => Self::None,
            Backend::Nats => Self::Nats(NatsServer::builder().durable().start().await),
            Backend::Redis => Self::Redis(RedisServer::builder().durable().start().await),
        }
    }

    /// Where so many events are retained.
    pub(crate) fn url(&self, retained: u32) -> String {
        match self {
            Self::None => format!("memory:?retain_events={retained}"),
            // It comes back each time, so that there is no reason to give up.
            Self::Nats(server) => {
                format!("{}/soak?max_msgs={retained}&dedup_window=30s&reconnect_wait=200ms&max_reconnects=unlimited", server.url())
            }
            Self::Redis(server) => format!("{}?prefix=soak&max_msgs={retained}&dedup_window=30s", server.url()),
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Nats(server) => server.memory(),
            Self::Redis(server) => server.memory(),
        }
    }

    /// Whether there is one to restart.
    pub(crate) fn can_restart(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Stops it gracefully, and starts it again.
    pub(crate) async fn restart(&self) {
        match self {
            Self::None => {}
            Self::Nats(server) => {
                server.stop().await;
                server.start_again().await;
            }
            Self::Redis(server) => {
                server.stop().await;
                server.start_again().await;
            }
        }
    }

    /// Kills it, and starts it again.
    pub(crate) async fn crash(&self) {
        match self {
            Self::None => {}
            Self::Nats(server) => server.restart().await,
            Self::Redis(server) => server.restart().await,
        }
    }
}
