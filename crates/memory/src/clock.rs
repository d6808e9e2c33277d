//! Points in time as the broker keeps them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch: zero before it, and good until the year 2554.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
}
