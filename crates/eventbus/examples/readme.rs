//! The example of the README, which shows it letter by letter from here on.

use eventbus::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "order.placed", version = 1, subject = "order_id")]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, EventData)]
#[event(type = "invoice.sent")]
struct InvoiceSent {
    order_id: String,
}

async fn bill(ctx: Context, Data(order): Data<OrderPlaced>) -> Result<(), HandlerError> {
    if order.total_cents == 0 {
        return Err(HandlerError::reject("empty order"));
    }
    ctx.publish(Event::new(InvoiceSent { order_id: order.order_id.clone() })).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("EVENTBUS_URL").unwrap_or("memory:".into()); // or nats://…, redis://…
    let bus: std::sync::Arc<dyn Bus> = eventbus::connect(&url).await?;

    let mut orders = Subscribe::to("order.placed").concurrency(8).ordering(Ordering::PerKey).timeout(Duration::from_secs(30));
    if bus.capabilities().at_least_once {
        // What a backend cannot do, it refuses: core NATS and Redis Pub/Sub keep nothing to share or to try again.
        orders = orders.group("billing").retry(Retry::exponential(Duration::from_millis(100)).max_attempts(5));
    }
    bus.on(orders, bill).await?;
    bus.on("*", |event: Event| async move {
        println!("{} {}", event.event_type(), event.id());
    })
    .await?;

    let placed = Event::new(OrderPlaced { order_id: "o-1".into(), total_cents: 4200 })
        .with_source("/shop")
        .with_correlation("c-1")
        .with_user("u-1")
        .with_metadata("region", "eu");
    bus.publish(placed).await?;
    bus.publish(Event::json("shop.opened", serde_json::json!({"at": 9}))?).await?;
    bus.close().await?;
    Ok(())
}
