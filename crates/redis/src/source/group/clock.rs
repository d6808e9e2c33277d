//! The server's clock, by which leases are counted.

use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The server's clock, as far as it is known here.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<(Instant, u64)>>);

impl Clock {
    pub(super) fn tell(&self, millis: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), millis));
    }

    /// What the server's clock shows now, at the least.
    pub(super) fn now(&self) -> u64 {
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.map_or(0, |(since, millis)| millis + since.elapsed().as_millis() as u64)
    }
}
