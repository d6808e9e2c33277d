//! What other programs see: clients that know nothing of this crate read what is published, and publish what is read.

mod common;

use common::{PATIENCE, ask, client, config, numbered, prefix, until, words};
use eventbus_core::{Bus, DeadLetterFilter, DeadLetterReason, Event, Subscribe};
use eventbus_redis::{Mode, RedisConfig};
use eventbus_testing::{Probe, settle};
use redis::cmd;
use std::{collections::BTreeMap, sync::Arc};

type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

#[tokio::test]
async fn a_plain_client_reads_each_attribute_as_a_field() {
    let name = prefix();
    let bus = config().await.prefix(&name).connect().await.unwrap();
    let event = Event::builder("order.placed")
        .id("o 1/ä")
        .source("/shop")
        .subject("größe \"x\"")
        .bytes("application/octet-stream", vec![0, 255, 13, 10])
        .partition_key("k")
        .user("u-1")
        .metadata("region", "eu")
        .extension("flag", true)
        .build()
        .unwrap();
    bus.publish(event).await.unwrap();
    let mut client = client(&common::address().await).await;
    let entries: Entries = ask(&mut client, cmd("XRANGE").arg(format!("{name}:0")).arg("-").arg("+")).await;
    let fields: BTreeMap<_, _> = entries[0].1.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
    for (name, value) in [
        ("specversion", &b"1.0"[..]),
        ("id", "o 1/ä".as_bytes()),
        ("source", b"/shop"),
        ("type", b"order.placed"),
        ("subject", "größe \"x\"".as_bytes()),
        ("datacontenttype", b"application/octet-stream"),
        ("partitionkey", b"k"),
        ("userid", b"u-1"),
        ("metadata", b"{\"region\":\"eu\"}"),
        ("flag", b"true"),
        ("data", &[0, 255, 13, 10]),
    ] {
        assert_eq!(fields.get(name), Some(&value), "{name}");
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_a_plain_client_adds_is_delivered() {
    let name = prefix();
    let bus = config().await.prefix(&name).connect().await.unwrap();
    let (alone, grouped) = (Probe::new(), Probe::new());
    bus.subscribe(Subscribe::to("order.*"), Arc::new(alone.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("order.*").group("g"), Arc::new(grouped.clone())).await.unwrap();
    let mut client = client(&common::address().await).await;
    let stream = format!("{name}:0");
    let binary =
        format!("XADD {stream} * type order.placed source /other id 1 specversion 1.0 odd x datacontenttype application/json data 1.10");
    let _: String = ask(&mut client, &words(&binary)).await;
    let structured = r#"{"specversion":"1.0","id":"2","source":"/other","type":"order.paid","data":{"a":1.10}}"#;
    let _: String = ask(&mut client, cmd("XADD").arg(&stream).arg("*").arg("event").arg(structured)).await;
    // Of another type, which stands inside.
    let other = r#"{"specversion":"1.0","id":"3","source":"/other","type":"invoice.sent"}"#;
    let _: String = ask(&mut client, cmd("XADD").arg(&stream).arg("*").arg("event").arg(other)).await;
    for probe in [&alone, &grouped] {
        probe.wait(2).await;
        settle(&bus, PATIENCE).await.unwrap();
        let seen = probe.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].event.data().to_bytes().unwrap(), "1.10");
        assert_eq!(seen[0].event.extension("odd").unwrap().to_string(), "x");
        assert_eq!((seen[1].id(), seen[1].event.data().to_bytes().unwrap().as_ref()), ("2", &b"{\"a\":1.10}"[..]));
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_event_is_one_letter_and_goes_back_as_it_was() {
    let name = prefix();
    let bus = config().await.prefix(&name).connect().await.unwrap();
    let (one, two) = (Probe::new(), Probe::new());
    bus.subscribe(Subscribe::to(">").group("one"), Arc::new(one.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("a").group("two"), Arc::new(two.clone())).await.unwrap();
    bus.subscribe(Subscribe::to("a"), Arc::new(two.clone())).await.unwrap();
    let mut client = client(&common::address().await).await;
    let stream = format!("{name}:0");
    let _: String = ask(&mut client, cmd("XADD").arg(&stream).arg("*").arg("hello").arg(&[255_u8, 0][..]).arg("data").arg("d")).await;
    bus.publish(numbered(1)).await.unwrap();
    one.wait(1).await;
    two.wait(2).await;
    settle(&bus, PATIENCE).await.unwrap();
    let letters = bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap();
    assert_eq!(letters.len(), 1, "three subscriptions came upon it: {letters:?}");
    assert_eq!(letters[0].reason, DeadLetterReason::Undecodable);
    assert_eq!(bus.dead_letters().unwrap().redrive(DeadLetterFilter::all()).await.unwrap(), 1);
    let entries: Entries = ask(&mut client, cmd("XRANGE").arg(&stream).arg("-").arg("+")).await;
    let again = &entries.last().unwrap().1;
    assert_eq!(again, &[("hello".to_owned(), vec![255, 0]), ("data".to_owned(), b"d".to_vec())]);
    // It is as unreadable as before, at another place.
    until("the letter", async || bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap().len() == 1).await;
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_letter_is_an_entry_of_its_own_stream() {
    let name = prefix();
    let bus = config().await.prefix(&name).connect().await.unwrap();
    let rejecting = Probe::with(|_, _| async { Err(eventbus_core::HandlerError::reject("no")) });
    bus.subscribe(Subscribe::to("a").name("n"), Arc::new(rejecting)).await.unwrap();
    bus.publish(numbered(7).with_id("e-7")).await.unwrap();
    settle(&bus, PATIENCE).await.unwrap();
    let mut client = client(&common::address().await).await;
    let entries: Entries = ask(&mut client, cmd("XRANGE").arg(format!("{name}:dlq")).arg("-").arg("+")).await;
    let fields: BTreeMap<_, _> = entries[0].1.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value))).collect();
    assert_eq!((&*fields["id"], &*fields["dlreason"], &*fields["dlsubscription"], &*fields["dltype"]), ("e-7", "rejected", "n", "a"));
    bus.close().await.unwrap();
}

#[tokio::test]
async fn messages_are_structured_and_reach_whoever_listens() {
    use redis::AsyncCommands as _;
    let name = prefix();
    let address = common::address().await;
    let bus = RedisConfig::new().address(&address).prefix(&name).mode(Mode::PubSub).connect().await.unwrap();
    let mut listening = redis::Client::open(format!("redis://{address}")).unwrap().get_async_pubsub().await.unwrap();
    listening.subscribe(format!("{name}:a")).await.unwrap();
    bus.publish(numbered(1).with_id("e-1")).await.unwrap();
    let message = {
        let mut messages = Box::pin(listening.on_message());
        std::future::poll_fn(|cx| futures_core::Stream::poll_next(messages.as_mut(), cx)).await.unwrap()
    };
    let heard: serde_json::Value = serde_json::from_slice(message.get_payload_bytes()).unwrap();
    assert_eq!((&heard["id"], &heard["type"], &heard["data"]), (&"e-1".into(), &"a".into(), &1.into()));

    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a.*"), Arc::new(probe.clone())).await.unwrap();
    let mut client = client(&address).await;
    for (channel, event_type) in [("a.b", "a.b"), ("a.b.c", "a.b.c"), ("a", "a"), ("a.d", "a.d")] {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/other","type":"{event_type}","data":2}}"#);
        let _: i64 = client.publish(format!("{name}:{channel}"), body).await.unwrap();
    }
    probe.wait(2).await;
    settle(&bus, PATIENCE).await.unwrap();
    let types: Vec<_> = probe.seen().iter().map(|seen| seen.event.event_type().to_string()).collect();
    assert_eq!(types, ["a.b", "a.d"], "Redis's own * stands for dots, too");
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_has_too_many_fields_for_a_script_stays_a_letter() {
    let name = prefix();
    let bus = config().await.prefix(&name).connect().await.unwrap();
    bus.subscribe(Subscribe::to("a").group("g"), Arc::new(Probe::new())).await.unwrap();
    let mut entry = cmd("XADD");
    entry.arg(format!("{name}:0")).arg("*");
    for field in 0..4100 {
        entry.arg(format!("f{field}")).arg("x");
    }
    let _: String = ask(&mut client(&common::address().await).await, &entry).await;
    let letters = bus.dead_letters().unwrap();
    until("the letter", async || letters.list(DeadLetterFilter::all()).await.unwrap().len() == 1).await;
    for _ in 0..2 {
        let error = letters.redrive(DeadLetterFilter::all()).await.unwrap_err();
        assert!(error.to_string().contains("4100 fields"), "{error}");
    }
    assert_eq!(letters.list(DeadLetterFilter::all()).await.unwrap().len(), 1);
    bus.close().await.unwrap();
}
