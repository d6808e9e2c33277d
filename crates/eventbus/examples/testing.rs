//! How an application is tested: against a bus that delivers and remembers, without sleeps, and against one that fails when it is told to.
//!
//! The three functions at the end would be tests; here they are called one after the other.

use eventbus::{
    ErrorKind,
    prelude::*,
    testing::{FaultyBus, RecordingBus, settle},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order.placed", subject = "order_id")]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

/// The application: it knows no more than that there is a bus.
struct Shop {
    bus: Arc<dyn Bus>,
}

impl Shop {
    async fn open(bus: Arc<dyn Bus>) -> eventbus::Result<Self> {
        let retry = Retry::fixed(Duration::from_millis(1)).max_attempts(2);
        bus.on(Subscribe::to("order.placed").group("billing").retry(retry), bill).await?;
        Ok(Self { bus })
    }

    async fn order(&self, order_id: &str, total_cents: u64) -> eventbus::Result<()> {
        self.bus.publish(Event::new(OrderPlaced { order_id: order_id.into(), total_cents })).await
    }
}

async fn bill(ctx: Context, Data(order): Data<OrderPlaced>) -> Result<(), HandlerError> {
    if order.total_cents == 0 {
        return Err(HandlerError::reject("empty order"));
    }
    ctx.publish(Event::json("invoice.sent", &order.order_id)?).await?;
    Ok(())
}

const SOON: Duration = Duration::from_secs(5);

async fn an_order_is_billed() -> eventbus::Result<()> {
    let bus = RecordingBus::new();
    Shop::open(Arc::new(bus.clone())).await?.order("o-1", 4200).await?;
    let invoices = bus.wait_for("invoice.sent", 1, SOON).await?;
    assert_eq!(*invoices[0].decode::<String>()?, "o-1");
    assert_eq!(invoices[0].causation_id(), Some(bus.events_of_type("order.placed")[0].id()));
    bus.close().await
}

async fn an_empty_order_is_not() -> eventbus::Result<()> {
    let bus = RecordingBus::new();
    Shop::open(Arc::new(bus.clone())).await?.order("o-2", 0).await?;
    // When this returns, nothing more happens.
    settle(&bus, SOON).await?;
    assert!(!bus.has_event("invoice.*"));
    assert_eq!(bus.dead_letters()?.list(DeadLetterFilter::all()).await?.len(), 1);
    bus.close().await
}

async fn the_shop_notices_an_outage() -> eventbus::Result<()> {
    let bus = RecordingBus::new();
    let faulty = FaultyBus::around(Arc::new(bus.clone()));
    let shop = Shop::open(Arc::new(faulty.clone())).await?;
    faulty.disconnect();
    assert_eq!(shop.order("o-3", 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
    faulty.reconnect();
    shop.order("o-3", 1).await?;
    bus.wait_for("invoice.sent", 1, SOON).await?;
    bus.close().await
}

#[tokio::main]
async fn main() -> eventbus::Result<()> {
    an_order_is_billed().await?;
    println!("an order is billed: ok");
    an_empty_order_is_not().await?;
    println!("an empty order is not: ok");
    the_shop_notices_an_outage().await?;
    println!("the shop notices an outage: ok");
    Ok(())
}
