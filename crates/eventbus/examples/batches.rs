//! Batches: a handler takes many events at once, and each is settled by its own outcome. One that fails comes back; its neighbours do not.

use eventbus::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "reading.taken")]
struct ReadingTaken {
    sensor: u32,
    celsius: i32,
}

/// Stores readings with one statement; a reading that no thermometer can take is refused.
async fn store(readings: Vec<Event>) -> Vec<Result<(), HandlerError>> {
    println!("storing {} readings", readings.len());
    readings.iter().map(check).collect()
}

fn check(reading: &Event) -> Result<(), HandlerError> {
    let ReadingTaken { sensor, celsius } = *reading.decode::<ReadingTaken>()?;
    if celsius < -273 {
        return Err(HandlerError::reject(format!("sensor {sensor} claims {celsius} degrees")));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Held until all is published, so that the first batches are full.
    let bus = MemoryBus::builder().hold(100).build()?;
    let batches = Subscribe::to("reading.taken").name("storage").batch(4, Duration::from_millis(100));
    let storage = bus.on_batch(batches, store).await?;

    let readings = (1..=10).map(|sensor| ReadingTaken { sensor, celsius: if sensor == 6 { -300 } else { 20 } });
    for result in bus.publish_all(readings.map(Event::new).collect()).await {
        result?;
    }
    bus.start().await?;
    bus.settled().await;

    let stats = storage.stats();
    println!("stored {}, refused {}", stats.acked, stats.dead_lettered);
    for letter in bus.dead_letters()?.list(DeadLetterFilter::all()).await? {
        println!("{}: {}", letter.subscription, letter.error);
    }
    bus.close().await?;
    Ok(())
}
