//! The master that Sentinels name. It is asked for again with every connection, so that a new one is found.

use super::{Access, addresses};
use crate::{RedisConfig, error};
use eventbus_core::Result;
use redis::{
    Client, ConnectionAddr, TlsMode,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

/// The port of a Sentinel.
const PORT: u16 = 26379;

pub(super) struct Master {
    sentinels: Mutex<SentinelClient>,
    access: Access,
}

impl Master {
    pub(super) fn new(config: &RedisConfig, access: &Access, name: &str) -> Result<Self> {
        let place = |(host, port): (String, u16)| match access.tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let places = addresses(config, PORT)?.into_iter().map(place);
        let build = || {
            let mut builder = SentinelClientBuilder::new(places, name, SentinelServerType::Master)?
                .set_client_to_redis_tcp_settings(access.tcp.clone())
                .set_client_to_sentinel_tcp_settings(access.tcp.clone());
            if let Some(user) = &config.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &config.password {
                builder = builder.set_client_to_redis_password(password.reveal());
            }
            if let Some(user) = &config.sentinel_user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = &config.sentinel_password {
                builder = builder.set_client_to_sentinel_password(password.reveal());
            }
            if access.tls {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
                #[cfg(feature = "tls")]
                {
                    builder = builder
                        .set_client_to_redis_certificates(access.certificates.clone())
                        .set_client_to_sentinel_certificates(access.certificates.clone());
                }
            }
            builder.build()
        };
        let sentinels = Mutex::new(build().map_err(|error| error::translate(&error))?);
        Ok(Self { sentinels, access: access.clone() })
    }

    /// The client of the server that is the master now, which it has said itself.
    pub(super) async fn find(&self) -> Result<Client> {
        let found = self.sentinels.lock().await.async_get_client().await;
        let found = found.map_err(|error| error::translate(&error))?;
        let info = found.get_connection_info().clone();
        // Who asks the master what it is needs no database.
        let login = info.redis_settings().clone().set_db(self.access.login.db());
        Client::open(info.set_redis_settings(login).set_tcp_settings(self.access.tcp.clone())).map_err(|error| error::translate(&error))
    }
}
