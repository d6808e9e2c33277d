//! What an operator sees: metrics and spans at publish, fetch, process and settle.

use eventbus_core::{Bus, Event, HandlerError, Retry, Subscribe};
use eventbus_memory::MemoryBus;
use eventbus_testing::{Probe, settle};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing_subscriber::{Layer, layer::SubscriberExt as _, registry::LookupSpan};

/// Ten events, one of which fails twice and one of which is rejected; one publish is refused.
fn some_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let bus = MemoryBus::new();
        let probe = Probe::with(|ctx, event| async move {
            match *event.decode::<u64>().unwrap() {
                3 if ctx.attempt() < 3 => Err(HandlerError::retry("not yet")),
                7 => Err(HandlerError::reject("poison")),
                _ => Ok(()),
            }
        });
        let subscribe = Subscribe::to("a.*").name("worker").retry(Retry::fixed(Duration::from_secs(1)));
        bus.subscribe(subscribe, Arc::new(probe)).await.unwrap();
        for number in 0..10_u64 {
            bus.publish(Event::json("a.b", number).unwrap().with_id(number.to_string())).await.unwrap();
        }
        bus.publish(Event::json("a.b", 0_u64).unwrap().with_id("0")).await.unwrap();
        bus.publish(Event::json("a.b", 0_u64).unwrap().with_source("")).await.unwrap_err();
        settle(&bus, Duration::from_secs(60)).await.unwrap();
        let stats = bus.stats().await.unwrap();
        assert_eq!((stats.published, stats.refused, stats.duplicates), (10, 1, 1));
    });
}

/// One test, since whether a span is wanted is known to the whole process.
#[test]
fn every_step_is_counted_and_has_its_span() {
    let (recorder, spans) = (DebuggingRecorder::new(), Spans::default());
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(spans.clone())).unwrap();
    metrics::with_local_recorder(&recorder, some_work);
    the_counts_are_right(&recorder);
    the_spans_are_there(&spans);
}

fn the_counts_are_right(recorder: &DebuggingRecorder) {
    let counted: BTreeMap<String, f64> = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<String> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
            (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
        })
        .collect();
    let of = |name: &str, labels: &str| {
        let key = format!("eventbus_{name}{{backend=memory,{labels}}}");
        *counted.get(&key).unwrap_or_else(|| panic!("{key} is not among {counted:#?}"))
    };
    assert_eq!(of("published_total", "event_type=a.b"), 10.0);
    assert_eq!(counted["eventbus_refused_total{backend=memory}"], 1.0);
    assert_eq!(counted["eventbus_duplicates_total{backend=memory}"], 1.0);
    let worker = |name: &str| of(name, "subscription=worker");
    assert_eq!(worker("fetched_total"), 12.0);
    assert_eq!(worker("delivered_total"), 12.0);
    assert_eq!(worker("acked_total"), 9.0);
    assert_eq!(worker("retried_total"), 2.0);
    assert_eq!(worker("dead_lettered_total"), 1.0);
    assert_eq!(worker("dead_letter_failures_total"), 0.0);
    assert_eq!(worker("handling_seconds"), 12.0);
    assert_eq!(of("failed_total", "subscription=worker,kind=error"), 3.0);
    // These are set when statistics are read.
    for (name, value) in [("lag", 0.0), ("in_flight", 0.0), ("dropped_total", 0.0), ("oldest_unacknowledged_seconds", 0.0)] {
        assert_eq!(worker(name), value, "{name}");
    }
}

/// Counts spans by name.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: tracing_subscriber::layer::Context<'_, S>) {
        if attributes.metadata().target() == "eventbus" {
            *self.0.lock().unwrap().entry(attributes.metadata().name()).or_default() += 1;
        }
    }
}

fn the_spans_are_there(spans: &Spans) {
    let opened = spans.0.lock().unwrap().clone();
    assert_eq!(opened["publish"], 12);
    assert_eq!(opened["process"], 12);
    assert!(opened["receive"] >= 3 && opened["receive"] <= 12, "{opened:?}");
    assert!(opened["settle"] >= 3 && opened["settle"] <= 12, "{opened:?}");
}
