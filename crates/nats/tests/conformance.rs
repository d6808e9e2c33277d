//! A bus over NATS keeps every promise: on JetStream, and as far as it makes them on core NATS.

#[path = "common/over_nats.rs"]
mod over_nats;

use over_nats::{CONFIRMED, CORE, JETSTREAM};

mod jetstream {
    eventbus_testing::conformance!(super::JETSTREAM);
}

mod confirmed {
    eventbus_testing::conformance!(super::CONFIRMED);
}

mod core {
    eventbus_testing::conformance!(super::CORE);
}
