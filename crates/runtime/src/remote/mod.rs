//! A [`Bus`](eventbus_core::Bus) over a server: everything that is the same whichever server it is.
//!
//! A backend implements [`Broker`]: one attempt to send an event, one subscription, the dead letters that the server keeps. [`RemoteBus`] makes
//! a bus of it: the hold, trying again under the same id until the publish timeout, bounded publishing in flight, the engines of the
//! subscriptions, dead letters with filter and redrive, figures, and the close.

mod broker;
mod bus;
mod core;
mod counts;
mod hold;
mod in_flight;
mod letters;
mod publish;
mod subscription;

pub use self::{
    broker::{Broker, Figures, LetterStore, Stored, is_outage, send_each},
    bus::RemoteBus,
    core::RemoteSettings,
};
