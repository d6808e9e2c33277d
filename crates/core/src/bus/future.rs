//! The future that the methods of [`Bus`](crate::Bus) return.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The future of a bus operation: an answer that is already there, or one that has to be waited for.
///
/// [`Bus`](crate::Bus) is object-safe, so its methods cannot be `async fn`. A boxed future for each publish would cost an allocation also
/// where the answer is known at once, as it nearly always is in process.
#[must_use = "the operation may not take place, and its outcome is not known, unless it is awaited"]
pub struct BusFuture<'a, T>(State<'a, T>);

enum State<'a, T> {
    Ready(Option<T>),
    Waiting(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> BusFuture<'a, T> {
    /// An answer that is already there.
    pub const fn ready(answer: T) -> Self {
        Self(State::Ready(Some(answer)))
    }

    /// An answer that has to be waited for.
    pub fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(State::Waiting(Box::pin(future)))
    }
}

impl<T: Unpin> Future for BusFuture<'_, T> {
    type Output = T;

    /// # Panics
    /// If polled again after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            State::Ready(answer) => Poll::Ready(answer.take().expect("a BusFuture was polled after it was ready")),
            State::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for BusFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "BusFuture(ready)",
            State::Waiting(_) => "BusFuture(waiting)",
        })
    }
}
