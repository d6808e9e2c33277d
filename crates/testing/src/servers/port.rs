//! Ports for servers that come and go.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

/// Where ports are taken from: below those that the system gives to outgoing connections.
///
/// A server keeps its port while it is down. Were the port among those of outgoing connections, then a client that tries to reconnect could be
/// given that very port and, by a quirk of TCP, end up connected to itself.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// An address of this machine that nobody listens on, and that was not given out before by this process.
pub(super) fn free() -> SocketAddr {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new((RandomState::new().hash_one(0_u8) % u64::from(COUNT)) as u16));
    (0..COUNT)
        .map(|_| local(FIRST + NEXT.fetch_add(1, Relaxed) % COUNT))
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap_or_else(|| panic!("none of the ports from {FIRST} to {} is free", FIRST + COUNT - 1))
}

/// An address of this machine.
pub(super) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
