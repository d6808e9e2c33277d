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
//! | `eventbus_lag` | gauge, set when statistics are read and the backend knows it | `backend`, `subscription` |
//! | `eventbus_oldest_unacknowledged_seconds` | gauge, set when statistics are read and the backend knows it | `backend`, `subscription` |
//!
//! Statistics are read by [`Bus::stats`](eventbus_core::Bus::stats): call it periodically, such as before each scrape. An unknown figure is
//! not 0, so it is not set.

use eventbus_core::{EventType, SubscriptionStats};
use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use std::time::Duration;

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
    pub(crate) handling: Histogram,
}

impl SubscriptionMetrics {
    /// The handles for a subscription of this name.
    pub(crate) fn new(backend: &'static str, subscription: &str) -> Self {
        let subscription = SharedString::from(subscription.to_owned());
        let counter = |name| counter!(name, "backend" => backend, "subscription" => subscription.clone());
        Self {
            fetched: counter("eventbus_fetched_total"),
            delivered: counter("eventbus_delivered_total"),
            acked: counter("eventbus_acked_total"),
            retried: counter("eventbus_retried_total"),
            dead_lettered: counter("eventbus_dead_lettered_total"),
            dead_letter_failures: counter("eventbus_dead_letter_failures_total"),
            dropped: counter("eventbus_dropped_total"),
            lost_to_retention: counter("eventbus_lost_to_retention_total"),
            in_flight: gauge!("eventbus_in_flight", "backend" => backend, "subscription" => subscription.clone()),
            handling: histogram!("eventbus_handling_seconds", "backend" => backend, "subscription" => subscription.clone()),
            backend,
            subscription,
        }
    }

    /// Sets what is only known when statistics are read.
    pub(crate) fn show(&self, stats: &SubscriptionStats) {
        self.in_flight.set(stats.in_flight as f64);
        // Exporters show a gauge from the moment it is made, so one whose value is unknown is not made.
        if let Some(lag) = stats.lag {
            self.gauge("eventbus_lag").set(lag as f64);
        }
        let nothing_waits = (stats.lag == Some(0)).then_some(Duration::ZERO);
        if let Some(oldest) = stats.oldest_unacknowledged.or(nothing_waits) {
            self.gauge("eventbus_oldest_unacknowledged_seconds").set(oldest.as_secs_f64());
        }
        self.dropped.absolute(stats.dropped);
        self.lost_to_retention.absolute(stats.lost_to_retention);
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        gauge!(name, "backend" => self.backend, "subscription" => self.subscription.clone())
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

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{Key, KeyName, Metadata, Recorder, Unit, atomics::AtomicU64, with_local_recorder};
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    };

    /// Keeps gauges, and nothing else.
    #[derive(Default)]
    struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let mut gauges = self.0.lock().unwrap();
            Gauge::from_arc(Arc::clone(gauges.entry(key.name().to_owned()).or_default()))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// The gauges after these statistics were read.
    fn shown(lag: Option<u64>, oldest: Option<Duration>) -> BTreeMap<String, f64> {
        let recorder = Gauges::default();
        let mut stats = SubscriptionStats::default();
        (stats.lag, stats.oldest_unacknowledged) = (lag, oldest);
        with_local_recorder(&recorder, || SubscriptionMetrics::new("test", "worker").show(&stats));
        let gauges = recorder.0.lock().unwrap();
        gauges.iter().map(|(name, value)| (name.clone(), f64::from_bits(value.load(Relaxed)))).collect()
    }

    #[test]
    fn an_unknown_figure_is_not_exported() {
        let (lag, oldest) = ("eventbus_lag", "eventbus_oldest_unacknowledged_seconds");
        let unknown = shown(None, None);
        assert!(!unknown.contains_key(lag) && !unknown.contains_key(oldest), "{unknown:?}");
        assert!(!shown(Some(3), None).contains_key(oldest));
        let known = shown(Some(3), Some(Duration::from_millis(1500)));
        assert_eq!((known[lag], known[oldest], known["eventbus_in_flight"]), (3.0, 1.5, 0.0));
        let idle = shown(Some(0), None);
        assert_eq!((idle[lag], idle[oldest]), (0.0, 0.0));
    }
}
