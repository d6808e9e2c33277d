//! Waiting until a bus has nothing left to do.

use eventbus_core::{Bus, Error, ErrorKind, Result};
use std::time::Duration;
use tokio::time::Instant;

/// Returns when everything published has been handled, given up or dropped, by every subscription and every group that has members.
///
/// What did not happen by then does not happen, so that it can be asserted at once.
///
/// # Errors
/// [`ErrorKind::Timeout`] where that takes longer than `timeout`, with how much is `outstanding`; those of [`Bus::stats`].
pub async fn settle(bus: &(impl Bus + ?Sized), timeout: Duration) -> Result<()> {
    let mut outstanding = 0;
    let settled = async {
        let begun = Instant::now();
        loop {
            outstanding = bus.stats().await?.outstanding();
            if outstanding == 0 {
                return Ok(());
            }
            // The longer it took, the less a little more matters; and an hour of a paused clock takes few steps.
            let pause = begun.elapsed() / 8;
            tokio::time::sleep(pause.clamp(Duration::from_micros(100), Duration::from_secs(1))).await;
        }
    };
    match tokio::time::timeout(timeout, settled).await {
        Ok(settled) => settled,
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("not everything was handled within {timeout:?}"))
            .during("settle")
            .with("outstanding", outstanding)),
    }
}
