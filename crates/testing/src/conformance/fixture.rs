//! What a backend tells the suite.

use crate::observe::PATIENCE;
use async_trait::async_trait;
use eventbus_core::{Bus, Result};
use eventbus_memory::MemoryBuilder;
use std::{sync::Arc, time::Duration};

/// How to make a bus of the backend under test.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// A bus that shares nothing with the buses of other names: no events, no groups, no dead letters.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](eventbus_core::ErrorKind::Unsupported) for a setting that the backend does not have; the test is then passed
    /// over. Anything else fails it.
    async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>>;

    /// How long the suite waits for what should happen, such as a delivery, before it calls it missing: half a minute, unless this says
    /// otherwise. A case as a whole may take four times as long.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Whether a publish returns only after the handlers have run. The tests in which a handler waits for what its publisher does next are
    /// then passed over.
    fn publish_waits_for_handlers(&self) -> bool {
        false
    }
}

/// What a test needs of its bus.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The name of the test's own place at the backend: letters, digits and underscores, never used before.
    pub name: String,
    /// Hold back so many events until the start.
    pub hold: Option<usize>,
    /// Remember ids for so long.
    pub dedup_window: Option<Duration>,
    /// Refuse payloads with more bytes.
    pub max_payload: Option<usize>,
    /// Keep so many dead letters.
    pub max_dead_letters: Option<usize>,
    /// How long a publish waits.
    pub publish_timeout: Duration,
    /// How long a close waits.
    pub close_timeout: Duration,
}

impl Setup {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            hold: None,
            dedup_window: None,
            max_payload: None,
            max_dead_letters: None,
            publish_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(20),
        }
    }

    /// An in-process bus with these settings, for the fixtures of buses that are, or are around, one of that kind.
    pub fn in_process(&self, builder: MemoryBuilder) -> MemoryBuilder {
        let mut builder = builder.publish_timeout(self.publish_timeout).close_timeout(self.close_timeout);
        if let Some(capacity) = self.hold {
            builder = builder.hold(capacity);
        }
        if let Some(window) = self.dedup_window {
            builder = builder.dedup_window(window);
        }
        if let Some(bytes) = self.max_payload {
            builder = builder.max_payload(bytes);
        }
        if let Some(letters) = self.max_dead_letters {
            builder = builder.max_dead_letters(letters);
        }
        builder
    }
}
