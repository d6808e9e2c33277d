//! `redis-server` for a test.

use super::{
    node::{self, Node, Recipe},
    ready::Ready,
    server::{Shape, launch, server_methods},
    source::{Kind, REDIS},
};
use std::{fmt::Write, net::SocketAddr};
use tempfile::TempDir;

/// A `redis-server` of a test's own, which the test may kill, pause and start again. Dropping it kills it.
///
/// It keeps an append-only file, synced each second as is Redis's default, so that what it has survives a restart.
#[derive(Debug)]
pub struct RedisServer {
    node: Node,
}

/// What a [`RedisServer`] is started with.
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `start` is called"]
pub struct RedisServerBuilder {
    port: Option<u16>,
    config: String,
    sync: Sync,
    tls: bool,
    sentinel: bool,
}

/// What it does to keep its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Never,
    EverySecond,
    Always,
}

impl RedisServer {
    /// Starts one with a directory of its own.
    ///
    /// # Panics
    /// Where there is no server, with what to install, and where it does not get ready, with the end of its log.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with settings.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder { port: None, config: String::new(), sync: Sync::EverySecond, tls: false, sentinel: false }
    }

    /// Its URL, such as `redis://127.0.0.1:16379`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }
}

server_methods!(RedisServer);

impl RedisServerBuilder {
    /// Adds text to its configuration file, which overrules what stands there before.
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// Makes it write everything to the disk before it answers.
    pub fn durable(mut self) -> Self {
        self.sync = Sync::Always;
        self
    }

    /// Keeps everything in memory: what it has is gone with its process.
    pub fn in_memory(mut self) -> Self {
        self.sync = Sync::Never;
        self
    }

    /// Gives it this port, instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Makes it a replica of another one.
    pub fn replica_of(self, primary: &RedisServer) -> Self {
        let primary = primary.address();
        self.config(&format!("replicaof {} {}\nrepl-diskless-sync-delay 0", primary.ip(), primary.port()))
    }

    /// Makes it a Sentinel that watches `primary` under a name, and fails over once `quorum` of them have missed it for a second.
    pub fn sentinel(mut self, name: &str, primary: &RedisServer, quorum: usize) -> Self {
        self.sentinel = true;
        let primary = primary.address();
        self.config(&format!(
            "sentinel monitor {name} {} {} {quorum}\nsentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000",
            primary.ip(),
            primary.port()
        ))
    }

    /// Makes its port speak TLS alone, with these files.
    pub fn tls(mut self, certificate: &std::path::Path, key: &std::path::Path, authority: &std::path::Path) -> Self {
        self.tls = true;
        let (certificate, key, authority) = (certificate.display(), key.display(), authority.display());
        self.config(&format!("tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority}"))
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Panics
    /// As [`RedisServer::start`] does.
    pub async fn start(self) -> RedisServer {
        match launch(&self).await {
            Ok(node) => RedisServer { node },
            Err(fault) => panic!("{fault}"),
        }
    }

    fn text(&self, address: SocketAddr, directory: &TempDir) -> String {
        let mut text = format!("bind {}\ndir {:?}\n", address.ip(), directory.path());
        let (plain, tls) = if self.tls { (0, address.port()) } else { (address.port(), 0) };
        let _ = writeln!(text, "port {plain}");
        if self.tls {
            let _ = writeln!(text, "tls-port {tls}");
        }
        if !self.sentinel {
            let (appends, sync) = match self.sync {
                Sync::Never => ("no", "no"),
                Sync::EverySecond => ("yes", "everysec"),
                Sync::Always => ("yes", "always"),
            };
            let _ = writeln!(text, "save \"\"\nappendonly {appends}\nappendfsync {sync}");
        }
        text + &self.config
    }
}

impl Shape for RedisServerBuilder {
    fn kind(&self) -> &'static Kind {
        &REDIS
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn recipe(&self, address: SocketAddr, directory: TempDir) -> Recipe {
        // Written once: a Sentinel writes into its own file, and into those of the servers that it watches.
        let config = node::write(&directory, "redis.conf", &self.text(address, &directory));
        let mut arguments = vec![config];
        if self.sentinel {
            arguments.push("--sentinel".to_owned());
        }
        let ready = if self.tls { Ready::Listening } else { Ready::Redis };
        Recipe { kind: &REDIS, address, directory, arguments, ready }
    }
}
