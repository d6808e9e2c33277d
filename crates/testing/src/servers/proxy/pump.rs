//! Carries the bytes of one connection through the weather.

use super::Weather;
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// How many bytes are carried at once.
const CHUNK: usize = 64 * 1024;
/// No limit on the bytes of answers.
const UNLIMITED: u64 = u64::MAX;

/// What has gone through a proxy.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) open: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
    /// How many more bytes of answers pass before a connection is closed.
    answers_left: AtomicU64,
}

/// Counts a connection as open, until it is dropped.
pub(super) struct Open<'a>(&'a Traffic);

impl Default for Traffic {
    fn default() -> Self {
        Self {
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            answers_left: AtomicU64::new(UNLIMITED),
        }
    }
}

impl Traffic {
    pub(super) fn entered(&self) -> Open<'_> {
        self.accepted.fetch_add(1, SeqCst);
        self.open.fetch_add(1, SeqCst);
        Open(self)
    }

    /// Closes a connection after so many more bytes of answers, or none.
    pub(super) fn limit_answers(&self, bytes: Option<u64>) {
        self.answers_left.store(bytes.unwrap_or(UNLIMITED), SeqCst);
    }

    /// How many of so many bytes may go to a client. Whoever gets fewer closes its connection, and the limit is over.
    fn admit_answer(&self, read: usize) -> usize {
        let wanted = read as u64;
        let left_after = |left: u64| match left {
            UNLIMITED => UNLIMITED,
            left if left < wanted => UNLIMITED,
            left => left - wanted,
        };
        let Ok(before) = self.answers_left.fetch_update(SeqCst, SeqCst, |left| Some(left_after(left))) else { return read };
        before.min(wanted) as usize
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

impl Way {
    /// Whether bytes of a connection pass that was made after so many storms. None passes after another, however fair the weather is then:
    /// the connection is about to be closed.
    fn is_open(self, weather: &Weather, storms: u64) -> bool {
        let holds_back = match self {
            Self::Request => weather.holds_back_requests,
            Self::Answer => weather.holds_back_answers,
        };
        !holds_back && weather.storms == storms
    }
}

/// Carries bytes in both directions until both sides have finished, or one is gone.
pub(super) async fn carry(client: &mut TcpStream, server: &mut TcpStream, sky: watch::Receiver<Weather>, storms: u64, traffic: &Traffic) {
    // A proxy must not gather small writes that were meant to go at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let requests = pump(from_client, to_server, Way::Request, sky.clone(), storms, traffic);
    let answers = pump(from_server, to_client, Way::Answer, sky, storms, traffic);
    // An end of one direction is passed on, and the other goes on. A failure of one ends both.
    let _ = tokio::try_join!(requests, answers);
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut sky: watch::Receiver<Weather>,
    storms: u64,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let _ = sky.wait_for(|weather| way.is_open(weather, storms)).await;
        let read = from.read(&mut chunk).await?;
        let delay = sky.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // The weather may have changed since the read began.
        let _ = sky.wait_for(|weather| way.is_open(weather, storms)).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let admitted = match way {
            Way::Request => read,
            Way::Answer => traffic.admit_answer(read),
        };
        to.write_all(&chunk[..admitted]).await?;
        match way {
            Way::Request => traffic.to_server.fetch_add(admitted as u64, SeqCst),
            Way::Answer => traffic.to_client.fetch_add(admitted as u64, SeqCst),
        };
        if admitted < read {
            traffic.resets.fetch_add(1, SeqCst);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}
