//! Testing for Eventbus.
//!
//! - [`RecordingBus`] delivers like a real bus and remembers what was published; [`NoopBus`] delivers nothing and counts;
//!   [`FaultyBus`] makes another bus fail where you say.
//! - [`settle`] returns when everything published has been handled, so that "nothing else happened" can be asserted at once, without a
//!   sleep. With a paused Tokio clock (`#[tokio::test(start_paused = true)]`) delays of retries pass at once.
//! - [`Probe`] and [`Gate`] observe and hold handlers.
//! - [`conformance`] is the suite that every backend passes. Yours can, too.
//!
//! ```
//! use eventbus_core::*;
//! use eventbus_runtime::BusExt;
//! use eventbus_testing::{RecordingBus, settle};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let bus = RecordingBus::new();
//! bus.on("order.placed", |ctx: Context| async move { ctx.publish(Event::json("invoice.sent", 1)?).await?; Ok::<_, HandlerError>(()) }).await?;
//! bus.publish(Event::json("order.placed", "o-1")?).await?;
//! settle(&bus, Duration::from_secs(5)).await?;
//! assert_eq!(bus.events_of_type("invoice.sent").len(), 1);
//! assert!(!bus.has_event("invoice.failed"));
//! # Ok(()) }
//! ```

mod buses;
pub mod conformance;
mod observe;
mod settle;

pub use self::{
    buses::{FaultyBus, NoopBus, RecordingBus},
    observe::{Gate, Probe, Seen},
    settle::settle,
};
