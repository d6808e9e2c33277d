//! CloudEvents as JSON: one event with 1 KiB, written and read by us, by the published SDK, and by `serde_json` as a mere value.

use crate::{
    contest::{Contest, Result, Side, Unit, turn},
    traffic::per_second,
};
use bytes::Bytes;
use eventbus::{Event, cloudevents::json};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc, time::Instant};

/// How many bytes the event has as JSON.
const SIZE: usize = 1024;

/// All of them.
pub fn contests() -> Vec<Contest> {
    let ours = encoding(|bytes| Ok(json::decode(bytes)?), |event| Ok(json::encode(event)?.len()));
    let theirs = encoding(|bytes| Ok(serde_json::from_slice::<cloudevents::Event>(bytes)?), |event| Ok(serde_json::to_vec(event)?.len()));
    vec![
        Contest::new("codec/encode 1 KiB", Unit::OperationsPerSecond, 100_000, ours).against("cloudevents-sdk", 3.0, theirs),
        Contest::new("codec/decode 1 KiB", Unit::OperationsPerSecond, 100_000, decoding(json::decode))
            .against("cloudevents-sdk", 3.0, decoding(|bytes| serde_json::from_slice::<cloudevents::Event>(bytes)))
            .against("serde_json::Value", 1.0, decoding(|bytes| serde_json::from_slice::<Value>(bytes))),
    ]
}

/// What an order might look like, filled up to the size.
fn data(fill: usize) -> Value {
    let item = |number: u32| json!({"sku": format!("SKU-{number:05}"), "quantity": number, "price_cents": 1999 + number, "gift": false});
    json!({
        "order_id": "o-0000001",
        "customer": {"name": "Ada Lovelace", "email": "ada@example.org", "since": 1843},
        "items": (1..6).map(item).collect::<Vec<_>>(),
        "note": "x".repeat(fill),
    })
}

fn event(fill: usize) -> eventbus::Result<Event> {
    Ok(Event::json("order.placed", data(fill))?.with_source("/shop").with_subject("o-0000001"))
}

fn document() -> eventbus::Result<Bytes> {
    let bare = json::encode(&event(0)?)?.len();
    json::encode(&event(SIZE - bare)?)
}

/// What is read once is written again and again.
fn encoding<T: Send + Sync + 'static>(read: fn(&Bytes) -> Result<T>, write: fn(&T) -> Result<usize>) -> Side {
    Side::new(move || async move {
        let event = Arc::new(read(&document()?)?);
        Ok(turn(move |times| {
            let event = Arc::clone(&event);
            async move {
                let since = Instant::now();
                for _ in 0..times {
                    black_box(write(black_box(&event))?);
                }
                Ok(per_second(times, since.elapsed()))
            }
        }))
    })
}

fn decoding<T, E>(decode: impl Fn(&Bytes) -> Result<T, E> + Send + Sync + Copy + 'static) -> Side
where
    E: std::error::Error + Send + Sync + 'static,
{
    Side::new(move || async move {
        let document = document()?;
        Ok(turn(move |times| {
            let document = document.clone();
            async move {
                let since = Instant::now();
                for _ in 0..times {
                    let _ = black_box(decode(black_box(&document))?);
                }
                Ok(per_second(times, since.elapsed()))
            }
        }))
    })
}
