//! What every Eventbus backend shares.
//!
//! A backend implements [`Bus`](eventbus_core::Bus) and, for consuming, the small trait [`Source`]; the [`Engine`] does the rest:
//! concurrency, order, timeouts, retries, leases, dead letters and shutdown.

pub mod metrics;
pub mod remote;
pub mod spans;
pub mod url;

mod delivery;
mod engine;
mod ext;
mod layer;
mod put_back;
mod reporter;
mod request;
mod routing;
mod source;

pub use self::{
    delivery::{Delivery, EventStream},
    engine::{Engine, EngineContext},
    ext::{BusExt, ErrorReported},
    layer::{HandlerExt, Layer, LayerFn, Stack, layer_fn},
    put_back::PutBack,
    reporter::Reporter,
    request::{Fallible, Gather, IntoReply, IntoResponder, Plain, REPLY_ERROR, REPLY_TO, REPLY_TYPE, RESPONDER, Replies, Reply, Responder},
    routing::Router,
    source::{Backlog, Batch, Buried, Fetched, Outcome, Progress, Run, Settled, Source, Ticket},
};
