//! Buses for tests.

mod faulty;
mod noop;
mod recording;

pub use self::{faulty::FaultyBus, noop::NoopBus, recording::RecordingBus};

use async_trait::async_trait;
use eventbus_core::{Bus, Context, Event, Handler, HandlerError};
use std::sync::Arc;

/// Wraps the bus that handlers publish on as the bus that they were subscribed through is wrapped. What the wrapped bus grants to
/// handlers, such as to publish while it closes, stays granted.
pub(crate) struct Within<Wrap> {
    pub(crate) inner: Arc<dyn Handler>,
    pub(crate) wrap: Wrap,
}

impl<Wrap: Fn(Arc<dyn Bus>) -> Arc<dyn Bus>> Within<Wrap> {
    fn context(&self, ctx: &Context) -> Context {
        ctx.clone().with_bus((self.wrap)(Arc::clone(ctx.bus())))
    }
}

#[async_trait]
impl<Wrap: Fn(Arc<dyn Bus>) -> Arc<dyn Bus> + Send + Sync + 'static> Handler for Within<Wrap> {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        self.inner.handle(&self.context(ctx), event).await
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        self.inner.handle_batch(&self.context(ctx), events).await
    }
}
