//! A TCP proxy between a client and a server, which can fail in the ways that a network does.

mod pump;

use self::pump::{Traffic, carry};
use super::port;
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// A proxy in this process: a client connects to its address, and what the client says goes to the server, and back.
///
/// It passes everything on until one of its faults is called for, and never alters a byte: what it holds back goes on after
/// [`heal`](Self::heal). It lives on the Tokio runtime that it was made on, and ends with its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    traffic: Arc<Traffic>,
    accepting: AbortHandle,
}

/// What becomes of connections and bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    refuses: bool,
    holds_back_requests: bool,
    holds_back_answers: bool,
    delay: Duration,
    /// Counts the times at which all connections were closed.
    storms: u64,
}

impl Proxy {
    /// A proxy to a server, or to where one will be.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = loop {
            // Somebody may be quicker.
            if let Ok(listener) = TcpListener::bind(port::free()).await {
                break listener;
            }
        };
        let address = listener.local_addr().unwrap_or_else(|error| panic!("the proxy has no address: {error}"));
        let (weather, sky) = watch::channel(Weather::default());
        let traffic = Arc::new(Traffic::default());
        let accepting = tokio::spawn(accept(listener, target, sky, Arc::clone(&traffic))).abort_handle();
        Self { address, weather, traffic, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL for a client, such as `nats://127.0.0.1:14222`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Closes all connections, and each new one at once, until [`heal`](Self::heal).
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.refuses = true;
            weather.storms += 1;
        });
    }

    /// Closes all connections. New ones are fine.
    pub fn reset(&self) {
        self.weather.send_modify(|weather| weather.storms += 1);
    }

    /// Lets through what clients say, and nothing that the server answers, on connections old and new, until [`heal`](Self::heal). No
    /// connection is closed.
    ///
    /// A request whose answer is lost: this, then the request, then [`reset`](Self::reset) once it has
    /// [gone to the server](Self::bytes_to_server).
    pub fn half_open(&self) {
        self.weather.send_modify(|weather| weather.holds_back_answers = true);
    }

    /// Lets nothing through in either direction until [`heal`](Self::heal). No connection is closed, and new ones are accepted.
    pub fn stall(&self) {
        self.weather.send_modify(|weather| {
            weather.holds_back_requests = true;
            weather.holds_back_answers = true;
        });
    }

    /// Holds everything up for so long in each direction, until [`heal`](Self::heal).
    pub fn delay(&self, by: Duration) {
        self.weather.send_modify(|weather| weather.delay = by);
    }

    /// Closes a connection in the middle of an answer, once: the one on which clients have got so many more bytes from now on, all
    /// together.
    pub fn reset_after(&self, bytes_to_client: u64) {
        self.traffic.limit_answers(Some(bytes_to_client));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.traffic.limit_answers(None);
        self.weather.send_modify(|weather| *weather = Weather { storms: weather.storms, ..Weather::default() });
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.traffic.open.load(SeqCst)
    }

    /// How many connections have been accepted so far, without those that were closed at once.
    pub fn accepted(&self) -> u64 {
        self.traffic.accepted.load(SeqCst)
    }

    /// How many connections have been closed at once so far.
    pub fn refused(&self) -> u64 {
        self.traffic.refused.load(SeqCst)
    }

    /// How many connections it has closed so far that client and server would have kept.
    pub fn resets(&self) -> u64 {
        self.traffic.resets.load(SeqCst)
    }

    /// How many bytes of clients have reached the server so far.
    pub fn bytes_to_server(&self) -> u64 {
        self.traffic.to_server.load(SeqCst)
    }

    /// How many bytes of the server have reached clients so far.
    pub fn bytes_to_client(&self) -> u64 {
        self.traffic.to_client.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, sky: watch::Receiver<Weather>, traffic: Arc<Traffic>) {
    let mut connections = JoinSet::new();
    loop {
        // Those that are over are taken out, so that their number stays small.
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        if sky.borrow().refuses {
            traffic.refused.fetch_add(1, SeqCst);
            abort(&client);
            continue;
        }
        connections.spawn(serve(client, target, sky.clone(), Arc::clone(&traffic)));
    }
}

/// Carries one connection until a side ends it, or the weather does.
async fn serve(mut client: TcpStream, target: SocketAddr, mut sky: watch::Receiver<Weather>, traffic: Arc<Traffic>) {
    let _open = traffic.entered();
    let before = sky.borrow_and_update().storms;
    let weather = sky.clone();
    let storm = sky.wait_for(|now| now.storms != before);
    tokio::pin!(storm);
    let server = tokio::select! {
        _ = &mut storm => None,
        server = TcpStream::connect(target) => server.ok(),
    };
    let Some(mut server) = server else { return abort(&client) };
    tokio::select! {
        // What was held back until the storm does not get through because the weather is fair right after it.
        biased;
        _ = &mut storm => {
            traffic.resets.fetch_add(1, SeqCst);
            abort(&client);
            abort(&server);
        }
        () = carry(&mut client, &mut server, weather, before, &traffic) => {}
    }
}

/// Makes the end of a connection an abrupt one, as of a peer that is gone.
fn abort(connection: &TcpStream) {
    // Where that fails the connection ends in peace, which is an end, too.
    let _ = connection.set_zero_linger();
}
