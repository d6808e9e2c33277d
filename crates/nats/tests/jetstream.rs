//! What is particular to JetStream: the stream and its limits, groups as consumers, batches.

mod common;

use common::{config, is_before, jetstream, numbered, plain, publish_numbers, soon, stream, unique, until};
use eventbus_core::{Bus, DeadLetterFilter, ErrorKind, Event, HandlerError, HealthState, Retry, Start, Subscribe};
use eventbus_nats::{Discard, NatsBus, Storage};
use eventbus_testing::{Probe, servers::NatsServer, settle};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn two_services_with_the_same_url_share_a_stream() {
    let prefix = unique();
    let one = config(&prefix).await.max_age(Duration::from_secs(3600)).connect().await.unwrap();
    let two = config(&prefix).await.max_age(Duration::from_secs(3600)).connect().await.unwrap();
    let probe = Probe::new();
    two.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    one.publish(numbered("a", 1)).await.unwrap();
    probe.wait(1).await;
}

#[tokio::test]
async fn another_stream_is_a_conflict_that_names_each_difference_and_changes_nothing() {
    let prefix = unique();
    config(&prefix).await.max_age(Duration::from_secs(3600)).connect().await.unwrap();
    let other = config(&prefix).await.max_age(Duration::from_secs(60)).max_msgs(7).storage(Storage::Memory).discard(Discard::New);
    let error = other.connect().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for part in ["max_age: wanted 60s, found 3600s", "max_msgs: wanted 7, found 1000000", "storage: wanted memory, found file", "discard"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
    // What was not said is taken as it is.
    NatsBus::builder().server(&eventbus_testing::servers::nats().await).prefix(&prefix).connect().await.unwrap();
    let found = jetstream().await.get_stream(stream(&prefix)).await.unwrap().cached_info().config.clone();
    assert_eq!((found.max_age, found.max_messages), (Duration::from_secs(3600), 1_000_000));
}

#[tokio::test]
async fn a_stream_of_other_subjects_or_another_retention_is_a_conflict() {
    let prefix = unique();
    let taken =
        async_nats::jetstream::stream::Config { name: stream(&prefix), subjects: vec![format!("{prefix}-x.>")], ..Default::default() };
    jetstream().await.create_stream(taken).await.unwrap();
    let error = config(&prefix).await.connect().await.map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("subjects"), "{error}");
    // Another stream has the subjects.
    let error = config(&format!("{prefix}-x")).await.stream(format!("{}_OTHER", stream(&prefix))).connect().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_full_stream_refuses_where_it_was_told_to_and_takes_events_when_there_is_room() {
    let prefix = unique();
    let bus = config(&prefix).await.max_msgs(3).discard(Discard::New).connect().await.unwrap();
    publish_numbers(&bus, "a", 0..3).await;
    let error = bus.publish(numbered("a", 3)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}");
    let health = bus.health().await.unwrap();
    assert!(health.warnings.iter().any(|warning| warning.contains("3 of at most 3 events")), "{health:?}");
    jetstream().await.get_stream(stream(&prefix)).await.unwrap().purge().await.unwrap();
    bus.publish(numbered("a", 4)).await.unwrap();
}

#[tokio::test]
async fn a_full_stream_that_may_forget_forgets_the_oldest() {
    let bus = config(&unique()).await.max_msgs(3).connect().await.unwrap();
    publish_numbers(&bus, "a", 0..10).await;
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a").from(Start::Earliest), Arc::new(probe.clone())).await.unwrap();
    probe.wait(3).await;
    settle(&bus, common::PATIENCE).await.unwrap();
    assert_eq!(probe.numbers(), [7, 8, 9]);
}

#[tokio::test]
async fn any_group_name_is_a_group_of_its_own() {
    let bus = config(&unique()).await.connect().await.unwrap();
    let groups = ["billing", "Billing", "billing.eu", "billing eu", "a/b\\c", "*", ">", "größe 日本", &"x".repeat(255), &"ü".repeat(127)];
    let mut probes = Vec::new();
    for group in groups {
        let probe = Probe::new();
        bus.subscribe(Subscribe::to("a").group(group), Arc::new(probe.clone())).await.unwrap();
        probes.push(probe);
    }
    publish_numbers(&bus, "a", 0..3).await;
    for probe in &probes {
        probe.wait(3).await;
    }
    settle(&bus, common::PATIENCE).await.unwrap();
    assert!(probes.iter().all(|probe| probe.count() == 3));
    let mut named: Vec<String> = bus.stats().await.unwrap().groups.into_iter().map(|group| group.name).collect();
    let mut expected: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    named.sort();
    expected.sort();
    assert_eq!(named, expected, "groups are listed by their own names");
}

#[tokio::test]
async fn a_consumer_that_no_bus_made_is_left_alone() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    let theirs = async_nats::jetstream::consumer::pull::Config { durable_name: Some("g".to_owned()), ..Default::default() };
    jetstream().await.get_stream(stream(&prefix)).await.unwrap().create_consumer(theirs).await.unwrap();
    let error = bus.subscribe(Subscribe::to("a").group("g"), Arc::new(Probe::new())).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(bus.delete_group("g").await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(bus.stats().await.unwrap().groups.is_empty(), "it is no group");
}

#[tokio::test]
async fn several_patterns_are_filtered_by_servers_old_and_new() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    for patterns in [&["a.x", "b"][..], &["a.*", "*.y"], &["a.x", "a.y", "c.d.e"], &["a.*", "a.>", "a.x"]] {
        let expected: Vec<&str> = ["a.x", "a.y", "b", "b.y", "c.d.e", "d"]
            .into_iter()
            .filter(|name| {
                let event_type = eventbus_core::EventType::new(name).unwrap();
                patterns.iter().any(|pattern| eventbus_core::Pattern::new(pattern).unwrap().matches(&event_type))
            })
            .collect();
        let (alone, grouped) = (Probe::new(), Probe::new());
        let one = bus.subscribe(Subscribe::to(patterns), Arc::new(alone.clone())).await.unwrap();
        let member = bus.subscribe(Subscribe::to(patterns).group(patterns.join(" ")), Arc::new(grouped.clone())).await.unwrap();
        for name in ["a.x", "a.y", "b", "b.y", "c.d.e", "d"] {
            bus.publish(numbered(name, 1)).await.unwrap();
        }
        for probe in [&alone, &grouped] {
            probe.wait(expected.len()).await;
        }
        settle(&bus, common::PATIENCE).await.unwrap();
        for probe in [&alone, &grouped] {
            let seen: Vec<String> = probe.seen().iter().map(|seen| seen.event.event_type().to_string()).collect();
            assert_eq!(seen, expected, "{patterns:?}");
        }
        one.close().await.unwrap();
        member.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_leaving_member_gives_back_counts_no_attempt_and_stays_in_order() {
    let bus = config(&unique()).await.connect().await.unwrap();
    let group = || Subscribe::to("a").group("g");
    bus.subscribe(group(), Arc::new(Probe::new())).await.unwrap().close().await.unwrap();
    publish_numbers(&bus, "a", 0..50).await;
    // Members come and go, which wait for a batch that does not get full.
    for _ in 0..3 {
        let member = bus.subscribe(group().batch(100, Duration::from_secs(60)), Arc::new(NeverBegun)).await.unwrap();
        until("something to arrive", async || bus.stats().await.unwrap().groups[0].in_flight > 0).await;
        member.close().await.unwrap();
    }
    let probe = Probe::new();
    bus.subscribe(group(), Arc::new(probe.clone())).await.unwrap();
    probe.wait(50).await;
    settle(&bus, common::PATIENCE).await.unwrap();
    assert_eq!(probe.numbers(), (0..50).collect::<Vec<_>>());
    assert!(probe.seen().iter().all(|seen| seen.attempt == 1), "{:?}", probe.seen());
}

/// A handler that must not run.
struct NeverBegun;

#[eventbus_core::async_trait]
impl eventbus_core::Handler for NeverBegun {
    async fn handle(&self, _: &eventbus_core::Context, _: &Event) -> Result<(), HandlerError> {
        Err(HandlerError::retry("nothing was to begin"))
    }

    fn name(&self) -> &'static str {
        "never-begun"
    }
}

#[tokio::test]
async fn a_retry_in_another_members_hands_lets_its_successors_go() {
    let bus = config(&unique()).await.connect().await.unwrap();
    // Each fails the first time and the redelivery goes to whoever asks first, so that some of them go to the other member.
    let failing = || Probe::with(|ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry("first time")) } else { Ok(()) } });
    let (one, two) = (failing(), failing());
    let member = || Subscribe::to("a").group("g").retry(Retry::fixed(Duration::from_millis(20)));
    bus.subscribe(member(), Arc::new(one.clone())).await.unwrap();
    bus.subscribe(member(), Arc::new(two.clone())).await.unwrap();
    publish_numbers(&bus, "a", 0..10).await;
    until("all of them, twice", async || one.count() + two.count() == 20).await;
    settle(&bus, common::PATIENCE).await.unwrap();
}

#[tokio::test]
async fn all_or_none_are_stored_where_the_server_can() {
    let client = plain().await;
    let prefix = unique();
    let config = config(&prefix).await.atomic(true);
    if is_before(&client, 12) {
        let error = config.connect().await.map(drop).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("atomic"), "{error}");
        return;
    }
    let bus = config.connect().await.unwrap();
    let events = |range: std::ops::Range<u64>| range.map(|number| numbered("a", number).with_id(number.to_string())).collect::<Vec<_>>();
    assert!(bus.publish_all(events(0..100)).await.iter().all(Result::is_ok));
    assert_eq!(bus.stats().await.unwrap().retained, Some(100));
    // One that was stored before keeps out all.
    let results = bus.publish_all(events(99..150)).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict)), "{results:?}");
    assert_eq!(bus.stats().await.unwrap().retained, Some(100), "nothing of it was stored");
    let too_many = bus.publish_all(events(1000..2001)).await;
    assert!(too_many[0].as_ref().unwrap_err().to_string().contains("1000"));
    assert!(bus.publish_all(events(200..201)).await[0].is_ok(), "one event needs no batch");
}

#[tokio::test]
async fn atomic_is_refused_by_a_stream_that_was_made_without() {
    if is_before(&plain().await, 12) {
        return;
    }
    let prefix = unique();
    config(&prefix).await.connect().await.unwrap();
    let error = config(&prefix).await.atomic(true).connect().await.map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("atomic"), "{error}");
}

#[tokio::test]
async fn health_names_the_server_and_what_looks_wrong() {
    let bus = config(&unique()).await.connect().await.unwrap();
    let health = bus.health().await.unwrap();
    assert_eq!(health.state, HealthState::Connected);
    assert!(health.round_trip.is_some() && health.server.as_deref().unwrap().starts_with("nats-server 2."), "{health:?}");
    for part in ["one replica", "sync_interval"] {
        assert!(health.warnings.iter().any(|warning| warning.contains(part)), "{part}: {health:?}");
    }
    let in_memory = config(&unique()).await.storage(Storage::Memory).connect().await.unwrap();
    assert!(in_memory.health().await.unwrap().warnings.iter().any(|warning| warning.contains("in memory")));
}

#[tokio::test]
async fn a_server_without_jetstream_says_what_to_do() {
    let server = NatsServer::builder().without_jetstream().start().await;
    let error = NatsBus::connect(&server.url()).await.map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("mode=core"), "{error}");
    NatsBus::connect(&format!("{}?mode=core", server.url())).await.unwrap();
}

#[tokio::test]
async fn the_dead_letters_of_groups_and_of_readers_are_paged_through() {
    let bus = config(&unique()).await.connect().await.unwrap();
    let rejecting = || Probe::with(|_, _| async { Err(HandlerError::reject("no")) });
    bus.subscribe(Subscribe::to("a").group("g").concurrency(8), Arc::new(rejecting())).await.unwrap();
    let results = bus.publish_all((0..700).map(|number| numbered("a", number)).collect()).await;
    assert!(results.iter().all(Result::is_ok));
    let letters = bus.dead_letters().unwrap();
    until("all letters", async || bus.stats().await.unwrap().dead_letters == Some(700)).await;
    // More than a page, and with holes between.
    let listed = letters.list(DeadLetterFilter::all()).await.unwrap();
    assert_eq!(listed.len(), 700);
    for letter in listed.iter().step_by(2).take(150) {
        assert_eq!(letters.remove(DeadLetterFilter::all().of_event(letter.event.id()).limit(1)).await.unwrap(), 1);
    }
    assert_eq!(letters.list(DeadLetterFilter::all()).await.unwrap().len(), 550);
    assert_eq!(letters.remove(DeadLetterFilter::all()).await.unwrap(), 550);
}

/// A server ends the connection of whoever is slower to read than this.
#[tokio::test]
async fn large_events_that_wait_are_asked_for_in_parts_that_a_server_can_send() {
    const EVENTS: u64 = 500;
    let server = NatsServer::builder().config("max_pending: 6291456").start().await;
    let publisher = NatsBus::builder().server(&server.url()).connect().await.unwrap();
    let large = |_| Event::builder("a").bytes("application/octet-stream", vec![7; 64 * 1024]).build().unwrap();
    let stored: Vec<_> = publisher.publish_all((0..EVENTS).map(large).collect()).await;
    assert!(stored.iter().all(Result::is_ok));
    let client = async_nats::connect(server.url()).await.unwrap();
    let bus = NatsBus::from_client(client.clone(), NatsBus::builder()).await.unwrap();
    let (member, alone) = (Probe::new(), Probe::new());
    bus.subscribe(Subscribe::to("a").group("g").from(Start::Earliest), Arc::new(member.clone())).await.unwrap();
    member.wait_within(EVENTS as usize, Duration::from_secs(20)).await;
    bus.subscribe(Subscribe::to("a").from(Start::Earliest), Arc::new(alone.clone())).await.unwrap();
    alone.wait_within(EVENTS as usize, Duration::from_secs(20)).await;
    assert_eq!(client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1, "the server ended the connection");
}

#[tokio::test]
async fn a_callers_client_is_never_closed() {
    let client = plain().await;
    let bus = NatsBus::from_client(client.clone(), NatsBus::builder().prefix(unique()).max_bytes(1 << 20)).await.unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a").group("g"), Arc::new(probe.clone())).await.unwrap();
    publish_numbers(&bus, "a", 0..5).await;
    probe.wait(5).await;
    bus.close().await.unwrap();
    let mut echo = client.subscribe("still.here").await.unwrap();
    client.publish("still.here", "yes".into()).await.unwrap();
    let said = soon("the echo", std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut echo), cx))).await;
    assert_eq!(said.unwrap().payload, "yes");
    let error = NatsBus::from_client(client, NatsBus::builder().server("nats://elsewhere")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "a second server: {error}");
}
