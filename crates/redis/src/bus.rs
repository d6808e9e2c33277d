//! The bus that its users hold.

use crate::{RedisConfig, broker::RedisBroker};
use eventbus_core::Result;
use eventbus_runtime::{
    Reporter,
    remote::{RemoteBus, RemoteSettings},
    remote_bus,
    url::BusUrl,
};

remote_bus! {
    /// An event bus over Redis or Valkey. See the [crate](crate) for what it promises, and under which conditions.
    ///
    /// Cheap to clone: clones are handles of the same bus. When the last handle is dropped without a
    /// [`close`](eventbus_core::Bus::close), handlers that run may finish and nothing else is begun; the server keeps what was published.
    pub struct RedisBus(RedisBroker)
}

impl RedisBus {
    /// The bus at a URL such as `redis://host:6379/0?prefix=shop`.
    ///
    /// # Errors
    /// As [`RedisConfig::from_url`] and [`RedisConfig::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        RedisConfig::from_url(BusUrl::parse(url)?)?.connect().await
    }

    /// A bus with settings of your own.
    pub fn builder() -> RedisConfig {
        RedisConfig::default()
    }

    /// A bus at the server of a client that you have: address, database, user, password and certificates are the client's. The client is
    /// left as it is, also when the bus closes.
    ///
    /// # Errors
    /// As [`RedisConfig::connect`], and where the settings name a server, too.
    pub async fn from_client(client: redis::Client, config: RedisConfig) -> Result<Self> {
        Self::from_config(config, Some(client)).await
    }

    pub(crate) async fn from_config(config: RedisConfig, client: Option<redis::Client>) -> Result<Self> {
        let settings = RemoteSettings {
            publish_timeout: config.publish_timeout,
            close_timeout: config.close_timeout,
            hold: config.hold,
            max_in_flight: config.max_in_flight,
            max_in_flight_bytes: config.max_in_flight_bytes,
            reporter: Reporter::new(),
        };
        let (again, mut failures) = (config.again(), 0);
        loop {
            // In a box: as a part of its caller's future it is nested so deeply that compilers give up.
            match Box::pin(RedisBroker::connect(config.clone(), client.clone(), settings.reporter.clone())).await {
                Ok(broker) => return Ok(Self(RemoteBus::new(broker, settings))),
                Err(error) if config.retry_on_connect && error.is_retryable() => {
                    failures += 1;
                    let wait = again.delay(failures, rand::random());
                    tracing::warn!(target: "eventbus", %error, ?wait, "connecting to Redis failed, trying again");
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error.during("connect")),
            }
        }
    }
}
