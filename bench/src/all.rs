//! All contests, in the order of the tables.

use crate::{codec, contest::Contest, costs, growth, in_process, latency, nats, redis};
use eventbus_testing::servers::{NatsServer, RedisServer};

/// A part of all contests.
pub struct Part {
    /// What the names of its contests begin with.
    pub name: &'static str,
    /// What it is called in the report.
    pub title: &'static str,
    /// What its rows mean for a user, as Markdown.
    pub meaning: &'static str,
}

/// All parts.
pub const PARTS: [Part; 7] = [
    Part {
        name: "in process",
        title: "In process",
        meaning: "Publishers → subscribers, 64 bytes of typed data, until the last handler has run, and nobody loses anything. Channels \
                  carry a value from one task to another and no more; an event of Eventbus has an id, a time, a type that is routed by \
                  patterns, a place in the log and in the dedup window, and is acknowledged or tried again. ruststream and strev carry JSON \
                  between their handlers, as is their way; the queues of ruststream have no bound. strev is compared with one publisher only: \
                  several on its full channel wait for each other forever.",
    },
    Part {
        name: "costs",
        title: "What an event costs",
        meaning: "Counted by callgrind from the publish to the acknowledgement, on one thread, so that it depends neither on the machine's \
                  speed nor on what else it does. `cargo xtask ci` fails where Eventbus gets more than 5 % dearer.",
    },
    Part {
        name: "latency",
        title: "Latency in process",
        meaning: "From before a publish until its handler runs, with 10,000 events in a second, against one hop through a channel. This is \
                  what a handler waits for while there is no queue; waking a thread is most of it.",
    },
    Part {
        name: "growth",
        title: "Growth",
        meaning: "Eventbus beside itself: what an event or a delivery costs with more subscriptions, more retained events, larger payloads. A \
                  ratio of 1 means that growth costs nothing.",
    },
    Part {
        name: "codec",
        title: "CloudEvents as JSON",
        meaning: "One event of 1 KiB, written and read. Eventbus checks an event against the rules of the specification and keeps its data as \
                  the text it is; the SDK parses the data.",
    },
    Part {
        name: "nats",
        title: "NATS",
        meaning: "A server on the same machine, which shares its cores with the clients. JetStream keeps its stream on disk. By hand means \
                  `async-nats` with the headers of a CloudEvent and an id that is stored once; ruststream sends an id too, strev sends none. \
                  Consuming is from the making of a group until its last event is handled, each acknowledged.",
    },
    Part {
        name: "redis",
        title: "Redis",
        meaning: "A server on the same machine that keeps everything in memory. By hand means `redis` with a field for each attribute; the \
                  peers store fewer fields. Storing an event once, which nobody else can, is turned off where Eventbus is compared with them \
                  and compared alone. Consuming by hand is XREADGROUP with COUNT 500 and one XACK.",
    },
];

/// A server of one contest, which ends with it, so that the next one finds nothing of it.
pub enum Server {
    /// In process there is none.
    None,
    /// With JetStream, which keeps its streams on disk.
    Nats(NatsServer),
    /// Which keeps everything in memory.
    Redis(RedisServer),
}

impl Server {
    /// Its URL; empty where there is none.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Nats(server) => server.url(),
            Self::Redis(server) => server.url(),
        }
    }
}

impl Part {
    /// Whether a contest of this name is one of its.
    #[must_use]
    pub fn has(&self, contest: &str) -> bool {
        contest.starts_with(self.name)
    }

    /// A server for one of its contests.
    pub async fn server(&self) -> Server {
        match self.name {
            "nats" => Server::Nats(NatsServer::start().await),
            "redis" => Server::Redis(RedisServer::builder().in_memory().start().await),
            _ => Server::None,
        }
    }

    /// Its contests, for a server at this URL.
    #[must_use]
    pub fn contests(&self, url: &str) -> Vec<Contest> {
        match self.name {
            "in process" => in_process::contests(),
            "costs" => costs::contests(),
            "latency" => latency::contests(),
            "growth" => growth::contests(),
            "codec" => codec::contests(),
            "nats" => nats::contests(url),
            _ => redis::contests(url),
        }
    }
}
