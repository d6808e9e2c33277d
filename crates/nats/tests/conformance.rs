//! A bus over NATS keeps every promise: on JetStream, and as far as it makes them on core NATS.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_nats::{Mode, NatsBus, NatsConfig};
use eventbus_testing::{
    conformance::{Fixture, Setup},
    servers,
};
use std::sync::Arc;

/// A bus of one mode, over the server that all tests share.
struct OverNats {
    mode: Mode,
    confirmed_acks: bool,
}

const JETSTREAM: OverNats = OverNats { mode: Mode::JetStream, confirmed_acks: false };
const CONFIRMED: OverNats = OverNats { mode: Mode::JetStream, confirmed_acks: true };
const CORE: OverNats = OverNats { mode: Mode::Core, confirmed_acks: false };

#[async_trait]
impl Fixture for OverNats {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let config = NatsBus::builder()
            .server(&servers::nats().await)
            .mode(self.mode)
            .confirmed_acks(self.confirmed_acks)
            .prefix(&setup.name)
            // A server sets aside what its streams may have.
            .max_bytes(32 * 1024 * 1024)
            .publish_timeout(setup.publish_timeout)
            .close_timeout(setup.close_timeout);
        Ok(Arc::new(with_settings(config, setup).connect().await?))
    }
}

fn with_settings(mut config: NatsConfig, setup: &Setup) -> NatsConfig {
    if let Some(capacity) = setup.hold {
        config = config.hold(capacity);
    }
    if let Some(window) = setup.dedup_window {
        config = config.dedup_window(window);
    }
    if let Some(bytes) = setup.max_payload {
        config = config.max_payload(bytes);
    }
    if let Some(letters) = setup.max_dead_letters {
        config = config.max_dead_letters(letters as u64);
    }
    config
}

mod jetstream {
    eventbus_testing::conformance!(super::JETSTREAM);
}

mod confirmed {
    eventbus_testing::conformance!(super::CONFIRMED);
}

mod core {
    eventbus_testing::conformance!(super::CORE);
}

mod stressed {
    use super::{CORE, JETSTREAM, OverNats};
    use eventbus_testing::conformance;
    use std::sync::Arc;

    /// How many copies of each case run at once.
    const COPIES: usize = 2;

    fn stress(fixture: OverNats) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let failed = runtime.block_on(conformance::stress(Arc::new(fixture), COPIES));
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn copies_at_once_keep_every_promise_on_jetstream() {
        stress(JETSTREAM);
    }

    #[test]
    fn copies_at_once_keep_every_promise_on_core() {
        stress(CORE);
    }
}
