use eventbus::EventData;

#[derive(EventData)]
#[event(type = "order.placed")]
union OrderPlaced {
    number: u64,
    letters: [u8; 8],
}

fn main() {}
