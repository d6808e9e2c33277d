//! Real servers for tests: `nats-server` and `redis-server`, and a proxy that makes the network between fail.
//!
//! [`nats()`] and [`redis()`] give the address of one server that all tests of a process share; each keeps to names of its own. A test that
//! kills, pauses or restarts its server starts a [`NatsServer`] or [`RedisServer`] of its own. A [`Proxy`] stands between a client and a
//! server, and cuts, stalls or delays what goes through.
//!
//! # Where the server comes from
//!
//! The first of these that there is:
//!
//! | | NATS | Redis |
//! |---|---|---|
//! | a running one (for the shared server alone) | `EVENTBUS_TEST_NATS_URL` | `EVENTBUS_TEST_REDIS_URL` |
//! | this program | `EVENTBUS_TEST_NATS_BINARY` | `EVENTBUS_TEST_REDIS_BINARY` |
//! | the program on `PATH` | `nats-server` | `redis-server` |
//! | a container of this image (feature `containers`) | `EVENTBUS_TEST_NATS_IMAGE` | `EVENTBUS_TEST_REDIS_IMAGE` |
//!
//! `EVENTBUS_TEST_SERVERS=container` leaves out the programs, `EVENTBUS_TEST_SERVERS=binary` the containers. Where there is no server, the
//! test fails and says what to install; it is never passed over.
//!
//! # What is left behind
//!
//! Nothing: a server listens on 127.0.0.1 on a port of its own, keeps its files in a temporary directory, and ends with the process of the
//! tests, however that ends.
//!
//! ```no_run
//! use eventbus_testing::servers::{NatsServer, Proxy};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let server = NatsServer::start().await;
//! let proxy = Proxy::to(server.address()).await;
//! // … connect to proxy.url("nats") and publish …
//! proxy.cut();
//! server.restart().await;
//! proxy.heal();
//! // … and see that nothing is lost.
//! # }
//! ```

#[cfg(feature = "containers")]
mod container;
mod guarded;
mod nats;
mod node;
mod port;
mod proxy;
mod ready;
mod redis;
mod server;
mod source;

pub use self::{
    guarded::memory_of,
    nats::{NatsServer, NatsServerBuilder},
    proxy::Proxy,
    redis::{RedisServer, RedisServerBuilder},
};

use self::{
    node::Node,
    server::{Shape, launch},
};
use tokio::sync::OnceCell;

/// The address of a NATS server with JetStream that all tests of this process share. It is started when it is first asked for.
///
/// # Panics
/// Where there is none, with what to install.
pub async fn nats() -> String {
    static SHARED: OnceCell<Result<Node, String>> = OnceCell::const_new();
    shared(&SHARED, &NatsServer::builder(), "nats").await
}

/// The address of a Redis server that all tests of this process share. It is started when it is first asked for, and keeps everything in
/// memory.
///
/// # Panics
/// Where there is none, with what to install.
pub async fn redis() -> String {
    static SHARED: OnceCell<Result<Node, String>> = OnceCell::const_new();
    shared(&SHARED, &RedisServer::builder().in_memory(), "redis").await
}

async fn shared(cell: &OnceCell<Result<Node, String>>, shape: &impl Shape, scheme: &str) -> String {
    if let Some(address) = source::address(shape.kind()) {
        return address;
    }
    match cell.get_or_init(|| launch(shape)).await {
        Ok(node) => format!("{scheme}://{}", node.address()),
        Err(fault) => panic!("{fault}"),
    }
}
