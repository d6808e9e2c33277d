//! Settings of an in-process bus.

use crate::MemoryBus;
use eventbus_core::{Error, MAX_DURATION, Result};
use std::time::Duration;

/// How many events are retained for replay. A zero in `events` retains none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most this many events.
    pub events: usize,
    /// At most this many bytes of data. A typed value that nobody has encoded counts as the size of its Rust type.
    pub bytes: usize,
    /// Events at most this old; `None` of any age.
    pub age: Option<Duration>,
}

/// Builds a [`MemoryBus`]. Values are checked by [`build`](Self::build).
///
/// ```
/// use eventbus_memory::MemoryBus;
/// use std::time::Duration;
/// let bus = MemoryBus::builder().strict().retain_events(100_000).retain_age(Duration::from_secs(3600)).build()?;
/// # Ok::<(), eventbus_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a bus exists only after `build`"]
pub struct MemoryBuilder {
    pub(crate) retention: Retention,
    pub(crate) dedup_window: Option<Duration>,
    pub(crate) dedup_events: usize,
    pub(crate) hold: Option<usize>,
    pub(crate) inline: bool,
    pub(crate) strict: bool,
    pub(crate) max_payload: usize,
    pub(crate) max_dead_letters: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        Self {
            retention: Retention { events: 1024, bytes: 64 * 1024 * 1024, age: None },
            dedup_window: Some(Duration::from_secs(120)),
            dedup_events: 100_000,
            hold: None,
            inline: false,
            strict: false,
            max_payload: 1024 * 1024,
            max_dead_letters: 10_000,
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
        }
    }
}

impl MemoryBuilder {
    /// How many events are retained for replay. Default 1024; 0 retains none, and only `Start::New` is then supported.
    pub fn retain_events(mut self, events: usize) -> Self {
        self.retention.events = events;
        self
    }

    /// How many bytes of data are retained for replay. Default 64 MiB.
    pub fn retain_bytes(mut self, bytes: usize) -> Self {
        self.retention.bytes = bytes;
        self
    }

    /// How old retained events may be. Default any age.
    pub fn retain_age(mut self, age: Duration) -> Self {
        self.retention.age = Some(age);
        self
    }

    /// For how long the same (source, id) is stored once. Default 2 minutes; zero turns it off.
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.dedup_window = Some(window);
        self
    }

    /// How many events the dedup window remembers at most. Default 100,000.
    pub fn dedup_events(mut self, events: usize) -> Self {
        self.dedup_events = events;
        self
    }

    /// Holds back everything that is published until [`Bus::start`](eventbus_core::Bus::start), at most `capacity` events.
    pub fn hold(mut self, capacity: usize) -> Self {
        self.hold = Some(capacity);
        self
    }

    /// `publish` returns after the handlers have run.
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Sends every event through the codec, so that tests catch what a broker would refuse or change.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The largest payload accepted, in bytes. Default 1 MiB. A typed value that nobody has encoded is not measured, unless the bus is
    /// [strict](Self::strict).
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// How many dead letters are kept. Default 10,000. A full store refuses further ones: their events stay and are tried again.
    pub fn max_dead_letters(mut self, letters: usize) -> Self {
        self.max_dead_letters = letters;
        self
    }

    /// How long a publish waits for room in full subscriptions. Default 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// How long a close waits for handlers. Default 30 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// The bus.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid), naming the setting, the value and the rule.
    pub fn build(self) -> Result<MemoryBus> {
        let durations = [("publish_timeout", self.publish_timeout), ("close_timeout", self.close_timeout)];
        for (name, duration) in durations {
            if duration.is_zero() {
                return Err(Error::invalid(format!("{name} 0: it must be above zero")));
            }
        }
        let optional = [("dedup_window", self.dedup_window), ("retain_age", self.retention.age)];
        for (name, duration) in durations.into_iter().chain(optional.into_iter().filter_map(|(name, duration)| Some((name, duration?)))) {
            if duration > MAX_DURATION {
                return Err(Error::invalid(format!("{name} {duration:?}: it must be at most 30 days")));
            }
        }
        if self.retention.age == Some(Duration::ZERO) {
            return Err(Error::invalid("retain_age 0: it must be above zero; to retain nothing set retain_events to 0"));
        }
        for (name, value) in [("max_payload", Some(self.max_payload)), ("hold", self.hold)] {
            if value == Some(0) {
                return Err(Error::invalid(format!("{name} 0: it must be at least 1")));
            }
        }
        if self.max_payload > u32::MAX as usize {
            return Err(Error::invalid(format!("max_payload {}: it must be at most {}", self.max_payload, u32::MAX)));
        }
        Ok(MemoryBus::from_builder(self))
    }
}
