//! Groups share work: each event goes to one of the two members of the first group. A second group gets everything once more, and goes on
//! where it stopped after its member was away. That one member handles orders side by side, yet each order's events in their order; two
//! members run beside each other, so that each keeps the order only of what it gets.

use eventbus::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order.changed", partition_key = "order_id")]
struct OrderChanged {
    order_id: String,
    state: String,
}

/// The states of each order, in the order they were handled.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Journal {
    fn note(&self, change: &OrderChanged) {
        self.0.lock().unwrap().entry(change.order_id.clone()).or_default().push(change.state.clone());
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    fn print(&self, group: &str) {
        for (order, states) in &*self.0.lock().unwrap() {
            println!("{group}: {order} was {}", states.join(", "));
        }
    }
}

/// Joins a group and notes what the member handles.
async fn join(bus: &MemoryBus, group: &str, journal: &Journal) -> eventbus::Result<Subscription> {
    let journal = journal.clone();
    let member = Subscribe::to("order.changed").group(group).concurrency(4).ordering(Ordering::PerKey);
    bus.on(member, move |Data(change): Data<OrderChanged>| {
        let journal = journal.clone();
        async move { journal.note(&change) }
    })
    .await
}

async fn publish(bus: &MemoryBus, states: &[&str]) -> eventbus::Result<()> {
    for state in states {
        for order in ["o-1", "o-2", "o-3"] {
            bus.publish(Event::new(OrderChanged { order_id: order.into(), state: (*state).into() })).await?;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = MemoryBus::new();
    let (shipping, audit) = (Journal::default(), Journal::default());
    join(&bus, "shipping", &shipping).await?;
    join(&bus, "shipping", &shipping).await?;
    let auditor = join(&bus, "audit", &audit).await?;

    publish(&bus, &["placed", "paid"]).await?;
    bus.settled().await;
    auditor.close().await?;
    publish(&bus, &["shipped"]).await?;
    bus.settled().await;
    println!("shipping: {} changes, each handled by one member", shipping.count());
    audit.print("audit, away");

    join(&bus, "audit", &audit).await?;
    bus.settled().await;
    audit.print("audit, back");
    bus.close().await?;
    Ok(())
}
