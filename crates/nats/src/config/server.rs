//! The addresses of servers.

use eventbus_core::{Error, Result};
use eventbus_runtime::url::BusUrl;
use std::fmt;

/// The port of a server that says none.
const DEFAULT_PORT: u16 = 4222;

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) tls: bool,
    host: String,
    port: u16,
}

impl Server {
    /// The one of this machine.
    pub(super) fn local() -> Self {
        Self { tls: false, host: "127.0.0.1".to_owned(), port: DEFAULT_PORT }
    }

    /// Reads an address, or several with commas between.
    pub(super) fn read(url: &str) -> Result<Vec<Self>> {
        let url = BusUrl::parse(url)?;
        let servers = Self::of(&url)?;
        if url.user().is_some() || !matches!(url.path(), "" | "/") {
            return Err(Error::invalid(
                "server: it must be an address alone, such as nats://host:4222; use the methods of the builder for the rest",
            ));
        }
        url.finish()?;
        Ok(servers)
    }

    /// The servers that a URL names.
    pub(crate) fn of(url: &BusUrl) -> Result<Vec<Self>> {
        let tls = match url.scheme() {
            "nats" => false,
            "tls" => true,
            other => return Err(Error::invalid(format!("scheme {other}: it must be nats or tls")).during("connect")),
        };
        if url.hosts().is_empty() {
            return Err(Error::invalid("a URL needs a host, as in nats://127.0.0.1:4222").during("connect"));
        }
        Ok(url.hosts().iter().map(|(host, port)| Self { tls, host: host.clone(), port: port.unwrap_or(DEFAULT_PORT) }).collect())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "tls" } else { "nats" }, self.host, self.port)
    }
}
