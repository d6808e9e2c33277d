//! What an event carries arrives as it was given.

use super::{
    run::Outcome,
    story::{Story, all, bus, subscribe},
};
use crate::Probe;
use eventbus_core::{ErrorKind, Event, EventData, IntoHandler, Payload, Subscribe, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

pub(super) async fn every_kind_of_data_arrives_byte_for_byte(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let data = [
        Payload::empty(),
        Payload::opaque(every_byte.clone()),
        Payload::bytes("application/octet-stream", vec![0]).unwrap(),
        Payload::bytes("image/png", every_byte).unwrap(),
        Payload::bytes("text/plain; charset=utf-8", "größe 😀\r\n\"\\\0").unwrap(),
        Payload::bytes("text/plain", vec![0xff, 0xfe]).unwrap(),
        Payload::bytes("application/json", "{\"truncated\":").unwrap(),
        Payload::bytes("application/vnd.x+json; charset=utf-8", "{ \"spaced\" : [ 1 ] }\n").unwrap(),
        Payload::json_text("null").unwrap(),
        Payload::json_text("\"I'm just a string\"").unwrap(),
        Payload::json_text("{\"specversion\":\"1.0\",\"id\":\"forged\"}").unwrap(),
    ];
    for payload in &data {
        bus.publish(Event::builder("a").payload(payload.clone()).build().unwrap()).await.unwrap();
    }
    for (seen, payload) in all(&*bus, &probe, data.len()).await.iter().zip(&data) {
        assert_eq!(seen.event.data().to_bytes().unwrap(), payload.to_bytes().unwrap(), "{payload:?}");
        assert_eq!(seen.event.data().content_type(), payload.content_type());
        assert_eq!(seen.event.data(), payload);
    }
    Outcome::Done
}

pub(super) async fn numbers_keep_their_text(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let text = r#"{"price":1.10,"big":1152921504606846976,"bigger":12345678901234567890123,"e":1e5,"minus":-0.0}"#;
    bus.publish(Event::builder("a").json_text(text).build().unwrap()).await.unwrap();
    assert_eq!(all(&*bus, &probe, 1).await[0].event.data().to_bytes().unwrap(), text);
    Outcome::Done
}

pub(super) async fn odd_metadata_and_extensions_arrive(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let odd = [
        "",
        " ",
        "a b",
        "/",
        "../etc/passwd",
        "\\",
        "\"",
        "'",
        "`",
        "\"quoted\"",
        "%",
        "%41",
        "%%",
        "a=b&c=d",
        "a:b",
        "#",
        "1leading",
        "_x",
        "größe",
        "日本語",
        "😀",
        "\u{200b}",
        "a,b;c",
        "<x>",
        "{}",
        "[]",
        "null",
        "true",
        "0",
        "-1",
    ];
    let mut events: Vec<Event> = odd
        .iter()
        .map(|text| {
            let id = format!("id {text}");
            Event::builder("a").id(id).data(1).user(*text).tenant(*text).metadata(*text, *text).extension("odd", *text).build().unwrap()
        })
        .collect();
    // Custom metadata takes any key and any JSON, control characters too.
    let control: String = (0..128u8).map(char::from).collect();
    events.push(
        Event::builder("a")
            .data(1)
            .metadata(control.as_str(), control.as_str())
            .metadata("deep", serde_json::json!({"a": [1, null, {"b": 1.5}]}))
            .build()
            .unwrap(),
    );
    events
        .push(Event::builder("a").data(1).extension("yes", true).extension("number", i32::MIN).extension("n2", i32::MAX).build().unwrap());
    for event in &events {
        bus.publish(event.clone()).await.unwrap();
    }
    for (seen, event) in all(&*bus, &probe, events.len()).await.iter().zip(&events) {
        assert_eq!(seen.event.metadata(), event.metadata());
        assert_eq!(&seen.event, event);
    }
    Outcome::Done
}

pub(super) async fn a_thousand_attributes_arrive_or_are_refused(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a", &probe).await;
    let mut builder = Event::builder("a").data(1);
    for number in 0..1000 {
        builder = builder.extension(format!("x{number}"), format!("value {number}"));
    }
    let event = builder.build().unwrap();
    match bus.publish(event.clone()).await {
        Ok(()) => assert_eq!(all(&*bus, &probe, 1).await[0].event, event),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::TooLarge { .. } | ErrorKind::Invalid), "{error}"),
    }
    bus.publish(Event::json("a", 2).unwrap()).await.unwrap();
    let count = probe.count().max(1);
    probe.wait(count).await;
    Outcome::Done
}

pub(super) async fn every_attribute_arrives(story: Story) -> Outcome {
    let bus = bus!(story);
    let probe = Probe::new();
    subscribe(&*bus, "a.b", &probe).await;
    let event = Event::builder("a.b")
        .id("e-1")
        .source("https://example.com/shop?x=1#y")
        .subject("order 7")
        .time(Timestamp::parse("2021-08-19T12:16:32.000-04:00").unwrap())
        .json_text(r#"{"a":1.10}"#)
        .schema_version(7)
        .data_schema("https://example.com/schema.json")
        .correlation("c")
        .causation("d")
        .partition_key("k")
        .trace_context("00-a-b-01", Some("v=1".to_owned()))
        .user("u")
        .tenant("t")
        .request("r")
        .trace("x")
        .metadata("region", "eu")
        .extension("flag", true)
        .extension("count", -5)
        .extension("text", "é")
        .build()
        .unwrap();
    bus.publish(event.clone()).await.unwrap();
    let seen = all(&*bus, &probe, 1).await.remove(0).event;
    assert_eq!(seen, event);
    assert_eq!(seen.time().unwrap().to_string(), "2021-08-19T12:16:32.000-04:00", "offset and precision too");
    Outcome::Done
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

impl EventData for OrderPlaced {
    const TYPE: &'static str = "order.placed";

    fn subject(&self) -> Option<String> {
        Some(self.order_id.clone())
    }
}

pub(super) async fn a_typed_event_arrives_as_its_type(story: Story) -> Outcome {
    let bus = bus!(story);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |eventbus_core::Data(order): eventbus_core::Data<OrderPlaced>, event: Event| {
            seen.lock().unwrap().push(((*order).clone(), event));
            async {}
        }
    };
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("order.placed"), Arc::new(handler.into_handler())).await.unwrap();
    subscribe(&*bus, "order.placed", &probe).await;
    let order = OrderPlaced { order_id: "o-1".to_owned(), total_cents: 4200 };
    bus.publish(Event::new(order.clone())).await.unwrap();
    // The same data by other ways.
    bus.publish(Event::json("order.placed", &order).unwrap()).await.unwrap();
    all(&*bus, &probe, 2).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.iter().map(|(order, _)| order.clone()).collect::<Vec<_>>(), [order.clone(), order]);
    assert_eq!(seen[0].1.subject(), Some("o-1"));
    assert_eq!(seen[0].1.data().to_bytes().unwrap(), r#"{"order_id":"o-1","total_cents":4200}"#);
    Outcome::Done
}
