//! `nats-server` for a test.

use super::{
    node::{self, Node, Recipe},
    port,
    ready::Ready,
    server::{Shape, launch, server_methods},
    source::{Kind, NATS},
};
use std::{fmt::Write, net::SocketAddr, path::Path, time::Duration};
use tempfile::TempDir;

/// How long the servers of a cluster may take to find each other.
const MEETING: Duration = Duration::from_secs(30);
/// How often a cluster is started before that is a failure: now and then those of 2.10 find "no suitable peers" for
/// replicas, for as long as they run.
const CLUSTERS: u32 = 3;

/// A `nats-server` of a test's own, with JetStream, which the test may kill, pause and start again. Dropping it kills it.
#[derive(Debug)]
pub struct NatsServer {
    node: Node,
}

/// What a [`NatsServer`] is started with.
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `start` is called"]
pub struct NatsServerBuilder {
    port: Option<u16>,
    config: String,
    jetstream: Option<String>,
    durable: bool,
    ready: Option<Ready>,
}

impl NatsServer {
    /// Starts one with JetStream in a directory of its own.
    ///
    /// # Panics
    /// Where there is no server, with what to install, and where it does not get ready, with the end of its log.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with settings.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder { port: None, config: String::new(), jetstream: Some(String::new()), durable: false, ready: None }
    }

    /// Starts a cluster of so many servers, and returns when a stream can have a replica on each.
    ///
    /// # Panics
    /// As [`start`](Self::start) does.
    pub async fn cluster(size: usize) -> Vec<Self> {
        let mut tries = 1;
        loop {
            match Self::begin_cluster(size).await {
                Ok(servers) => return servers,
                Err(fault) if tries < CLUSTERS => eprintln!("{fault}\nanother cluster is started"),
                Err(fault) => panic!("{fault}"),
            }
            tries += 1;
        }
    }

    async fn begin_cluster(size: usize) -> Result<Vec<Self>, String> {
        let routes: Vec<SocketAddr> = (0..size).map(|_| port::free()).collect();
        let known = routes.iter().map(|route| format!("nats://{route}")).collect::<Vec<_>>().join(", ");
        let mut servers = Vec::with_capacity(size);
        for route in &routes {
            let config = format!("cluster {{ name: \"tests\", listen: \"{route}\", routes: [{known}] }}");
            let mut builder = Self::builder().config(&config);
            // JetStream answers once there is a leader, which needs the others.
            builder.ready = Some(Ready::Nats);
            servers.push(builder.start().await);
        }
        for server in &servers {
            server.node.wait_for(Ready::JetStream, MEETING).await?;
        }
        if let Some(server) = servers.first() {
            server.node.wait_for(Ready::Replicas(size), MEETING).await?;
        }
        Ok(servers)
    }

    /// Its URL, such as `nats://127.0.0.1:14222`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }
}

server_methods!(NatsServer);

impl NatsServerBuilder {
    /// Adds text to its configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// Adds text to the block `jetstream` of its configuration file, such as `max_file_store: 10MB`.
    pub fn jetstream(mut self, text: &str) -> Self {
        let lines = self.jetstream.get_or_insert_default();
        lines.push_str(text);
        lines.push('\n');
        self
    }

    /// Leaves JetStream off.
    pub fn without_jetstream(mut self) -> Self {
        self.jetstream = None;
        self
    }

    /// Makes it write every message to the disk before it acknowledges it. A server before 2.10 cannot, and starts without.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Gives it this port, instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Panics
    /// As [`NatsServer::start`] does.
    pub async fn start(self) -> NatsServer {
        match launch(&self).await {
            Ok(node) => NatsServer { node },
            Err(fault) => panic!("{fault}"),
        }
    }

    fn text(&self, address: SocketAddr, directory: &Path) -> String {
        let mut text = format!("listen: \"{address}\"\nserver_name: \"test-{}\"\n", address.port());
        if let Some(jetstream) = &self.jetstream {
            // Streams reserve what they may take, and many of them share a server: far more than there is on any disk.
            let limits = "max_memory_store: 1TB\nmax_file_store: 1000TB";
            let sync = if self.durable { "sync_interval: always\n" } else { "" };
            let _ = writeln!(text, "jetstream {{\nstore_dir: {:?}\n{limits}\n{sync}{jetstream}}}", directory.join("data"));
        }
        text + &self.config
    }
}

impl Shape for NatsServerBuilder {
    fn kind(&self) -> &'static Kind {
        &NATS
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn recipe(&self, address: SocketAddr, directory: TempDir) -> Recipe {
        let config = node::write(&directory, "nats.conf", &self.text(address, directory.path()));
        let ready = if self.jetstream.is_some() { Ready::JetStream } else { Ready::Nats };
        Recipe { kind: &NATS, address, directory, arguments: vec!["-c".to_owned(), config], ready: self.ready.unwrap_or(ready) }
    }

    fn simpler(&self, fault: &str) -> Option<Self> {
        let is_old = self.durable && fault.contains("unknown field \"sync_interval\"");
        is_old.then(|| {
            eprintln!("this nats-server is older than 2.10 and cannot write every message to the disk at once; it starts without");
            Self { durable: false, ..self.clone() }
        })
    }
}
