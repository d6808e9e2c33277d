use eventbus::EventData;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order.placed", subject = "2")]
struct OrderPlaced(String, u64);

fn main() {}
