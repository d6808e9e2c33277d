//! Testing for Eventbus: for applications, and for those who write a backend.
//!
//! # Testing an application
//!
//! - [`RecordingBus`] delivers like a real bus and remembers what was published; [`NoopBus`] delivers nothing and counts;
//!   [`FaultyBus`] makes another bus fail where you say.
//! - [`settle`] returns when everything published has been handled, so that "nothing else happened" can be asserted at once, without a
//!   sleep.
//! - [`Probe`] is a handler that remembers what it got, and [`Gate`] holds handlers until the test lets them go.
//!
//! Give the code under test a [`RecordingBus`] where it takes an `Arc<dyn Bus>`, publish what it should react to, and look at what it
//! published:
//!
//! ```
//! use eventbus_core::*;
//! use eventbus_runtime::BusExt;
//! use eventbus_testing::{RecordingBus, settle};
//! use std::{sync::Arc, time::Duration};
//!
//! /// The code under test: it sends an invoice for each order.
//! async fn billing(bus: Arc<dyn Bus>) -> Result<()> {
//!     let bill = |ctx: Context, order: Event| async move { ctx.publish(Event::json("invoice.sent", order.id())?).await };
//!     bus.on("order.placed", bill).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let bus = RecordingBus::new();
//! billing(Arc::new(bus.clone())).await?;
//!
//! let order = Event::json("order.placed", "o-1")?;
//! bus.publish(order.clone()).await?;
//! settle(&bus, Duration::from_secs(5)).await?;
//!
//! let invoices = bus.events_of_type("invoice.sent");
//! assert_eq!(invoices.len(), 1);
//! assert_eq!(invoices[0].causation_id(), Some(order.id()));
//! assert!(!bus.has_event("invoice.failed"));
//! # Ok(()) }
//! ```
//!
//! ## Delays without waiting
//!
//! With a paused Tokio clock (`#[tokio::test(start_paused = true)]`, Tokio's feature `test-util`) a delay passes at once, and the clock
//! says how long it was:
//!
//! ```
//! use eventbus_core::*;
//! use eventbus_testing::{Probe, RecordingBus, settle};
//! use std::{sync::Arc, time::Duration};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<()> {
//! let hour = Duration::from_secs(3600);
//! let bus = RecordingBus::new();
//! let busy = Probe::with(|ctx, _| async move { if ctx.attempt() == 1 { Err(HandlerError::retry("busy")) } else { Ok(()) } });
//! bus.subscribe(Subscribe::to("order.placed").retry(Retry::fixed(hour)), Arc::new(busy.clone())).await?;
//!
//! bus.publish(Event::json("order.placed", "o-1")?).await?;
//! settle(&bus, 2 * hour).await?;
//! let seen = busy.seen();
//! assert_eq!(seen.len(), 2);
//! assert!(seen[1].at - seen[0].at >= hour);
//! # Ok(()) }
//! ```
//!
//! # Testing a backend
//!
//! [`conformance`](mod@conformance) is the suite that every backend passes: one test for each promise that the backend's
//! [`Capabilities`](eventbus_core::Capabilities) make. Yours can, too. It says how to make a bus, and
//! [`conformance!`](crate::conformance!) makes the tests:
//!
//! ```
//! use async_trait::async_trait;
//! use eventbus_core::{Bus, Result};
//! use eventbus_memory::MemoryBus;
//! use eventbus_testing::conformance::{self, Fixture, Setup};
//! use std::sync::Arc;
//!
//! struct Mine;
//!
//! #[async_trait]
//! impl Fixture for Mine {
//!     async fn bus(&self, setup: &Setup) -> Result<Arc<dyn Bus>> {
//!         // Yours puts `setup.name` into every name that it makes at the broker, and passes on the other settings.
//!         Ok(Arc::new(MemoryBus::builder().close_timeout(setup.close_timeout).build()?))
//!     }
//! }
//!
//! // In `tests/conformance.rs`, one `#[test]` for each promise:
//! eventbus_testing::conformance!(Mine);
//!
//! # fn main() {
//! // Or one of them, by its name:
//! conformance::run_case(Mine, "order::per_key_keeps_the_order_of_each_key");
//! # }
//! ```

mod buses;
pub mod conformance;
#[cfg(feature = "servers")]
pub mod faults;
mod history;
mod observe;
#[cfg(feature = "servers")]
pub mod servers;
mod settle;

pub use self::{
    buses::{FaultyBus, NoopBus, RecordingBus},
    history::{History, Judgement},
    observe::{Gate, Probe, Seen},
    settle::settle,
};
