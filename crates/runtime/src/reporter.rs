//! Failures that no call returns, on their way to whoever listens.

use eventbus_core::{Error, ErrorStream};
use futures_core::Stream;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};
use tokio::sync::broadcast;

/// How many failures a slow listener may fall behind before it misses the oldest.
const KEPT: usize = 256;

/// Hands failures to every listener of [`Bus::errors`](eventbus_core::Bus::errors). Cheap to clone.
#[derive(Clone)]
pub struct Reporter(Arc<RwLock<Option<broadcast::Sender<Error>>>>);

impl Reporter {
    /// A reporter without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(RwLock::new(Some(broadcast::channel(KEPT).0))))
    }

    /// Reports a failure. It is made only if somebody listens.
    pub fn report(&self, error: impl FnOnce() -> Error) {
        let sender = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref().filter(|sender| sender.receiver_count() > 0) {
            // There is no receiver only if the last one has gone meanwhile.
            let _ = sender.send(error());
        }
    }

    /// Failures from now on. The stream ends when the reporter is closed.
    #[must_use]
    pub fn listen(&self) -> ErrorStream {
        let sender = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let receiver = sender.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe);
        ErrorStream::new(Failures::new(receiver))
    }

    /// Ends the streams of all listeners, once they have read what was reported before.
    pub fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

type Receiving = Pin<Box<dyn Future<Output = (Option<Error>, broadcast::Receiver<Error>)> + Send>>;

struct Failures(Receiving);

impl Failures {
    fn new(receiver: broadcast::Receiver<Error>) -> Self {
        Self(Box::pin(receive(receiver)))
    }
}

async fn receive(mut receiver: broadcast::Receiver<Error>) -> (Option<Error>, broadcast::Receiver<Error>) {
    loop {
        match receiver.recv().await {
            Ok(error) => return (Some(error), receiver),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return (None, receiver),
        }
    }
}

impl Stream for Failures {
    type Item = Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        let Poll::Ready((error, receiver)) = self.0.as_mut().poll(cx) else { return Poll::Pending };
        self.0 = Box::pin(receive(receiver));
        Poll::Ready(error)
    }
}
