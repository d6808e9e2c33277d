//! The NATS backend of Eventbus.
mod api;
mod atomic;
mod broker;
mod config;
mod connect;
mod core;
mod credentials;
mod delivery;
mod filter;
mod group;
mod health;
mod jetstream;
mod letters;
mod link;
mod names;
mod publish;
mod pull;
mod reader;
mod replies;
mod stream;
mod unstarted;
mod url;

pub use self::config::{Discard, Mode, NatsConfig, Storage};

use self::{broker::NatsBroker, link::Link};
use eventbus_core::Result;
use eventbus_runtime::{
    Reporter,
    remote::{RemoteBus, RemoteSettings},
    remote_bus,
    url::BusUrl,
};

/// The name of this backend in errors, metrics and spans.
const BACKEND: &str = "nats";

remote_bus! {
    /// An event bus over a NATS server: see the [crate documentation](crate).
    pub struct NatsBus(NatsBroker)
}

impl NatsBus {
    /// Connects by a URL such as `nats://127.0.0.1:4222/shop?max_age=7d`.
    ///
    /// # Errors
    /// As [`NatsConfig::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        NatsConfig::from_url(BusUrl::parse(url)?)?.connect().await
    }

    /// A bus with settings of your own.
    pub fn builder() -> NatsConfig {
        NatsConfig::default()
    }

    /// A bus over a client that you have already. It stays yours: closing the bus does not close it.
    ///
    /// Of the settings, those that say where the server is and who we are have no meaning here. What the server refuses for want of permission
    /// is only told to the client's own event callback; here it looks as if the server did not answer.
    ///
    /// # Errors
    /// As [`NatsConfig::connect`].
    pub async fn from_client(client: async_nats::Client, config: NatsConfig) -> Result<Self> {
        config.check()?;
        let link = Link::borrowed(client);
        let _ = tokio::time::timeout(config.connect_timeout, link.until_up()).await;
        link.check().map_err(|error| error.during("connect"))?;
        let broker = NatsBroker::open(link, false, &config).await.map_err(|error| error.during("connect"))?;
        Ok(Self::over(broker, &config))
    }

    pub(crate) async fn open(config: NatsConfig) -> Result<Self> {
        config.check().map_err(|error| error.during("connect"))?;
        let broker = connect::connect(&config).await.map_err(|error| error.during("connect"))?;
        Ok(Self::over(broker, &config))
    }

    fn over(broker: NatsBroker, config: &NatsConfig) -> Self {
        let settings = RemoteSettings {
            publish_timeout: config.publish_timeout,
            close_timeout: config.close_timeout,
            hold: config.hold,
            max_in_flight: config.max_in_flight,
            max_in_flight_bytes: config.max_in_flight_bytes,
            reporter: Reporter::new(),
        };
        Self(RemoteBus::new(broker, settings))
    }
}
