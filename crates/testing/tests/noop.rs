//! The bus that delivers nothing.

use async_trait::async_trait;
use eventbus_core::{Bus, ErrorKind, Event, Retry, Subscribe};
use eventbus_testing::{
    NoopBus, Probe,
    conformance::{self, Fixture, Setup, Verdict},
    settle,
};
use std::{sync::Arc, time::Duration};

fn event(event_type: &str) -> Event {
    Event::json(event_type, 1).unwrap()
}

#[tokio::test]
async fn publishes_are_counted_and_nothing_is_delivered() {
    let (bus, probe) = (NoopBus::new(), Probe::new());
    bus.subscribe(Subscribe::to(">"), Arc::new(probe.clone())).await.unwrap();
    bus.publish(event("a")).await.unwrap();
    bus.enqueue(event("b")).await.unwrap().await.unwrap();
    bus.publish_all(vec![event("c"), event("d")]).await.into_iter().for_each(Result::unwrap);
    assert_eq!(bus.publish_count(), 4);
    assert_eq!(bus.stats().await.unwrap().published, 4);
    settle(&bus, Duration::from_secs(20)).await.unwrap();
    assert_eq!(probe.count(), 0);
}

#[tokio::test]
async fn what_no_bus_would_take_is_refused_and_not_counted() {
    let bus = NoopBus::new();
    assert_eq!(bus.publish(event("a").with_source("")).await.unwrap_err().kind(), ErrorKind::Invalid);
    let (limit, size) = (bus.capabilities().max_payload, bus.capabilities().max_payload + 1);
    let large = Event::builder("a").bytes("application/octet-stream", vec![0; size]).build().unwrap();
    assert_eq!(bus.publish(large).await.unwrap_err().kind(), ErrorKind::TooLarge { limit, size });
    let bad = Subscribe::to("a").retry(Retry::fixed(Duration::ZERO));
    assert_eq!(bus.subscribe(bad, Arc::new(Probe::new())).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(bus.publish_count(), 0);
}

#[tokio::test]
async fn its_subscriptions_end_like_others() {
    let bus = NoopBus::new();
    let subscribe = async |name: &str| bus.subscribe(Subscribe::to("a").name(name), Arc::new(Probe::new())).await.unwrap();
    let (closed, paused, left) = (subscribe("closed").await, subscribe("paused").await, subscribe("left").await);
    drop(subscribe("guarded").await.into_guard());
    closed.close().await.unwrap();
    closed.ended().await.unwrap();
    paused.pause();
    let stats = bus.stats().await.unwrap();
    let names: Vec<_> = stats.subscriptions.iter().map(|subscription| (subscription.name.as_str(), subscription.paused)).collect();
    assert_eq!(names, [("paused", true), ("left", false)]);
    bus.close().await.unwrap();
    left.ended().await.unwrap();
}

#[test]
fn it_closes_like_any_bus() {
    struct Silent;
    #[async_trait]
    impl Fixture for Silent {
        async fn bus(&self, _: &Setup) -> eventbus_core::Result<Arc<dyn Bus>> {
            Ok(Arc::new(NoopBus::new()))
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for name in [
        "publish::a_closed_bus_refuses_everything",
        "refusals::dead_letters_are_refused_where_there_are_none",
        "refusals::requests_are_refused_where_there_are_none",
    ] {
        let case = conformance::cases().iter().find(|case| case.name == name).unwrap();
        assert_eq!(runtime.block_on(conformance::check(Arc::new(Silent), case)), Verdict::Passed, "{name}");
    }
}
