//! What a backend can do.

use std::time::Duration;

/// What a backend can do. `subscribe` refuses what its backend cannot, so that nothing is accepted and then ignored; the conformance
/// suite fails a backend that claims too much or too little.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The name of the backend, such as `memory`.
    pub backend: &'static str,
    /// Whether an accepted event is delivered until it is acknowledged or given up.
    pub at_least_once: bool,
    /// Whether accepted events outlive the process.
    pub persistent: bool,
    /// Whether subscriptions can join groups, whose members share the events. Where events are delivered at least once, a group is durable: it
    /// keeps its place while it has no members.
    pub groups: bool,
    /// Whether events published before a subscription was made can be delivered to it.
    pub replay: bool,
    /// Whether a replay can begin at a position of the log.
    pub replay_by_sequence: bool,
    /// Whether a replay can begin at a time.
    pub replay_by_time: bool,
    /// For how long the same (source, id) is stored once.
    pub dedup_window: Option<Duration>,
    /// Whether failed events come back after a delay, with their attempts counted.
    pub redelivery: bool,
    /// Whether events that were given up are kept and can be listed, redriven and removed.
    pub dead_letters: bool,
    /// Whether a full buffer can drop events, as [`Overflow`](crate::Overflow) describes.
    pub drops: bool,
    /// Whether requests are answered.
    pub requests: bool,
    /// Whether the bus can be built held, releasing events at [`start`](crate::Bus::start).
    pub hold: bool,
    /// Whether an acknowledgement is itself confirmed by the backend.
    pub confirmed_acks: bool,
    /// The largest payload that is accepted, in bytes.
    pub max_payload: usize,
}

impl Capabilities {
    /// A backend that can do nothing but deliver at most once, with payloads up to 1 MiB.
    #[must_use]
    pub const fn none(backend: &'static str) -> Self {
        Self {
            backend,
            at_least_once: false,
            persistent: false,
            groups: false,
            replay: false,
            replay_by_sequence: false,
            replay_by_time: false,
            dedup_window: None,
            redelivery: false,
            dead_letters: false,
            drops: false,
            requests: false,
            hold: false,
            confirmed_acks: false,
            max_payload: 1024 * 1024,
        }
    }

    /// A backend that can do everything, with a dedup window of two minutes and payloads up to 1 MiB.
    #[must_use]
    pub const fn all(backend: &'static str) -> Self {
        Self {
            at_least_once: true,
            persistent: true,
            groups: true,
            replay: true,
            replay_by_sequence: true,
            replay_by_time: true,
            dedup_window: Some(Duration::from_secs(120)),
            redelivery: true,
            dead_letters: true,
            drops: true,
            requests: true,
            hold: true,
            confirmed_acks: true,
            ..Self::none(backend)
        }
    }
}
