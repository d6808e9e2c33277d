use eventbus::EventData;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "shop.opened", subject = "id")]
struct ShopOpened;

fn main() {}
