//! Settings of a bus over Redis.

mod check;
mod shown;

use crate::{RedisBus, connect::Secret};
use eventbus_core::{Result, Retry};
use eventbus_runtime::url::BusUrl;
use std::{path::PathBuf, time::Duration};

/// What carries the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Redis Streams: stored, with groups, replay, redelivery and dead letters. At least once.
    #[default]
    Streams,
    /// Redis Pub/Sub: whoever listens gets it, nothing is stored. At most once. Settings of streams and of leases are refused.
    PubSub,
}

/// Whether the server itself stores an event once, by the idempotent `XADD … IDMP` of Redis 8.6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idmp {
    /// A script and a key for each event do it, on every server.
    #[default]
    Off,
    /// The server does it. Refused where the server cannot, and for a window that it cannot keep: it counts whole seconds, up to a day.
    On,
    /// The server does it where it can.
    Auto,
}

/// Builds a [`RedisBus`]. Values are checked by [`connect`](Self::connect).
///
/// ```no_run
/// # async fn example() -> eventbus_core::Result<()> {
/// use eventbus_redis::RedisBus;
/// use std::time::Duration;
/// let bus = RedisBus::builder().address("redis.internal:6379").prefix("shop").max_age(Duration::from_secs(3600)).connect().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a bus exists only after `connect`"]
pub struct RedisConfig {
    pub(crate) addresses: Vec<String>,
    pub(crate) database: Option<u32>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: bool,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) sentinel: Option<String>,
    pub(crate) sentinel_user: Option<String>,
    pub(crate) sentinel_password: Option<Secret>,
    pub(crate) cluster: bool,
    pub(crate) mode: Mode,
    pub(crate) prefix: String,
    pub(crate) partitions: u32,
    pub(crate) dedup_window: Duration,
    pub(crate) idmp: Idmp,
    pub(crate) max_age: Duration,
    pub(crate) max_msgs: u64,
    pub(crate) max_dead_letters: u64,
    pub(crate) lease: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) retry_on_connect: bool,
    pub(crate) response_timeout: Duration,
    pub(crate) reconnect_wait: Duration,
    pub(crate) max_reconnect_wait: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_bytes: usize,
    pub(crate) max_payload: usize,
    pub(crate) hold: Option<usize>,
    /// The first setting that was said and has a meaning only where events are kept. Its value may be the default all the same.
    of_streams: Option<&'static str>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            database: None,
            user: None,
            password: None,
            tls: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            sentinel: None,
            sentinel_user: None,
            sentinel_password: None,
            cluster: false,
            mode: Mode::Streams,
            prefix: "events".to_owned(),
            partitions: 1,
            dedup_window: Duration::from_secs(120),
            idmp: Idmp::Off,
            max_age: Duration::from_secs(24 * 60 * 60),
            max_msgs: 1_000_000,
            max_dead_letters: 10_000,
            lease: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            retry_on_connect: false,
            response_timeout: Duration::from_secs(10),
            reconnect_wait: Duration::from_millis(100),
            max_reconnect_wait: Duration::from_secs(2),
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            max_in_flight: 4096,
            max_in_flight_bytes: 64 * 1024 * 1024,
            max_payload: 1024 * 1024,
            hold: None,
            of_streams: None,
        }
    }
}

/// Where the server is, and who asks.
impl RedisConfig {
    /// The default settings, of a bus at 127.0.0.1.
    pub fn new() -> Self {
        Self::default()
    }

    /// A server as `host` or `host:port`; the port is 6379 unless it is given, of a Sentinel 26379. Several are the Sentinels, or nodes of
    /// the cluster from which the others are found. Left out, it is 127.0.0.1.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// The number of the database. Default 0.
    pub fn database(mut self, number: u32) -> Self {
        self.database = Some(number);
        self
    }

    /// The name of an ACL user. Left out, it is the server's `default`.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Encrypts the connections. Needs the feature `tls`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The file with the certificates (PEM) of those who may sign the server's. Left out, they are the system's.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_ca = Some(file.into());
        self
    }

    /// The file with the client's own certificate (PEM). Needs [`tls_key`](Self::tls_key), too.
    pub fn tls_cert(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_cert = Some(file.into());
        self
    }

    /// The file with the key (PEM) of the client's own certificate.
    pub fn tls_key(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_key = Some(file.into());
        self
    }

    /// The addresses are those of Sentinels, which tell where the master of this name is. Needs the feature `sentinel`.
    pub fn sentinel(mut self, master: impl Into<String>) -> Self {
        self.sentinel = Some(master.into());
        self
    }

    /// The name of the user at the Sentinels, where they want one.
    pub fn sentinel_user(mut self, name: impl Into<String>) -> Self {
        self.sentinel_user = Some(name.into());
        self
    }

    /// The password of the Sentinels, where they want one.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(Secret::new(password));
        self
    }

    /// The addresses are nodes of a Redis Cluster. Needs the feature `cluster`.
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// How long a connection may take to be made. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether the first connection, too, is tried again as a lost one is, for as long as it takes. Default no: `connect` fails.
    pub fn retry_on_connect(mut self, retry: bool) -> Self {
        self.retry_on_connect = retry;
        self
    }

    /// After which time without an answer a connection counts as lost. Default 10 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long to wait before a lost connection is made again, growing with each failure. Default 100 ms.
    pub fn reconnect_wait(mut self, wait: Duration) -> Self {
        self.reconnect_wait = wait;
        self
    }

    /// The longest wait between two attempts to make a lost connection again. Default 2 s.
    pub fn max_reconnect_wait(mut self, wait: Duration) -> Self {
        self.max_reconnect_wait = wait;
        self
    }
}

/// What the bus is like.
impl RedisConfig {
    /// What carries the events. Default [`Mode::Streams`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What the names of all keys and channels begin with. Default `events`. Buses with different prefixes share nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Over how many streams the events are spread, by their [ordering key](eventbus_core::Event::ordering_key). Default 1, which keeps
    /// one order of all events. It is fixed when a prefix is used first.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.of_streams.get_or_insert("partitions");
        self.partitions = partitions;
        self
    }

    /// For how long the same (source, id) is stored once. Default 2 minutes; zero turns it off.
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.of_streams.get_or_insert("dedup_window");
        self.dedup_window = window;
        self
    }

    /// Who stores an event once. Default [`Idmp::Off`]: setting the server's window empties what it remembers, for every publisher of the
    /// stream, and it remembers at most 10,000 ids of one source. It does not tell which events it had, so [`BusStats::duplicates`] counts
    /// none.
    ///
    /// [`BusStats::duplicates`]: eventbus_core::BusStats::duplicates
    pub fn idmp(mut self, idmp: Idmp) -> Self {
        self.of_streams.get_or_insert("idmp");
        self.idmp = idmp;
        self
    }

    /// How long events are retained. Default 24 hours; zero without end.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.of_streams.get_or_insert("max_age");
        self.max_age = age;
        self
    }

    /// How many events are retained, in each partition. Default 1,000,000; zero without end.
    pub fn max_msgs(mut self, events: u64) -> Self {
        self.of_streams.get_or_insert("max_msgs");
        self.max_msgs = events;
        self
    }

    /// How many dead letters are kept. Default 10,000. A full store refuses further ones: their events stay and are tried again.
    pub fn max_dead_letters(mut self, letters: u64) -> Self {
        self.of_streams.get_or_insert("max_dead_letters");
        self.max_dead_letters = letters;
        self
    }

    /// How long a member of a group may be silent until the others take over what it holds. Default 30 s. A handler may take longer: what
    /// runs is renewed three times within it.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.of_streams.get_or_insert("lease");
        self.lease = lease;
        self
    }

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

    /// How many enqueued events may wait for their acknowledgement. Default 4096.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.max_in_flight = events;
        self
    }

    /// How many bytes of data enqueued events may have that wait for their acknowledgement. Default 64 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// The largest payload accepted, in bytes. Default 1 MiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Holds back everything that is published until [`Bus::start`](eventbus_core::Bus::start), at most `capacity` events.
    pub fn hold(mut self, capacity: usize) -> Self {
        self.hold = Some(capacity);
        self
    }

    /// How long to wait before another attempt to connect.
    pub(crate) fn again(&self) -> Retry {
        Retry::exponential(self.reconnect_wait).max_delay(self.max_reconnect_wait.max(self.reconnect_wait)).forever()
    }

    /// The bus, connected.
    ///
    /// # Errors
    /// [`Invalid`](eventbus_core::ErrorKind::Invalid), naming the setting, the value and the rule;
    /// [`Denied`](eventbus_core::ErrorKind::Denied) for bad credentials; [`Unsupported`](eventbus_core::ErrorKind::Unsupported) for a server
    /// that is too old or a feature that is off; [`Conflict`](eventbus_core::ErrorKind::Conflict) where the prefix has another number of
    /// partitions; [`Unavailable`](eventbus_core::ErrorKind::Unavailable) where the server cannot be reached within the connect timeout.
    pub async fn connect(self) -> Result<RedisBus> {
        // In a box: as a part of its caller's future it is nested so deeply that compilers give up.
        Box::pin(RedisBus::from_config(self, None)).await
    }

    /// Reads the settings from a URL such as `redis://:secret@host:6379/0?prefix=shop`. Every method of this builder is a parameter of the
    /// same name.
    ///
    /// # Errors
    /// [`Invalid`](eventbus_core::ErrorKind::Invalid) for anything unknown or wrong, naming it.
    pub fn from_url(url: BusUrl) -> Result<Self> {
        crate::url::read(url)
    }
}
