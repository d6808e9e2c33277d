//! Waiting until a bus has nothing left to do.

use eventbus_core::{Bus, BusStats, Error, ErrorKind, Result};
use std::time::Duration;
use tokio::time::Instant;

/// Returns when everything published has been handled, given up or dropped, by every subscription and every group that has members.
///
/// What did not happen by then does not happen, so that it can be asserted at once. An event that waits to be tried again has not been
/// handled; with a paused Tokio clock the wait takes no time, and `timeout` is that of the clock. What a paused subscription has not
/// handled is waited for, too. A bus that does not count its lag cannot be waited for: see
/// [`SubscriptionStats::lag`](eventbus_core::SubscriptionStats::lag).
///
/// ```
/// use eventbus_core::*;
/// use eventbus_runtime::BusExt;
/// use eventbus_testing::{Probe, RecordingBus, settle};
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (bus, probe) = (RecordingBus::new(), Probe::new());
/// bus.subscribe(Subscribe::to("order.*"), Arc::new(probe.clone())).await?;
/// bus.publish(Event::json("order.placed", 1)?).await?;
/// bus.publish(Event::json("invoice.sent", 2)?).await?;
/// settle(&bus, Duration::from_secs(5)).await?;
/// assert_eq!(probe.numbers(), [1], "the invoice was not delivered, and will not be");
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::Timeout`] where that takes longer than `timeout`, with how many events are `outstanding` and who is `behind`; those of
/// [`Bus::stats`].
pub async fn settle(bus: &(impl Bus + ?Sized), timeout: Duration) -> Result<()> {
    let mut stats = BusStats::default();
    let settled = async {
        let begun = Instant::now();
        loop {
            stats = bus.stats().await?;
            if stats.outstanding() == 0 {
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
            .with("outstanding", stats.outstanding())
            .with("behind", behind(&stats))),
    }
}

/// The subscriptions and groups that have something left, with how much.
fn behind(stats: &BusStats) -> String {
    let ungrouped = stats.subscriptions.iter().filter(|subscription| subscription.group.is_none());
    let ungrouped = ungrouped.map(|subscription| (&subscription.name, subscription.lag.unwrap_or(0), subscription.paused));
    let grouped = stats.groups.iter().filter(|group| group.members > 0).map(|group| (&group.name, group.lag, false));
    let behind = ungrouped.chain(grouped).filter(|(_, lag, _)| *lag > 0);
    let said = behind.map(|(name, lag, paused)| format!("{name}: {lag}{}", if paused { " (paused)" } else { "" }));
    said.collect::<Vec<_>>().join(", ")
}
