//! Buses round another bus keep every promise of that bus.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_memory::MemoryBus;
use eventbus_testing::{
    FaultyBus, RecordingBus,
    conformance::{Fixture, Setup},
};
use std::sync::Arc;

/// An in-process bus within another.
struct Within(fn(Arc<dyn Bus>) -> Arc<dyn Bus>);

#[async_trait]
impl Fixture for Within {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        Ok((self.0)(Arc::new(setup.in_process(MemoryBus::builder()).build()?)))
    }
}

mod recording {
    use super::{Arc, RecordingBus, Within};

    eventbus_testing::conformance!(Within(|bus| Arc::new(RecordingBus::around(bus))));
}

mod faulty_without_a_fault {
    use super::{Arc, FaultyBus, Within};

    eventbus_testing::conformance!(Within(|bus| Arc::new(FaultyBus::around(bus))));
}
