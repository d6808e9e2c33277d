//! Making connections: to one server, to the master that Sentinels name, or to the node of a cluster that has a key.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "sentinel")]
mod sentinel;

use crate::{RedisConfig, error};
use eventbus_core::{Error, ErrorKind, Result};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, Value,
    aio::MultiplexedConnection,
    cmd,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use std::{fmt, time::Duration};

/// The port of a Redis server.
const PORT: u16 = 6379;

/// A password. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// What is shown instead.
    pub(crate) const SHOWN: &'static str = "…";

    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}

/// Makes connections.
pub(crate) struct Connector {
    place: Place,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// Where the server is.
enum Place {
    At(Box<Client>),
    #[cfg(feature = "sentinel")]
    Named(Box<sentinel::Master>),
    #[cfg(feature = "cluster")]
    Spread(Box<cluster::Nodes>),
}

/// What is the same for every server of a bus: who asks, and how.
#[derive(Clone)]
pub(crate) struct Access {
    login: RedisConnectionInfo,
    tcp: TcpSettings,
    tls: bool,
    #[cfg(feature = "tls")]
    certificates: redis::TlsCertificates,
}

impl Connector {
    /// Checks the settings that say where the server is. Connects to nothing yet.
    pub(crate) fn new(config: &RedisConfig, client: Option<Client>) -> Result<Self> {
        let place = match client {
            Some(client) => {
                config.check_names_no_server()?;
                Place::At(Box::new(prepared(&client)?))
            }
            None => Place::of(config)?,
        };
        Ok(Self { place, connect_timeout: config.connect_timeout, response_timeout: config.response_timeout })
    }

    /// A connection to the server that has this key, on which nothing blocks for longer than `patience` before its answer.
    pub(crate) async fn open(&self, key: &str, patience: Duration) -> Result<MultiplexedConnection> {
        self.open_with(key, self.settings().set_response_timeout(Some(patience + self.response_timeout)), ProtocolVersion::RESP2).await
    }

    /// A connection on which the server sends by itself, too, which goes to `receive`.
    pub(crate) async fn open_receiving(
        &self,
        receive: impl Fn(redis::PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection> {
        self.open_with("", self.settings().set_push_sender(receive), ProtocolVersion::RESP3).await
    }

    fn settings(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(1024)
    }

    async fn open_with(&self, key: &str, settings: AsyncConnectionConfig, protocol: ProtocolVersion) -> Result<MultiplexedConnection> {
        let opened = tokio::time::timeout(self.connect_timeout, async {
            let info = self.client(key).await?.get_connection_info().clone();
            let login = info.redis_settings().clone();
            let database = login.db();
            // The database is chosen here: the client's own handshake drops the word that tells a busy server from one without it.
            let info = info.set_redis_settings(login.set_protocol(protocol).set_db(0));
            let client = Client::open(info).map_err(|error| error::translate(&error))?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await.map_err(|error| refused(&error))?;
            if database != 0 {
                let chosen = connection.send_packed_command(cmd("SELECT").arg(database)).await.and_then(Value::extract_error);
                chosen.map_err(|error| refused(&error).with("database", database))?;
            }
            Ok(connection)
        });
        opened.await.unwrap_or_else(|_| Err(error::unavailable(format!("no connection to Redis within {:?}", self.connect_timeout))))
    }

    /// The client of the server that has this key now.
    async fn client(&self, key: &str) -> Result<Client> {
        let _ = key;
        match &self.place {
            Place::At(client) => Ok((**client).clone()),
            #[cfg(feature = "sentinel")]
            Place::Named(master) => master.find().await,
            #[cfg(feature = "cluster")]
            Place::Spread(nodes) => nodes.owner(key).await,
        }
    }

    /// Whether each key may be on another server.
    pub(crate) fn is_spread(&self) -> bool {
        #[cfg(feature = "cluster")]
        return matches!(self.place, Place::Spread(_));
        #[cfg(not(feature = "cluster"))]
        return false;
    }
}

fn refused(error: &redis::RedisError) -> Error {
    let translated = error::translate(error);
    if translated.kind() == ErrorKind::Unavailable { translated.caused_by(error.to_string()) } else { translated }
}

impl Place {
    fn of(config: &RedisConfig) -> Result<Self> {
        let access = Access::of(config)?;
        if let Some(master) = &config.sentinel {
            #[cfg(feature = "sentinel")]
            return Ok(Self::Named(Box::new(sentinel::Master::new(config, &access, master)?)));
            #[cfg(not(feature = "sentinel"))]
            return Err(feature_off("sentinel", master));
        }
        if config.cluster {
            #[cfg(feature = "cluster")]
            return Ok(Self::Spread(Box::new(cluster::Nodes::new(&addresses(config, PORT)?, access))));
            #[cfg(not(feature = "cluster"))]
            return Err(feature_off("cluster", "true"));
        }
        let mut addresses = addresses(config, PORT)?;
        let (host, port) = addresses.swap_remove(0);
        Ok(Self::At(Box::new(access.client(&host, port)?)))
    }
}

impl Access {
    fn of(config: &RedisConfig) -> Result<Self> {
        #[cfg(not(feature = "tls"))]
        if config.tls {
            return Err(feature_off("tls", "true"));
        }
        let mut login = RedisConnectionInfo::default().set_db(config.database.unwrap_or_default().into());
        if let Some(user) = &config.user {
            login = login.set_username(user);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.reveal());
        }
        Ok(Self {
            login,
            tcp: tcp(),
            tls: config.tls,
            #[cfg(feature = "tls")]
            certificates: certificates(config)?,
        })
    }

    /// The client of the server at this address.
    fn client(&self, host: &str, port: u16) -> Result<Client> {
        let address = if self.tls {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.to_owned(), port)
        };
        let info = address.into_connection_info().map_err(|error| error::translate(&error))?;
        let info = info.set_redis_settings(self.login.clone()).set_tcp_settings(self.tcp.clone());
        #[cfg(feature = "tls")]
        if self.tls {
            return Client::build_with_tls(info, self.certificates.clone()).map_err(|error| error::translate(&error));
        }
        Client::open(info).map_err(|error| error::translate(&error))
    }
}

/// The caller's client, on connections as this bus needs them. The client itself is left alone.
fn prepared(client: &Client) -> Result<Client> {
    let info: ConnectionInfo = client.get_connection_info().clone();
    Client::open(info.set_tcp_settings(tcp())).map_err(|error| error::translate(&error))
}

/// A connection that sends at once, and on which a peer that is gone is noticed also while nothing is sent.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// The addresses as host and port, at least one.
fn addresses(config: &RedisConfig, port: u16) -> Result<Vec<(String, u16)>> {
    if config.addresses.is_empty() {
        return Ok(vec![("127.0.0.1".to_owned(), port)]);
    }
    config.addresses.iter().map(|address| host_and_port(address, port)).collect()
}

fn host_and_port(address: &str, default: u16) -> Result<(String, u16)> {
    let refused = || Error::invalid(format!("address {address:?}: it must be a host or host:port")).during("connect");
    // An IPv6 address stands in brackets where a port follows.
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if address.matches(':').count() > 1 => (address, None),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| refused()))?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(refused());
    }
    Ok((host.to_owned(), port))
}

#[cfg(feature = "tls")]
fn certificates(config: &RedisConfig) -> Result<redis::TlsCertificates> {
    let read = |name: &str, file: &Option<std::path::PathBuf>| {
        let Some(file) = file else { return Ok(None) };
        let read = std::fs::read(file).map(Some);
        read.map_err(|fault| Error::invalid(format!("{name} {}: it cannot be read: {fault}", file.display())).during("connect"))
    };
    if config.tls && rustls::crypto::CryptoProvider::get_default().is_none() {
        // TLS needs one for the process. Whoever installed another has it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let client_tls = match (read("tls_cert", &config.tls_cert)?, read("tls_key", &config.tls_key)?) {
        (Some(client_cert), Some(client_key)) => Some(redis::ClientTlsConfig { client_cert, client_key }),
        _ => None,
    };
    Ok(redis::TlsCertificates { client_tls, root_cert: read("tls_ca", &config.tls_ca)? })
}

#[cfg(not(all(feature = "tls", feature = "sentinel", feature = "cluster")))]
fn feature_off(feature: &str, value: &str) -> Error {
    let message = format!("{feature} {value:?}: it needs the feature {feature:?} of the crate eventbus-redis, which is off");
    Error::new(ErrorKind::Unsupported, message).during("connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let read = |address: &str| host_and_port(address, 1).unwrap();
        assert_eq!(read("host"), ("host".to_owned(), 1));
        assert_eq!(read("host:7"), ("host".to_owned(), 7));
        assert_eq!(read("[::1]:7"), ("::1".to_owned(), 7));
        assert_eq!(read("[::1]"), ("::1".to_owned(), 1));
        assert_eq!(read("::1"), ("::1".to_owned(), 1));
        for bad in ["", "host:", "host:x", "host:99999", ":7", "a b"] {
            let error = host_and_port(bad, 1).unwrap_err().to_string();
            assert!(error.contains("address"), "{error}");
        }
    }
}
