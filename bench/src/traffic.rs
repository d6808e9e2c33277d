//! The events of the contests in process, and what handlers count of them.

use crate::contest::Result;
use eventbus::EventData;
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    iter::StepBy,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// An event with 64 bytes of data.
#[derive(Debug, Clone, Serialize, Deserialize, EventData, ruststream::Outgoing)]
#[event(type = "bench.tick")]
pub struct Tick {
    numbers: [u64; 8],
}

impl Tick {
    /// The event with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self { numbers: [number; 8] }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.numbers[0]
    }
}

/// The numbers that one publisher has to publish.
pub type Numbers = StepBy<Range<u64>>;

/// What subscribers of a round have handled. A round ends with the last event of the last subscriber.
pub struct Tally {
    /// For each subscriber how many came, and the sum of their numbers in the lower bits.
    came: Vec<Lonely>,
    expected: AtomicU64,
    missing: AtomicU64,
    ended: Mutex<Option<Instant>>,
    end: Notify,
}

/// On a cache line of its own, so that subscribers do not slow each other by counting.
#[repr(align(128))]
#[derive(Default)]
struct Lonely(AtomicU64);

const SUM_BITS: u32 = 44;

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Tally {
    /// For so many subscribers.
    #[must_use]
    pub fn new(subscribers: usize) -> Arc<Self> {
        Arc::new(Self {
            came: std::iter::repeat_with(Lonely::default).take(subscribers).collect(),
            expected: AtomicU64::new(u64::MAX),
            missing: AtomicU64::new(0),
            ended: Mutex::new(None),
            end: Notify::new(),
        })
    }

    /// Notes that a subscriber has handled the event with this number.
    pub fn note(&self, subscriber: usize, number: u64) {
        let before = self.came[subscriber].0.fetch_add(1 << SUM_BITS | number, AcqRel);
        if (before >> SUM_BITS) + 1 == self.expected.load(Acquire) && self.missing.fetch_sub(1, AcqRel) == 1 {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.end.notify_one();
        }
    }

    /// Has the events 0 to `events` published by so many publishers at once. Returns how long it took until the last was handled.
    ///
    /// # Errors
    /// What a publisher returned, or what is missing or came twice.
    pub async fn round<F>(self: &Arc<Self>, publishers: u64, events: u64, publish: impl Fn(Numbers) -> F) -> Result<Duration>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        assert!(events < 1 << 20, "a sum has to fit into its bits");
        self.came.iter().for_each(|one| one.0.store(0, Release));
        self.missing.store(self.came.len() as u64, Release);
        self.expected.store(events, Release);
        let begun = Instant::now();
        let publishing: Vec<_> =
            (0..publishers).map(|publisher| tokio::spawn(publish((publisher..events).step_by(publishers as usize)))).collect();
        for publisher in publishing {
            publisher.await??;
        }
        if tokio::time::timeout(PATIENCE, self.end.notified()).await.is_err() {
            let came: Vec<_> = self.came.iter().map(|one| one.0.load(Acquire) >> SUM_BITS).collect();
            return Err(format!("of {events} events came only {came:?}").into());
        }
        let sum = events << SUM_BITS | (events * (events - 1) / 2);
        if let Some(wrong) = self.came.iter().position(|one| one.0.load(Acquire) != sum) {
            return Err(format!("subscriber {wrong} did not get each event once").into());
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(Instant::now);
        Ok(ended.duration_since(begun))
    }
}

/// Of something that took so long, how much of it happens in a second.
#[must_use]
pub fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
