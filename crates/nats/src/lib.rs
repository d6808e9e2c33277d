//! The NATS backend of Eventbus: [`NatsBus`], on JetStream or on core NATS.
//!
//! ```no_run
//! # async fn f() -> Result<(), eventbus_core::Error> {
//! use eventbus_nats::NatsBus;
//! let bus = NatsBus::connect("nats://127.0.0.1:4222/shop?max_age=7d").await?;
//! # Ok(()) }
//! ```
//!
//! Servers from 2.9 are supported. One before 2.10 takes one filter for a subscription: of several patterns it is asked for a wider one, and
//! what is not wanted is passed over here. `atomic` needs 2.12.
//!
//! # JetStream
//!
//! The default. Events are messages of one stream under `{prefix}.{type}`, as CloudEvents in binary mode; structured ones are read, too.
//!
//! - **Publishing** is `Ok` when JetStream has acknowledged the event. An attempt whose outcome is unknown is made again under the same
//!   `Nats-Msg-Id`, which the stream takes once within its dedup window.
//! - **Without a group** a subscription reads the stream from its place on, by a consumer that acknowledges nothing. Place, attempts and
//!   what waits to be tried again live in the process.
//! - **A group** is a durable consumer, with what the group was declared as in its description. The server counts attempts, keeps delays and
//!   leases, and delivers again what a member does not acknowledge. Members extend their leases while handlers run. A member that leaves gives
//!   back what it has not begun, in order and without counting an attempt; that takes half a second, since its last request for events has to be
//!   over. For these counts there is a second stream, `{STREAM}_STATE`.
//! - **Dead letters** are in the stream `{STREAM}_DLQ` under `{prefix}-dlq.{type}`, made with the first of them, until they are redriven or
//!   removed.
//! - **Replies** to requests go to inboxes, which no stream keeps.
//!
//! ## What holds under which condition
//!
//! | promise | condition |
//! |---|---|
//! | an acknowledged event survives the death of the server's process | `storage=file` |
//! | it survives the loss of power | `sync_interval: always` in the server's settings; by default a server writes to the disk every 2 minutes, and a client cannot see that |
//! | it survives the loss of a server | `replicas=3` on servers of a cluster, of which two are left |
//! | it is delivered to every group | it is not removed before: `max_age`, and with `discard=old` also `max_bytes` and `max_msgs`, remove the oldest whether or not they were delivered |
//! | the same (source, id) is stored once | within `dedup_window` |
//! | an event is handled once | nobody promises that: it may come again where a member dies, a connection breaks before an acknowledgement has arrived, or a consumer is deleted and made again. `confirmed_acks` narrows the second |
//! | `Strict` and `PerKey` keep their order in a group | it has one member at a time: what a lost connection swallowed is then asked for again before anything newer. What a member had begun when it died comes again when its lease is over, behind what others get meanwhile |
//!
//! # Core mode
//!
//! With `mode=core` events are plain messages. Whoever is subscribed at that moment gets them, at most once: nothing is kept, tried again or
//! stored as a dead letter, and a subscription that asks for that is refused. By default an event has one attempt, and one that fails is
//! discarded and counted as dead-lettered. `Ok` means that the event has been written to the connection, with which it can still be lost. A
//! group is a queue group, which shares events as long as it has members. What does not fit into the buffer of a subscription is dropped and
//! counted: the oldest with `Overflow::DropOldest`, else the newest, since nothing can hold back publishers.
//!
//! # Parameters
//!
//! `nats://[user:password@]host[:port][,host…][/prefix][?parameter=value&…]`, or `tls://…`. A user without a password is a token. Each
//! parameter is a method of [`NatsConfig`] of the same name, too.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `mode` | `jetstream` | `jetstream` or `core`, beside which what is about the stream, its leases and acknowledgements is refused |
//! | `prefix` | `events` | what subjects begin with; also the path of the URL |
//! | `stream` | the prefix in capitals | the name of the stream |
//! | `max_age` | `24h` | how old events get; `0` of any age |
//! | `max_bytes` | `1GiB` | how large the stream gets; `0` of any size |
//! | `max_msgs` | `1000000` | how many events it has; `0` any number |
//! | `discard` | `old` | what happens at these two: `old` removes the oldest, `new` refuses to publish |
//! | `replicas` | `1` | on how many servers each event is kept |
//! | `storage` | `file` | `file` or `memory` |
//! | `dedup_window` | `2m` | for how long the same (source, id) is stored once; at least 100 ms, at most `max_age` |
//! | `max_dead_letters` | `10000` | how many dead letters are kept; a full store leaves further events where they are |
//! | `lease` | `30s` | for how long an event stays with a member of a group that gives no sign of life |
//! | `confirmed_acks` | `false` | whether acknowledgements are confirmed by the server |
//! | `atomic` | `false` | whether `publish_all` stores all or none, at most 1000 at once |
//! | `publish_timeout` | `30s` | how long a publish tries to reach the server |
//! | `close_timeout` | `30s` | how long a close waits for handlers |
//! | `hold` | none | how many events are held back until the start |
//! | `max_payload` | what the server takes, less 64 KiB for headers, or a quarter where that is less | the largest payload |
//! | `max_in_flight`, `max_in_flight_bytes` | `4096`, `64MiB` | how much that was enqueued may wait for its acknowledgement |
//! | `token`, `credentials_file`, `nkey_file` | none | credentials, beside user and password |
//! | `tls_ca`, `tls_cert`, `tls_key`, `tls_first` | those of the system, none, none, `false` | how TLS is set up |
//! | `name` | the program's | what the connection is called |
//! | `connect_timeout` | `10s` | how long making a connection may take |
//! | `retry_on_connect` | `false` | whether the first connection is tried again as a lost one is |
//! | `reconnect_wait` | `2s` | how long to wait between attempts |
//! | `max_reconnects` | `10` | how many attempts there are for each server before the bus gives up for good, with one server after 12 to 16 s; or `unlimited` |
//! | `ping_interval` | `10s` | how soon a connection that is silent is asked for a sign of life |
//! | `inbox_prefix` | `_INBOX` | what the subjects of replies begin with |
//!
//! Of the stream, only what was said is compared with one that is there already: where it differs, connecting fails with
//! [`ErrorKind::Conflict`](eventbus_core::ErrorKind::Conflict) and the stream stays as it is. What was not said is taken as it is found.

mod acks;
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
mod reply;
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
    /// Server, credentials, TLS and the name of the connection are the client's, and settings that say them, too, are refused. Those of
    /// connecting again, `ping_interval` and `inbox_prefix` have no effect. A client that has ended, since it was closed or has made its last
    /// attempt to reconnect, ends the subscriptions, and publishing fails with
    /// [`ErrorKind::Unavailable`](eventbus_core::ErrorKind::Unavailable). A refusal for want of permission is only told to the client's
    /// own event callback; here it looks as if the server did not answer.
    ///
    /// # Errors
    /// As [`NatsConfig::connect`], and where the settings name a server, too.
    pub async fn from_client(client: async_nats::Client, config: NatsConfig) -> Result<Self> {
        config.check().and_then(|()| config.check_names_no_server()).map_err(|error| error.during("connect"))?;
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
