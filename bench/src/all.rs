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
    /// Why targets are missed where they are, as profiles show it; empty where none is.
    pub limits: &'static str,
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
        limits: "A channel does less: by callgrind `broadcast` takes about 600 instructions and 1 allocation for an event, Eventbus about \
                 2,450 and 3 (the event, its data, the future of the handler); the next part has what this run counted. Of the 2,450, \
                 publishing takes about 1,530: appending to the log and handing over 370, an id and a time 330, dropping what falls out \
                 of the log 290, the dedup window 125, the route 105, the rest the checks, the lock and the wake-up. Running a handler \
                 takes about 620, of which 270 are the call itself with its boxed future. The profile is flat, so 1.3 times the speed of \
                 a channel is out of reach for something that does these things; what can be had is in the order of a tenth. With more \
                 subscribers an event is shared and the gap closes: at 1→16 Eventbus is faster than a `tokio::sync::mpsc` for each. \
                 ruststream takes 2.2 times the instructions of Eventbus; where threads wake each other, which takes both the same, that \
                 is less of the whole.",
    },
    Part {
        name: "costs",
        title: "What an event costs",
        meaning: "Counted by callgrind from the publish to the acknowledgement, on one thread, so that it depends neither on the machine's \
                  speed nor on what else it does. `cargo xtask ci` fails where Eventbus gets more than 5 % more expensive.",
        limits: "",
    },
    Part {
        name: "latency",
        title: "Latency in process",
        meaning: "From before a publish until its handler runs, with 10,000 events in a second, against one hop through a channel. This is \
                  what a handler waits for while there is no queue; waking a thread is most of it.",
        limits: "Most of a hop is the scheduler of the machine waking a thread. On two cores that varies from round to round by more than \
                 the two sides differ: from run to run both percentiles have been found on either side of their targets.",
    },
    Part {
        name: "growth",
        title: "Growth",
        meaning: "Eventbus beside itself: what an event or a delivery costs with more subscriptions, more retained events, larger payloads. A \
                  ratio of 1 means that growth costs nothing.",
        limits: "",
    },
    Part {
        name: "codec",
        title: "CloudEvents as JSON",
        meaning: "One event of 1 KiB, written and read. Eventbus checks an event against the rules of the specification and keeps its data as \
                  the text it is; the SDK parses the data.",
        limits: "",
    },
    Part {
        name: "nats",
        title: "NATS",
        meaning: "A server on the same machine, which shares its cores with the clients. JetStream keeps its stream on disk. By hand means \
                  `async-nats` with the headers of a CloudEvent and an id that is stored once; ruststream sends an id too, strev sends none. \
                  Consuming is from the making of a group until its last event is handled, each acknowledged. What is counted in the client \
                  alone is counted by callgrind, without the server and the operating system.",
        limits: "Where two cores are shared with the server, what counts is the processor time of both. To publish, a client of Eventbus \
                 takes as many instructions as one by hand, as the rows of the client alone show, most of them in `async-nats` (its map of \
                 headers, with an allocation for each name, value and list, and its task). A batch of 4 KiB takes a few percent more time \
                 all the same: `publish_all` is given its 500 events before the first one leaves, and keeps them until they are \
                 acknowledged, to send them again, so they do not stay in the cache of the processor. A client by hand that keeps them, too, \
                 took 1.06 times the processor time of Eventbus in six turns, and the one measured here, which forgets them, 0.97. strev \
                 writes neither headers nor an id, so its events are neither CloudEvents nor stored once; that saves the client a quarter \
                 to a half of its instructions, and the server a tenth of its time. To consume, 24,000 of the 42,000 instructions (256 B) \
                 are `async-nats`, which reads the message and its headers, and 2,700 the headers being freed; 6,400 make an event of \
                 them, whose attributes are checked; 2,000 read its data; the rest is the engine, the acknowledgement, and the record of \
                 what is held, was settled and was given back, from which order and attempts are kept through a connection that is lost. \
                 By hand there is neither an event nor a record, which saves 9,000, and messages with less in their headers, as \
                 ruststream has them, take 17,500 in all.",
    },
    Part {
        name: "redis",
        title: "Redis",
        meaning: "A server on the same machine that keeps everything in memory. By hand means `redis` with a field for each attribute; the \
                  peers store fewer fields. Storing an event once is the default of Eventbus, and none of the peers does it (Redis itself can \
                  from 8.6, by `XADD … IDMP`); it is turned off where Eventbus is compared with them, and compared alone. Consuming by hand \
                  is XREADGROUP with COUNT 500 and one XACK.",
        limits: "On a machine with two cores the server has one of them, and what it does for an entry decides. By callgrind `redis-server` \
                 takes 19,000 instructions to add an entry of seven fields, as one of Eventbus has, and 13,100 for three fields or 10,300 \
                 for one, as those of sea-streamer, strev and ruststream have; to read one in a group it takes 20,100, or 12,500 for one \
                 field. In the client most of it is the library, which reads an answer value by value: 20,000 and 4,900 of 40,000 instructions to \
                 consume (256 B); 5,800 make an event of the fields. So a multiple of their speed is out of reach while the attributes are \
                 fields that other clients can read. sea-streamer \
                 acknowledges by a timer and not what was handled. Storing once is a script, with which an entry takes the server 52,100 instructions. With 4 KiB \
                 both sides take 55,000 to 58,000 instructions for an event, more than two thirds of them for its bytes, so sending many together gains \
                 little. In \
                 Pub/Sub both sides write and read the same JSON; with one subscriber the difference is the engine, a tenth of what the \
                 client does. Several subscriptions share one connection, on which each message comes and is decoded once.",
    },
];

/// The contest of this name, for a server at this URL.
#[must_use]
pub fn contest(name: &str, url: &str) -> Option<Contest> {
    let part = PARTS.iter().find(|part| part.has(name))?;
    part.contests(url).into_iter().find(|contest| contest.name == name)
}

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
