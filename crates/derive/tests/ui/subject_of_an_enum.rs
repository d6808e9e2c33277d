use eventbus::EventData;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order.changed", subject = "order_id")]
enum OrderChanged {
    Paid { order_id: String },
    Shipped { order_id: String },
}

fn main() {}
