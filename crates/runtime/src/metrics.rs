//! What is counted, through the `metrics` facade. Without a recorder nothing happens; install one before the bus is used, since handles
//! are made once and kept.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `eventbus_published_total` | counter | `backend`, `event_type` |
//! | `eventbus_refused_total` | counter | `backend` |
//! | `eventbus_duplicates_total` | counter | `backend` |
//! | `eventbus_fetched_total` | counter | `backend`, `subscription` |
//! | `eventbus_delivered_total` | counter, every attempt | `backend`, `subscription` |
//! | `eventbus_acked_total` | counter | `backend`, `subscription` |
//! | `eventbus_retried_total` | counter | `backend`, `subscription` |
//! | `eventbus_failed_total` | counter, every failed attempt | `backend`, `subscription`, `kind`: error, panic, timeout, miscounted |
//! | `eventbus_dead_lettered_total` | counter | `backend`, `subscription` |
//! | `eventbus_dead_letter_failures_total` | counter | `backend`, `subscription` |
//! | `eventbus_handling_seconds` | histogram | `backend`, `subscription` |
//! | `eventbus_dropped_total` | counter, set when statistics are read | `backend`, `subscription` |
//! | `eventbus_lost_to_retention_total` | counter, set when statistics are read | `backend`, `subscription` |
//! | `eventbus_in_flight` | gauge, set when statistics are read | `backend`, `subscription` |
//! | `eventbus_lag` | gauge, set when statistics are read | `backend`, `subscription` |
//! | `eventbus_oldest_unacknowledged_seconds` | gauge, set when statistics are read | `backend`, `subscription` |

use eventbus_core::{EventType, SubscriptionStats};
use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

/// The handles of one subscription.
pub(crate) struct SubscriptionMetrics {
    backend: &'static str,
    subscription: SharedString,
    pub(crate) fetched: Counter,
    pub(crate) delivered: Counter,
    pub(crate) acked: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) dead_letter_failures: Counter,
    pub(crate) dropped: Counter,
    pub(crate) lost_to_retention: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) lag: Gauge,
    pub(crate) oldest: Gauge,
    pub(crate) handling: Histogram,
}

impl SubscriptionMetrics {
    /// The handles for a subscription of this name.
    pub(crate) fn new(backend: &'static str, subscription: &str) -> Self {
        let subscription = SharedString::from(subscription.to_owned());
        let counter = |name| counter!(name, "backend" => backend, "subscription" => subscription.clone());
        let gauge = |name| gauge!(name, "backend" => backend, "subscription" => subscription.clone());
        Self {
            fetched: counter("eventbus_fetched_total"),
            delivered: counter("eventbus_delivered_total"),
            acked: counter("eventbus_acked_total"),
            retried: counter("eventbus_retried_total"),
            dead_lettered: counter("eventbus_dead_lettered_total"),
            dead_letter_failures: counter("eventbus_dead_letter_failures_total"),
            dropped: counter("eventbus_dropped_total"),
            lost_to_retention: counter("eventbus_lost_to_retention_total"),
            in_flight: gauge("eventbus_in_flight"),
            lag: gauge("eventbus_lag"),
            oldest: gauge("eventbus_oldest_unacknowledged_seconds"),
            handling: histogram!("eventbus_handling_seconds", "backend" => backend, "subscription" => subscription.clone()),
            backend,
            subscription,
        }
    }

    /// Sets what is only known when statistics are read.
    pub(crate) fn show(&self, stats: &SubscriptionStats) {
        self.in_flight.set(stats.in_flight as f64);
        self.lag.set(stats.lag.unwrap_or_default() as f64);
        self.oldest.set(stats.oldest_unacknowledged.unwrap_or_default().as_secs_f64());
        self.dropped.absolute(stats.dropped);
        self.lost_to_retention.absolute(stats.lost_to_retention);
    }

    /// Counts a failed attempt.
    pub(crate) fn failed(&self, kind: &'static str) {
        counter!("eventbus_failed_total", "backend" => self.backend, "subscription" => self.subscription.clone(), "kind" => kind)
            .increment(1);
    }
}

/// The handle that counts what is published of one type.
pub fn published(backend: &'static str, event_type: &EventType) -> Counter {
    counter!("eventbus_published_total", "backend" => backend, "event_type" => event_type.as_str().to_owned())
}

/// The handle that counts what is refused.
pub fn refused(backend: &'static str) -> Counter {
    counter!("eventbus_refused_total", "backend" => backend)
}

/// The handle that counts duplicates.
pub fn duplicates(backend: &'static str) -> Counter {
    counter!("eventbus_duplicates_total", "backend" => backend)
}
