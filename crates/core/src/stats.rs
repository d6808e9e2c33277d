//! The figures that answer "is anything lost, late or failing".

use std::time::Duration;

/// The figures of a bus since it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// Events accepted from publishers.
    pub published: u64,
    /// Events refused, for whatever reason.
    pub refused: u64,
    /// Events that were accepted but not stored again, since their (source, id) had been within the dedup window.
    pub duplicates: u64,
    /// Events now retained for replay, where the backend counts them.
    pub retained: Option<u64>,
    /// How many bytes they take there, as the backend measures it.
    pub retained_bytes: Option<u64>,
    /// How long ago the oldest of them was stored.
    pub oldest_retained: Option<Duration>,
    /// How long ago the newest of them was stored.
    pub newest_retained: Option<Duration>,
    /// Dead letters now kept, where the backend keeps them.
    pub dead_letters: Option<u64>,
    /// The subscriptions of this bus. Closed ones are not among them.
    pub subscriptions: Vec<SubscriptionStats>,
    /// The groups that the backend knows, also those without members.
    pub groups: Vec<GroupStats>,
}

/// The figures of one subscription since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Option<String>,
    /// Deliveries begun: every attempt counts.
    pub delivered: u64,
    /// Events acknowledged.
    pub acked: u64,
    /// Attempts that failed and were put back to be tried again.
    pub retried: u64,
    /// Events given up and stored, published or discarded as dead letters.
    pub dead_lettered: u64,
    /// Times that a dead letter could not be stored. The event stays, and storing is tried again.
    pub dead_letter_failures: u64,
    /// Events dropped because the buffer was full.
    pub dropped: u64,
    /// Events that retention removed before they were delivered.
    pub lost_to_retention: u64,
    /// Events now in a handler.
    pub in_flight: u64,
    /// Events not yet acknowledged, among them those in flight and those waiting to be tried again, where the backend counts them.
    pub lag: Option<u64>,
    /// How long the oldest event that is not acknowledged has waited, where the backend tells.
    pub oldest_unacknowledged: Option<Duration>,
    /// Whether the subscription is paused.
    pub paused: bool,
    /// How long handlers took, all attempts together. Divide by `delivered` for the mean.
    pub handling: Duration,
}

/// The figures of one group, over all of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Its name.
    pub name: String,
    /// Members now subscribed.
    pub members: u64,
    /// Events not yet acknowledged, among them those in flight and those waiting to be tried again.
    pub lag: u64,
    /// Events handed to members and not yet settled.
    pub in_flight: u64,
    /// How many of the events not yet acknowledged were delivered more than once, where the backend counts them.
    pub redelivered: Option<u64>,
    /// How long the oldest event that is not acknowledged has waited.
    pub oldest_unacknowledged: Option<Duration>,
}

impl BusStats {
    /// Events not yet acknowledged by some subscription or group that has members.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let ungrouped = self.subscriptions.iter().filter(|subscription| subscription.group.is_none());
        let grouped = self.groups.iter().filter(|group| group.members > 0);
        ungrouped.filter_map(|subscription| subscription.lag).sum::<u64>() + grouped.map(|group| group.lag).sum::<u64>()
    }
}

/// Whether the backend can be reached, and what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The state of the connection.
    pub state: HealthState,
    /// How long a round trip to the backend took; `None` where it could not be made.
    pub round_trip: Option<Duration>,
    /// The server's name and version, such as `nats-server 2.14.5`.
    pub server: Option<String>,
    /// What looks wrong, in words, such as a setting under which accepted events can be lost.
    pub warnings: Vec<String>,
}

/// The state of the connection to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// It works.
    #[default]
    Connected,
    /// The connection is lost and being made again.
    Reconnecting,
    /// The bus is closing: it delivers what it has and takes no more.
    Draining,
    /// The bus was closed.
    Closed,
}
