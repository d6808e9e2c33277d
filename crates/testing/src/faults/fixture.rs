//! What a backend tells the suite.

use crate::servers::{NatsServer, RedisServer};
use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How to make a bus of the backend under test, and how to do harm behind its back.
#[async_trait]
pub trait Breakable: Send + Sync + 'static {
    /// A server of the test's own, which keeps what it has acknowledged over a restart.
    async fn server(&self) -> Box<dyn Server>;

    /// A bus over the server at this address, which may be that of a proxy.
    ///
    /// # Errors
    /// Those of connecting.
    async fn connect(&self, address: SocketAddr, terms: &Terms) -> Result<Arc<dyn Bus>>;

    /// Puts a message where the events of a type are, as a client that knows nothing of events does.
    async fn put_raw(&self, address: SocketAddr, terms: &Terms, event_type: &str, message: &[u8]);

    /// Deletes a group at the server, as an operator does by mistake.
    async fn delete_group(&self, address: SocketAddr, terms: &Terms, group: &str);

    /// Removes everything that the server keeps, and leaves the server as one that a new bus can use.
    async fn wipe(&self, address: SocketAddr, terms: &Terms);
}

/// What a test needs of its buses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Terms {
    /// The name of the test's own place at the server: letters, digits and underscores.
    pub name: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether connecting tries again while there is no server.
    pub retry_on_connect: bool,
    /// How long a publish waits.
    pub publish_timeout: Duration,
    /// How long a close waits.
    pub close_timeout: Duration,
    /// For how long a delivery is left with a member that does not say a word.
    pub lease: Duration,
    /// How soon a connection that is silent has to be looked after.
    pub heartbeat: Duration,
}

impl Terms {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            connect_timeout: Duration::from_secs(5),
            retry_on_connect: false,
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(20),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(2),
        }
    }
}

/// A server that a test may harm.
#[async_trait]
pub trait Server: Send + Sync {
    /// Where it listens, also after it was started again.
    fn address(&self) -> SocketAddr;
    /// Kills it, as `kill -9` does, and returns when it is gone.
    async fn kill(&self);
    /// Starts it again after that, and returns when it answers.
    async fn start_again(&self);
    /// Stops its clock.
    fn pause(&self);
    /// Lets it go on.
    fn resume(&self);
}

macro_rules! server {
    ($server:ident) => {
        #[async_trait]
        impl Server for $server {
            fn address(&self) -> SocketAddr {
                self.address()
            }

            async fn kill(&self) {
                self.kill().await;
            }

            async fn start_again(&self) {
                self.start_again().await;
            }

            fn pause(&self) {
                self.pause();
            }

            fn resume(&self) {
                self.resume();
            }
        }
    };
}
server!(NatsServer);
server!(RedisServer);
