//! Redis keeps every promise: streams, and Pub/Sub as far as that goes.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_redis::{Idmp, Mode, RedisConfig};
use eventbus_runtime::url::BusUrl;
use eventbus_testing::{
    conformance::{Fixture, Setup},
    servers,
};
use std::sync::Arc;

/// A bus of one kind at the server that all tests of this process share.
struct Redis {
    mode: Mode,
    idmp: Idmp,
}

const STREAMS: Redis = Redis { mode: Mode::Streams, idmp: Idmp::Off };
/// Differs from the above where the server is Redis 8.6 or newer.
const IDEMPOTENT: Redis = Redis { mode: Mode::Streams, idmp: Idmp::Auto };
const PUBSUB: Redis = Redis { mode: Mode::PubSub, idmp: Idmp::Off };

#[async_trait]
impl Fixture for Redis {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        let config = RedisConfig::from_url(BusUrl::parse(&servers::redis().await)?)?;
        let mut config = config.mode(self.mode).prefix(&setup.name);
        config = config.publish_timeout(setup.publish_timeout).close_timeout(setup.close_timeout);
        if let Some(capacity) = setup.hold {
            config = config.hold(capacity);
        }
        if let Some(bytes) = setup.max_payload {
            config = config.max_payload(bytes);
        }
        if self.mode == Mode::Streams {
            config = with_stream(config.idmp(self.idmp), setup);
        }
        Ok(Arc::new(config.connect().await?))
    }
}

fn with_stream(mut config: RedisConfig, setup: &Setup) -> RedisConfig {
    if let Some(window) = setup.dedup_window {
        config = config.dedup_window(window);
    }
    if let Some(letters) = setup.max_dead_letters {
        config = config.max_dead_letters(letters as u64);
    }
    config
}

mod streams {
    eventbus_testing::conformance!(super::STREAMS);
}

mod idempotent {
    eventbus_testing::conformance!(super::IDEMPOTENT);
}

mod pubsub {
    eventbus_testing::conformance!(super::PUBSUB);
}

mod stressed {
    use super::{PUBSUB, Redis, STREAMS};
    use eventbus_testing::conformance;
    use std::sync::Arc;

    /// How many copies of each case run at once.
    const COPIES: usize = 3;

    fn stress(fixture: Redis) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let failed = runtime.block_on(conformance::stress(Arc::new(fixture), COPIES));
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn copies_at_once_keep_every_promise_on_streams() {
        stress(STREAMS);
    }

    #[test]
    fn copies_at_once_keep_every_promise_on_pubsub() {
        stress(PUBSUB);
    }
}
