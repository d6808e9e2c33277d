//! What other clients read of us and we of them.

mod common;

use common::{config, core_config, jetstream, plain, soon, stream, unique};
use eventbus_core::{Bus, DeadLetterFilter, DeadLetterReason, Event, Subscribe};
use eventbus_testing::{Probe, settle};
use std::sync::Arc;

/// An event with something of everything.
fn full() -> Event {
    Event::builder("order.placed")
        .id("e 1%")
        .source("/shop")
        .subject("größe \"7\"")
        .json_text(r#"{"price":1.10,"n":1152921504606846976}"#)
        .user("u\"%")
        .metadata("region", "eu")
        .partition_key("k")
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_plain_client_reads_what_we_publish() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    bus.publish(full()).await.unwrap();
    let stored = jetstream().await.get_stream(stream(&prefix)).await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!(&*stored.subject, format!("{prefix}.order.placed"));
    assert_eq!(stored.payload, r#"{"price":1.10,"n":1152921504606846976}"#);
    let header = |name: &str| stored.headers.get(name).map(|value| value.as_str().to_owned());
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "e%201%25"),
        ("ce-source", "/shop"),
        ("ce-type", "order.placed"),
        ("ce-subject", "gr%C3%B6%C3%9Fe%20%227%22"),
        ("ce-datacontenttype", "application/json"),
        ("ce-userid", "u%22%25"),
        ("ce-partitionkey", "k"),
        ("Nats-Msg-Id", "/shop#e%201%25"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header("Content-Type"), None, "binary mode");
}

#[tokio::test]
async fn a_plain_subscriber_hears_what_core_mode_publishes() {
    let prefix = unique();
    let mut heard = plain().await.subscribe(format!("{prefix}.>")).await.unwrap();
    let bus = core_config(&prefix).await.connect().await.unwrap();
    // The subscription of another connection may take a moment.
    let message = loop {
        bus.publish(full()).await.unwrap();
        let next = std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut heard), cx));
        if let Ok(message) = tokio::time::timeout(std::time::Duration::from_millis(50), next).await {
            break message.unwrap();
        }
    };
    assert_eq!(message.headers.unwrap().get("ce-id").unwrap().as_str(), "e%201%25");
}

#[tokio::test]
async fn we_read_what_plain_clients_publish() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("order.*").group("g"), Arc::new(probe.clone())).await.unwrap();
    let client = jetstream().await;
    let publish = async |headers: &[(&str, &str)], payload: &'static str| {
        let mut map = async_nats::HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        client.publish_with_headers(format!("{prefix}.order.placed"), map, payload.into()).await.unwrap().await.unwrap();
    };
    // Binary with other cases and needless encoding, structured, and structured without its header.
    let binary = [
        ("CE-SpecVersion", "1.0"),
        ("ce-ID", "%31"),
        ("Ce-Source", "/s"),
        ("ce-type", "order.placed"),
        ("ce-subject", "\"a b\""),
        ("X-Other", "1"),
    ];
    publish(&binary, "raw").await;
    let structured = r#"{"specversion":"1.0","id":"2","source":"/s","type":"order.placed","data":{"price":1.10}}"#;
    publish(&[("content-type", "Application/CloudEvents+json; charset=utf-8")], structured).await;
    publish(&[], r#"{"specversion":"1.0","id":"3","source":"/s","type":"order.placed"}"#).await;
    probe.wait(3).await;
    assert_eq!(probe.ids(), ["1", "2", "3"]);
    let seen = probe.seen();
    assert_eq!(seen[0].event.subject(), Some("a b"));
    assert_eq!(seen[0].event.data().to_bytes().unwrap(), "raw");
    assert_eq!(seen[1].event.data().to_bytes().unwrap(), r#"{"price":1.10}"#, "numbers keep their text");
}

#[tokio::test]
async fn what_is_no_event_is_a_dead_letter_as_it_was_and_is_redriven_as_it_was() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to(">").group("g"), Arc::new(probe.clone())).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.append("X-Kind", "one");
    headers.append("X-Kind", "two");
    let put = async |subject: String, headers: async_nats::HeaderMap, payload: &'static [u8]| {
        jetstream().await.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    };
    put(format!("{prefix}.order.placed"), headers, b"\xff\x00 no event").await;
    put(format!("{prefix}.größe"), async_nats::HeaderMap::new(), b"nor is this").await;
    bus.publish(Event::json("a", 1).unwrap()).await.unwrap();
    probe.wait(1).await;
    settle(&bus, common::PATIENCE).await.unwrap();
    let store = bus.dead_letters().unwrap();
    let mut letters = store.list(DeadLetterFilter::all()).await.unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    // They are stored beside each other.
    letters.sort_by(|one, other| one.event.event_type().as_str().cmp(other.event.event_type().as_str()));
    assert!(letters.iter().all(|letter| letter.reason == DeadLetterReason::Undecodable));
    assert_eq!((letters[0].event.event_type().as_str(), letters[1].event.event_type().as_str()), ("order.placed", "undecodable"));
    assert_eq!(letters[0].event.data().to_bytes().unwrap(), &b"\xff\x00 no event"[..]);
    let client = plain().await;
    let mut heard = client.subscribe(format!("{prefix}.>")).await.unwrap();
    // What is answered after a subscription was asked for says that there is one.
    async_nats::jetstream::new(client.clone()).get_stream(stream(&prefix)).await.unwrap();
    assert_eq!(store.redrive(DeadLetterFilter::all()).await.unwrap(), 2);
    let mut again = [next(&mut heard).await, next(&mut heard).await];
    again.sort_by_key(|message| std::cmp::Reverse(message.subject.len()));
    assert_eq!((&*again[0].subject, &*again[1].subject), (&*format!("{prefix}.order.placed"), &*format!("{prefix}.größe")));
    assert_eq!(again[0].payload, &b"\xff\x00 no event"[..]);
    let headers = again[0].headers.clone().unwrap();
    let kinds: Vec<_> = headers.get_all("X-Kind").map(|value| value.as_str().to_owned()).collect();
    assert_eq!(kinds, ["one", "two"]);
}

async fn next(heard: &mut async_nats::Subscriber) -> async_nats::Message {
    soon("a message", std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut *heard), cx))).await.unwrap()
}

#[tokio::test]
async fn a_request_cannot_make_us_publish_where_it_likes() {
    let prefix = unique();
    let bus = config(&prefix).await.connect().await.unwrap();
    let reply = Event::json("reply", 1).unwrap();
    for address in [
        "",
        "events.order.placed",
        "$JS.API.STREAM.DELETE.EVENTS",
        "_INBOX.",
        "_INBOX.>",
        "_INBOX.a b",
        "_INBOX.a.*",
        "_INBOX.a\r\nPUB x 0",
    ] {
        let error = bus.replies().unwrap().send(address, reply.clone()).await.unwrap_err();
        assert!(error.to_string().contains("_INBOX."), "{error}");
    }
    bus.replies().unwrap().send("_INBOX.nobody", reply).await.unwrap();
}
