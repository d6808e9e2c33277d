//! Inline dispatch: a publish returns after the handlers have run, and after those of everything that they published in turn.
//!
//! An event and what it leads to are one cascade. Every delivery of it holds on to the cascade; when the last lets go, the publisher
//! goes on. What a handler publishes joins the cascade it is handling, so its publish does not wait: it would wait for itself.

use crate::{broker::Latch, core::Core};
use eventbus_core::{Context, Event, Handler, HandlerError, async_trait};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

tokio::task_local! {
    /// The cascade that the handler of this task is a part of, if somebody waits for it.
    static CASCADE: Option<Latch>;
}

/// How a publisher takes part in a cascade.
pub(crate) enum Part {
    /// It began the cascade and waits for its end.
    Beginner(Latch, oneshot::Receiver<()>),
    /// It is a handler, of a cascade or of an event that was published by nobody who waits.
    Within(Option<Latch>),
}

impl Part {
    /// The part of whoever publishes now.
    pub(crate) fn now() -> Self {
        match CASCADE.try_with(Clone::clone) {
            Ok(cascade) => Self::Within(cascade),
            Err(_) => {
                let (sender, receiver) = oneshot::channel();
                Self::Beginner(Arc::new(sender), receiver)
            }
        }
    }

    pub(crate) fn latch(&self) -> Option<Latch> {
        match self {
            Self::Beginner(latch, _) => Some(Arc::clone(latch)),
            Self::Within(latch) => latch.clone(),
        }
    }

    /// Waits until the cascade has ended, if it was begun here. False where that takes longer than `most`.
    pub(crate) async fn wait(self, most: Duration) -> bool {
        let Self::Beginner(latch, ended) = self else { return true };
        drop(latch);
        // The sender is never used: it being gone is the message.
        tokio::time::timeout(most, ended).await.is_ok()
    }
}

/// Runs a handler as a part of the cascade of its event.
pub(crate) struct InlineHandler {
    inner: Arc<dyn Handler>,
    core: Arc<Core>,
}

impl InlineHandler {
    pub(crate) fn new(inner: Arc<dyn Handler>, core: Arc<Core>) -> Self {
        Self { inner, core }
    }
}

#[async_trait]
impl Handler for InlineHandler {
    async fn handle(&self, ctx: &Context, event: &Event) -> Result<(), HandlerError> {
        let cascade = self.core.broker().cascade(ctx.sequence());
        CASCADE.scope(cascade, self.inner.handle(ctx, event)).await
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn handle_batch(&self, ctx: &Context, events: &[Event]) -> Vec<Result<(), HandlerError>> {
        let cascade = self.core.broker().cascade(ctx.sequence());
        CASCADE.scope(cascade, self.inner.handle_batch(ctx, events)).await
    }
}
