//! Whether a server is ready, asked in its own protocol.

use serde_json::Value;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long a server that accepted a connection may take for its answer, before it is asked anew.
const ANSWER: Duration = Duration::from_secs(2);

/// When a server counts as ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    /// It answers a ping of a NATS client.
    Nats,
    /// It also answers a request to JetStream, where anyone may ask.
    JetStream,
    /// A stream with so many replicas can be made: the leader of the cluster has met enough of its members.
    Replicas(usize),
    /// It answers a ping of a Redis client and has loaded its data.
    Redis,
    /// It accepts connections. All that can be asked without a certificate.
    Listening,
}

impl Ready {
    /// Asks once. The error says what is missing.
    pub(super) async fn ask(self, address: SocketAddr) -> Result<(), String> {
        let answer = timeout(ANSWER, async {
            let mut connection = Connection::open(address).await?;
            match self {
                Self::Nats => connection.greet().await.map(drop),
                Self::JetStream => connection.jetstream(&[("INFO", String::new())]).await,
                Self::Replicas(count) => connection.jetstream(&probe(count)).await,
                Self::Redis => connection.ping_redis().await,
                Self::Listening => Ok(()),
            }
        });
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWER:?}")),
        }
    }
}

/// Makes a stream that is soon gone.
fn probe(replicas: usize) -> [(&'static str, String); 2] {
    let stream = format!(r#"{{"name":"readiness","subjects":["readiness.probe"],"storage":"memory","num_replicas":{replicas}}}"#);
    [("STREAM.CREATE.readiness", stream), ("STREAM.DELETE.readiness", String::new())]
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::other(format!("it answers {answer:?}"))
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    /// Greets a NATS server. Returns whether it lets everybody in.
    async fn greet(&mut self) -> io::Result<bool> {
        let line = self.line().await?;
        let info: Value = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str(info).ok()).ok_or_else(|| unexpected(&line))?;
        let is_set = |name: &str| info[name].as_bool().unwrap_or_default();
        // It lets in who has a certificate or a password, so this is all that it can be asked.
        if is_set("tls_required") || is_set("auth_required") {
            return Ok(false);
        }
        self.send("CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"readiness\"}\r\nPING\r\n").await?;
        self.until("PONG").await?;
        Ok(true)
    }

    /// Greets a NATS server and sends requests to JetStream, each of which must succeed.
    async fn jetstream(&mut self, requests: &[(&str, String)]) -> io::Result<()> {
        if !self.greet().await? {
            return Ok(());
        }
        self.send("SUB readiness.reply 1\r\n").await?;
        for (subject, payload) in requests {
            self.send(&format!("PUB $JS.API.{subject} readiness.reply {}\r\n{payload}\r\n", payload.len())).await?;
            self.until("MSG readiness.reply").await?;
            let answer = self.line().await?;
            // Such as that its cluster has no leader yet.
            if answer.contains("\"error\"") {
                return Err(unexpected(&answer));
            }
        }
        Ok(())
    }

    async fn ping_redis(&mut self) -> io::Result<()> {
        self.send("PING\r\n").await?;
        let line = self.line().await?;
        // Who needs a password for a ping gets no other answer.
        if line == "+PONG" || line.starts_with("-NOAUTH") { Ok(()) } else { Err(unexpected(&line)) }
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await
    }

    /// The next line, of a reasonable length.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(64 * 1024).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Reads up to a line that begins so.
    async fn until(&mut self, wanted: &str) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            if line.starts_with(wanted) {
                return Ok(());
            }
            if line.starts_with("-ERR") {
                return Err(unexpected(&line));
            }
        }
    }
}
