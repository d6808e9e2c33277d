//! What becomes of an event whose handler fails: retries with a growing delay, the dead letter, and its redrive once the cause is gone.

use eventbus::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "payment.requested", subject = "order_id")]
struct PaymentRequested {
    order_id: String,
    cents: u64,
}

/// Whether the payment provider can be reached.
static PROVIDER_IS_UP: AtomicBool = AtomicBool::new(false);

async fn charge(ctx: Context, Data(payment): Data<PaymentRequested>) -> Result<(), HandlerError> {
    let (order, attempt) = (&payment.order_id, ctx.attempt());
    if payment.cents == 0 {
        // Trying again cannot help.
        return Err(HandlerError::reject("there is nothing to pay"));
    }
    if !PROVIDER_IS_UP.load(Relaxed) {
        println!("{order}: attempt {attempt} failed");
        return Err(HandlerError::retry("the provider cannot be reached"));
    }
    println!("{order}: charged on attempt {attempt}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = MemoryBus::new();
    let retry = Retry::exponential(Duration::from_millis(10)).max_attempts(3);
    bus.on(Subscribe::to("payment.requested").group("billing").retry(retry), charge).await?;

    bus.publish(Event::new(PaymentRequested { order_id: "o-1".into(), cents: 4200 })).await?;
    bus.publish(Event::new(PaymentRequested { order_id: "o-2".into(), cents: 0 })).await?;
    bus.settled().await;

    let letters = bus.dead_letters()?;
    for DeadLetter { event, reason, error, attempts, subscription, .. } in letters.list(DeadLetterFilter::all()).await? {
        let order = event.subject().unwrap_or_default();
        println!("{order}: given up by {subscription}, {reason} after {attempts} attempts: {error}");
    }

    println!("the provider is back");
    PROVIDER_IS_UP.store(true, Relaxed);
    for letter in letters.list(DeadLetterFilter::all()).await? {
        // One that was rejected would be rejected again.
        let this = DeadLetterFilter::all().of_event(letter.event.id());
        match letter.reason {
            eventbus::DeadLetterReason::Exhausted => letters.redrive(this).await?,
            _ => letters.remove(this).await?,
        };
    }
    bus.settled().await;
    println!("dead letters left: {}", letters.list(DeadLetterFilter::all()).await?.len());
    bus.close().await?;
    Ok(())
}
