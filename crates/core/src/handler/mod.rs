//! Handlers: what runs for each event that a subscription gets.
//!
//! Most handlers are plain async functions or closures over [`Event`], [`Context`] and [`Data`], in any of the usual combinations; see
//! [`IntoHandler`]. A type with state of its own implements [`Handler`].

mod context;
mod error;
mod extract;
mod function;

pub use self::{
    context::{Context, EventBatch, Scope},
    error::{HandlerError, Verdict},
    extract::{Data, FromDelivery},
    function::{BatchFn, FnHandler, IntoBatchHandler, IntoBatchOutcome, IntoHandler, IntoOutcome},
};

use crate::Event;
use async_trait::async_trait;
use std::sync::Arc;

/// Runs for each event that a subscription gets.
///
/// The event is acknowledged when `handle` returns `Ok`, never before. A panic is caught and treated as [`HandlerError::retry`].
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event.
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError>;

    /// A name for logs, metrics and dead letters.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// Handles several events at once, with one outcome for each, in their order. Called instead of [`handle`](Self::handle) where the
    /// subscription asks for [batches](crate::Subscribe::batch).
    ///
    /// Left as it is, it handles one event after the other.
    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        let mut outcomes = Vec::with_capacity(events.len());
        for (position, event) in events.iter().enumerate() {
            outcomes.push(self.handle(&ctx.at(position), event).await);
        }
        outcomes
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        (**self).handle(ctx, event).await
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        (**self).handle_batch(ctx, events).await
    }
}
