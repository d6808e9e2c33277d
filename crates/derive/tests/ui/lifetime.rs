use eventbus::EventData;
use serde::Serialize;

#[derive(Serialize, EventData)]
#[event(type = "order.placed")]
struct OrderPlaced<'a> {
    order_id: &'a str,
}

fn main() {}
