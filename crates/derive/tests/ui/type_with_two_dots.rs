use eventbus::EventData;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order..placed")]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

fn main() {}
