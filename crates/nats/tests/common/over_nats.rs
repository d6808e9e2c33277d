//! How the conformance suite makes a bus.
#![allow(dead_code)]

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_nats::{Mode, NatsBus, NatsConfig};
use eventbus_testing::{
    conformance::{Fixture, Setup},
    servers,
};
use std::sync::Arc;

/// A bus of one mode, over the server that all tests share.
pub(crate) struct OverNats {
    mode: Mode,
    confirmed_acks: bool,
}

pub(crate) const JETSTREAM: OverNats = OverNats { mode: Mode::JetStream, confirmed_acks: false };
pub(crate) const CONFIRMED: OverNats = OverNats { mode: Mode::JetStream, confirmed_acks: true };
pub(crate) const CORE: OverNats = OverNats { mode: Mode::Core, confirmed_acks: false };

#[async_trait]
impl Fixture for OverNats {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let config = NatsBus::builder()
            .server(&servers::nats().await)
            .mode(self.mode)
            .confirmed_acks(self.confirmed_acks)
            .prefix(&setup.name)
            .publish_timeout(setup.publish_timeout)
            .close_timeout(setup.close_timeout);
        let config = with_settings(config, setup);
        Ok(Arc::new(if self.mode == Mode::Core { config } else { with_stream(config, setup) }.connect().await?))
    }
}

fn with_settings(mut config: NatsConfig, setup: &Setup) -> NatsConfig {
    if let Some(capacity) = setup.hold {
        config = config.hold(capacity);
    }
    if let Some(bytes) = setup.max_payload {
        config = config.max_payload(bytes);
    }
    config
}

fn with_stream(config: NatsConfig, setup: &Setup) -> NatsConfig {
    // A server sets aside what its streams may have.
    let mut config = config.max_bytes(32 * 1024 * 1024);
    if let Some(window) = setup.dedup_window {
        config = config.dedup_window(window);
    }
    if let Some(letters) = setup.max_dead_letters {
        config = config.max_dead_letters(letters as u64);
    }
    config
}
