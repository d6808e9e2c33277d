//! Settings of a NATS bus.

mod check;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use self::{check::MIN_WINDOW, server::Server};

use crate::{NatsBus, credentials::Credentials};
use eventbus_core::{Error, Result};
use std::{fmt, path::PathBuf, time::Duration};

/// How the bus uses the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Events are kept in a JetStream stream and delivered at least once.
    #[default]
    JetStream,
    /// Events are plain messages: whoever is subscribed at that moment gets them, at most once. Settings of the stream, of leases and of
    /// acknowledgements are refused.
    Core,
}

/// Where a stream keeps its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In the memory of the server: gone when that restarts.
    Memory,
}

/// What a stream that has reached a limit of size does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Discard {
    /// It removes its oldest events.
    #[default]
    Old,
    /// It refuses new ones: publishing fails with [`ErrorKind::Full`](eventbus_core::ErrorKind::Full).
    New,
}

/// The settings of a [`NatsBus`]. Values are checked by [`connect`](Self::connect).
///
/// Every method is a parameter of the URL with the same name; the [crate documentation](crate) lists them.
///
/// What is said about the stream counts when the stream is made. A stream that is there already is left as it is: where it differs from
/// what was said, connecting fails with [`ErrorKind::Conflict`](eventbus_core::ErrorKind::Conflict), naming each difference. What was not
/// said is taken as it is found.
///
/// ```no_run
/// # async fn f() -> Result<(), eventbus_core::Error> {
/// use eventbus_nats::NatsBus;
/// use std::time::Duration;
/// let bus = NatsBus::builder()
///     .server("nats://one:4222")
///     .server("nats://two:4222")
///     .credentials_file("/etc/shop/nats.creds")
///     .prefix("shop")
///     .max_age(Duration::from_secs(7 * 24 * 3600))
///     .replicas(3)
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a bus exists only after `connect`"]
pub struct NatsConfig {
    pub(crate) servers: Vec<Server>,
    /// The first server that could not be read, told when connecting.
    pub(crate) fault: Option<Error>,
    pub(crate) credentials: Credentials,
    pub(crate) tls: Tls,
    pub(crate) name: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) prefix: String,
    pub(crate) inbox_prefix: String,
    pub(crate) stream: StreamSettings,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect_wait: Duration,
    pub(crate) max_reconnects: Option<usize>,
    pub(crate) retry_on_connect: bool,
    pub(crate) ping_interval: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) close_timeout: Duration,
    /// `None` where it was not said.
    pub(crate) lease: Option<Duration>,
    pub(crate) confirmed_acks: bool,
    pub(crate) atomic: bool,
    pub(crate) hold: Option<usize>,
    pub(crate) max_payload: Option<usize>,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_bytes: usize,
}

/// What a connection by TLS needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) first: bool,
}

/// What was said about the stream. `None` where nothing was.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamSettings {
    pub(crate) name: Option<String>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_msgs: Option<u64>,
    pub(crate) replicas: Option<usize>,
    pub(crate) storage: Option<Storage>,
    pub(crate) discard: Option<Discard>,
    pub(crate) dedup_window: Option<Duration>,
    pub(crate) max_dead_letters: Option<u64>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            fault: None,
            credentials: Credentials::default(),
            tls: Tls::default(),
            name: None,
            mode: Mode::default(),
            prefix: "events".to_owned(),
            inbox_prefix: "_INBOX".to_owned(),
            stream: StreamSettings::default(),
            connect_timeout: Duration::from_secs(10),
            reconnect_wait: Duration::from_secs(2),
            max_reconnects: Some(10),
            retry_on_connect: false,
            ping_interval: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            lease: None,
            confirmed_acks: false,
            atomic: false,
            hold: None,
            max_payload: None,
            max_in_flight: 4096,
            max_in_flight_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Where the server is, and how to sign in.
impl NatsConfig {
    /// Adds a server by its address, `nats://host:port` or `tls://host:port`. What else may stand in the URL of a bus may not stand here.
    /// Several are tried in turn, and those that the servers themselves tell of are found. Default `nats://127.0.0.1:4222`.
    pub fn server(mut self, url: &str) -> Self {
        match Server::read(url) {
            Ok(servers) => self.servers.extend(servers),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Signs in with a user and a password.
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials.user = Some((user.into(), password.into().into()));
        self
    }

    /// Signs in with a token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.credentials.token = Some(token.into().into());
        self
    }

    /// Signs in with a credentials file, as `nsc` writes it.
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials.credentials_file = Some(path.into());
        self
    }

    /// Signs in with an nkey, whose seed is in this file.
    pub fn nkey_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials.nkey_file = Some(path.into());
        self
    }

    /// Trusts the certificate authorities in this PEM file, instead of those of the system.
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca_file = Some(path.into());
        self
    }

    /// Shows the client certificate in this PEM file.
    pub fn tls_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.cert_file = Some(path.into());
        self
    }

    /// The private key of the client certificate, a PEM file.
    pub fn tls_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key_file = Some(path.into());
        self
    }

    /// Begins with TLS at once, for servers with `handshake_first`.
    pub fn tls_first(mut self, first: bool) -> Self {
        self.tls.first = first;
        self
    }

    /// What the connection is called at the server. Default the name of the program.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long making one connection may take, with everything that follows until the bus is ready. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait between attempts to reconnect. The first comes at once, and every wait is shortened at random, so that clients do
    /// not come all together. Default 2 s.
    pub fn reconnect_wait(mut self, wait: Duration) -> Self {
        self.reconnect_wait = wait;
        self
    }

    /// How many attempts are made to reach each server again that was named; `None`, in the URL `unlimited`, never gives up. Default 10, which
    /// a single server that refuses connections has used up after 12 to 16 s.
    ///
    /// After the last one the bus has lost its server for good: publishing fails at once with
    /// [`ErrorKind::Unavailable`](eventbus_core::ErrorKind::Unavailable), which names this setting and is not worth another attempt, and
    /// subscriptions end with that error. It takes a new bus to go on.
    pub fn max_reconnects(mut self, attempts: impl Into<Option<usize>>) -> Self {
        self.max_reconnects = attempts.into();
        self
    }

    /// Whether the first connection, too, is tried again as a lost one is. Default no: `connect` fails.
    pub fn retry_on_connect(mut self, retry: bool) -> Self {
        self.retry_on_connect = retry;
        self
    }

    /// How often a connection on which nothing arrives is asked for a sign of life. After the second that is not answered it counts as
    /// lost. Default 10 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// What the subjects begin with on which replies arrive. Default `_INBOX`.
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = prefix.into();
        self
    }
}

/// The stream.
impl NatsConfig {
    /// How the server is used. Default [`Mode::JetStream`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What the subjects of events begin with: `{prefix}.{type}`. Default `events`; also the path of the URL.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The name of the stream. Default the prefix in capitals, with `_` for whatever a name may not hold.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream.name = Some(name.into());
        self
    }

    /// How old events may be; zero of any age. Default 24 h.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.stream.max_age = Some(age);
        self
    }

    /// How many bytes the stream may have; 0 any. Default 1 GiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.stream.max_bytes = Some(bytes);
        self
    }

    /// How many events the stream may have; 0 any. Default 1,000,000.
    pub fn max_msgs(mut self, events: u64) -> Self {
        self.stream.max_msgs = Some(events);
        self
    }

    /// On how many servers of a cluster each event is kept. Default 1.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.stream.replicas = Some(replicas);
        self
    }

    /// Where events are kept. Default [`Storage::File`].
    pub fn storage(mut self, storage: Storage) -> Self {
        self.stream.storage = Some(storage);
        self
    }

    /// What happens at `max_bytes` and `max_msgs`. Default [`Discard::Old`].
    pub fn discard(mut self, discard: Discard) -> Self {
        self.stream.discard = Some(discard);
        self
    }

    /// For how long the same (source, id) is stored once: at least 100 ms, and no longer than `max_age`. Default 2 minutes, or `max_age` where
    /// that is shorter.
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.stream.dedup_window = Some(window);
        self
    }

    /// How many dead letters are kept. Default 10,000. A full store refuses further ones: their events stay and are tried again.
    pub fn max_dead_letters(mut self, letters: u64) -> Self {
        self.stream.max_dead_letters = Some(letters);
        self
    }
}

/// Publishing and consuming.
impl NatsConfig {
    /// How long a publish tries to reach the server. Default 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// How long a close waits for handlers. Default 30 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// For how long the server leaves an event of a group with a member that gives no sign of life. Members give one three times within it.
    /// Counts when the group is made. Default 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Whether every acknowledgement of a group is itself confirmed by the server. Without that, an acknowledgement on a connection that
    /// breaks may be lost, and its event comes again. Default no.
    pub fn confirmed_acks(mut self, confirmed: bool) -> Self {
        self.confirmed_acks = confirmed;
        self
    }

    /// Whether `publish_all` stores all of its events or none. Needs a server from 2.12. Default no.
    pub fn atomic(mut self, atomic: bool) -> Self {
        self.atomic = atomic;
        self
    }

    /// Holds back everything that is published until [`Bus::start`](eventbus_core::Bus::start), at most `capacity` events.
    pub fn hold(mut self, capacity: usize) -> Self {
        self.hold = Some(capacity);
        self
    }

    /// The largest payload accepted, in bytes. Default, and at most, what the server takes less the room that headers need.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// How many enqueued events may wait for their acknowledgement. Default 4096.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.max_in_flight = events;
        self
    }

    /// How many bytes of data enqueued events may have together while they wait for their acknowledgement. Default 64 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// Connects, and makes or checks the stream.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid), naming the setting, the value and the rule;
    /// [`Unavailable`](eventbus_core::ErrorKind::Unavailable) or [`Timeout`](eventbus_core::ErrorKind::Timeout) where no server can be reached,
    /// [`Denied`](eventbus_core::ErrorKind::Denied) where it refuses us, [`Conflict`](eventbus_core::ErrorKind::Conflict) where the stream is
    /// another than was said, [`Unsupported`](eventbus_core::ErrorKind::Unsupported) where the server lacks what was asked for.
    pub async fn connect(self) -> Result<NatsBus> {
        NatsBus::open(self).await
    }
}

impl fmt::Debug for NatsConfig {
    /// Shows no secrets: of the credentials only of which kind they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("servers", &self.servers)
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("mode", &self.mode)
            .field("prefix", &self.prefix)
            .field("inbox_prefix", &self.inbox_prefix)
            .field("stream", &self.stream)
            .field("connect_timeout", &self.connect_timeout)
            .field("reconnect_wait", &self.reconnect_wait)
            .field("max_reconnects", &self.max_reconnects)
            .field("retry_on_connect", &self.retry_on_connect)
            .field("ping_interval", &self.ping_interval)
            .field("publish_timeout", &self.publish_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("lease", &self.lease)
            .field("confirmed_acks", &self.confirmed_acks)
            .field("atomic", &self.atomic)
            .field("hold", &self.hold)
            .field("max_payload", &self.max_payload)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_in_flight_bytes", &self.max_in_flight_bytes)
            .finish_non_exhaustive()
    }
}
