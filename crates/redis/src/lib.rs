//! The Redis backend of Eventbus: [`RedisBus`], over Redis 6.2 to 8 or Valkey.
//!
//! ```no_run
//! use eventbus_core::*;
//! use eventbus_redis::RedisBus;
//! use eventbus_runtime::BusExt;
//!
//! # async fn example() -> Result<()> {
//! let bus = RedisBus::connect("redis://127.0.0.1:6379?prefix=shop").await?;
//! bus.on(Subscribe::to("order.*").group("billing"), |order: Event| async move { println!("{}", order.id()) }).await?;
//! bus.publish(Event::json("order.placed", 1)?).await?;
//! # bus.close().await }
//! ```
//!
//! # Modes
//!
//! - **Streams** (the default): events are entries of Redis streams. At least once, with groups, replay, redelivery, dead letters and
//!   deduplication.
//! - **Pub/Sub** (`mode=pubsub`): events are messages on channels. Whoever listens at that moment gets them, at most once. A subscription
//!   that cannot keep up drops what its buffer does not hold, and counts it. Groups, replay, retries and stored dead letters are refused
//!   where they are asked for; by default an event has one attempt, and one that fails is discarded and counted as dead-lettered.
//!
//! # What is promised, and under which conditions
//!
//! | promise | condition |
//! |---|---|
//! | `publish` is `Ok` once the server has stored the event | That is in its memory. On disk it is with `appendonly yes`, and before the answer only with `appendfsync always`; with Redis's `everysec` a crash of the machine loses about the last second, and without a file a restart loses everything. [`Bus::health`](eventbus_core::Bus::health) says which of these it is. |
//! | An acknowledged event survives the loss of its server | Only as far as a replica has it: replication is asynchronous. After a failover the last events may be missing, and acknowledgements too, so that some events come twice. `min-replicas-to-write` bounds the window to about two seconds more than `min-replicas-max-lag`. |
//! | The same (source, id) is stored once | Within `dedup_window`. Each event is remembered by a key of its own, of about 180 bytes for a UUID and a short source: 10,000 events a second and the default of two minutes make about 220 MB. |
//! | Every event is delivered to each group | While it is retained. What retention removed before it was delivered is counted as `lost_to_retention`, and reported. Events are trimmed as others are published, so an idle stream keeps them for longer. For groups the count is exact, for other subscriptions from Redis 7.0 on. |
//! | Attempts are counted, also across crashes | By the server's own delivery count. What a member loses with its connection is given to it again without counting. |
//! | Order | With `partitions=1` of all events. With more, of each [ordering key](eventbus_core::Event::ordering_key); [`Ordering::Strict`](eventbus_core::Ordering::Strict), which is the default of a subscription, is then refused. Each member of a group keeps the order of what it gets; for that of a whole group let it have one member. |
//! | A handler slower than the lease keeps its delivery | The lease is renewed three times within it, and an acknowledgement after it is lost settles nothing: the server compares its own clock. |
//! | A position of the log can be asked for by number | With `partitions=1`: the number is the entry's id, its milliseconds in the upper 42 bits. |
//!
//! A group that an operator deletes is made again where it stood, from a position that is noted each second; a stream that is deleted or
//! flushed is read from its new beginning. Either is reported through [`Bus::errors`](eventbus_core::Bus::errors).
//!
//! # URLs
//!
//! `redis://[user:password@]host[:port][,host[:port]…][/database][?parameter=value&…]`; `rediss://` encrypts. Several hosts are Sentinels
//! or nodes of a cluster. Every parameter is a method of [`RedisConfig`] too:
//!
//! | parameter | default | |
//! |---|---|---|
//! | `mode` | `streams` | or `pubsub`, beside which what is about streams and their leases is refused |
//! | `prefix` | `events` | what all keys and channels begin with |
//! | `partitions` | 1 | streams that events are spread over; fixed when the prefix is used first |
//! | `database` | 0 | also as the path |
//! | `tls_ca`, `tls_cert`, `tls_key` | – | files in PEM form; without `tls_ca` the system's authorities |
//! | `sentinel` | – | the name of the master; the hosts are Sentinels |
//! | `sentinel_user`, `sentinel_password` | – | at the Sentinels |
//! | `cluster` | `false` | the hosts are nodes of a cluster |
//! | `dedup_window` | `2m` | 0 turns it off |
//! | `idmp` | `off` | `on` or `auto`: the server's own deduplication, see [`Idmp`] |
//! | `max_age` | `24h` | how long events are retained; 0 without end |
//! | `max_msgs` | 1000000 | how many are, in each partition; 0 without end |
//! | `max_dead_letters` | 10000 | |
//! | `lease` | `30s` | how long a member may be silent until others take over |
//! | `connect_timeout` | `10s` | |
//! | `retry_on_connect` | `false` | whether the first connection is tried again, too |
//! | `response_timeout` | `10s` | a connection without an answer for so long is lost |
//! | `reconnect_wait`, `max_reconnect_wait` | `100ms`, `2s` | between attempts to connect again, growing, with jitter |
//! | `publish_timeout`, `close_timeout` | `30s` | |
//! | `max_in_flight`, `max_in_flight_bytes` | 4096, `64MiB` | enqueued events that wait for their acknowledgement |
//! | `max_payload` | `1MiB` | |
//! | `hold` | – | hold back so many events until `start` |
//!
//! # Keys and channels
//!
//! | name | what it is |
//! |---|---|
//! | `{prefix}:0`, `{prefix}:1`, … | the streams, one for each partition |
//! | `{prefix}:dlq` | the dead letters |
//! | `{prefix}:layout` | the number of partitions |
//! | `{{prefix}:0}:once:…` | what was stored within the dedup window |
//! | `{{prefix}:0}:group:…`, `:retry:…`, `:members:…` | beside a group: its declaration, what waits to be tried again, who is there |
//! | `{prefix}:reply:…` | channels of replies to requests |
//! | `{prefix}:{type}` | channels of events in Pub/Sub mode |
//!
//! The outer braces are the hash tag with which Redis Cluster keeps a stream and its companions on one node. An event without partition key
//! and subject is placed by its id; the partition of a key is the FNV-1a hash (64 bits) of it, modulo the number of partitions.
//!
//! # Servers
//!
//! Redis 6.2 or later, or Valkey; an older one is refused when connecting. Scripts (`EVALSHA`) do what must happen in one step. With access
//! rules a user needs the keys and channels above, the commands of streams, sorted sets, hashes, strings, scripts and Pub/Sub, and
//! `INFO`, `PING`, `CLIENT ID` and `CLIENT UNBLOCK`; without `CONFIG GET` health has fewer warnings.
//!
//! While a slot of a cluster moves, its partition waits. Features: `tls`, `sentinel`, `cluster`.

mod broker;
mod bus;
mod config;
mod connect;
mod ear;
mod encode;
mod entry;
mod error;
mod health;
mod letters;
mod link;
mod names;
mod publish;
mod replies;
mod reply;
mod retained;
mod script;
mod source;
mod tally;
mod trim;
mod url;

pub use self::{
    bus::RedisBus,
    config::{Idmp, Mode, RedisConfig},
};

/// The name of this backend in errors, metrics and spans.
const BACKEND: &str = "redis";
