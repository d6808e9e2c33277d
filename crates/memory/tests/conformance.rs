//! The in-process bus keeps every promise: queued, strict, and inline.

use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_memory::{MemoryBuilder, MemoryBus};
use eventbus_testing::conformance::{Fixture, Setup};
use std::sync::Arc;

/// An in-process bus of one kind.
struct InProcess {
    kind: fn(MemoryBuilder) -> MemoryBuilder,
    inline: bool,
}

const QUEUED: InProcess = InProcess { kind: |builder| builder, inline: false };
const STRICT: InProcess = InProcess { kind: MemoryBuilder::strict, inline: false };
const INLINE: InProcess = InProcess { kind: MemoryBuilder::inline, inline: true };

#[async_trait]
impl Fixture for InProcess {
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
        Ok(Arc::new((self.kind)(setup.in_process(MemoryBus::builder())).build()?))
    }

    fn publish_waits_for_handlers(&self) -> bool {
        self.inline
    }
}

mod queued {
    eventbus_testing::conformance!(super::QUEUED);
}

mod strict {
    eventbus_testing::conformance!(super::STRICT);
}

mod inline {
    eventbus_testing::conformance!(super::INLINE);
}

mod stressed {
    use super::{InProcess, QUEUED, STRICT};
    use eventbus_testing::conformance;
    use std::sync::Arc;

    /// How many copies of each case run at once.
    const COPIES: usize = 10;

    fn stress(fixture: InProcess) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let failed = runtime.block_on(conformance::stress(Arc::new(fixture), COPIES));
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn ten_copies_at_once_keep_every_promise_queued() {
        stress(QUEUED);
    }

    #[test]
    fn ten_copies_at_once_keep_every_promise_strict() {
        stress(STRICT);
    }
}
