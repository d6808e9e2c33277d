//! Redis keeps every promise: streams, and Pub/Sub as far as that goes.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_redis::{Mode, RedisConfig};
use eventbus_runtime::url::BusUrl;
use eventbus_testing::{
    conformance::{Fixture, Setup},
    servers,
};
use std::sync::Arc;

/// A bus of one kind at the server that all tests of this process share.
struct Redis {
    kind: fn(RedisConfig) -> RedisConfig,
}

const STREAMS: Redis = Redis { kind: |config| config };
const PUBSUB: Redis = Redis { kind: |config| config.mode(Mode::PubSub) };

#[async_trait]
impl Fixture for Redis {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let url = BusUrl::parse(&servers::redis().await)?;
        let mut config = RedisConfig::from_url(url)?.prefix(&setup.name);
        config = config.publish_timeout(setup.publish_timeout).close_timeout(setup.close_timeout);
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
        Ok(Arc::new((self.kind)(config).connect().await?))
    }
}

mod streams {
    eventbus_testing::conformance!(super::STREAMS);
}

mod pubsub {
    eventbus_testing::conformance!(super::PUBSUB);
}
