//! The way that replies to requests take. They never enter the log of events.

use crate::{BusFuture, Event, Result};
use futures_core::Stream;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// What a backend offers for request and reply. Requests are events like any other; they carry the address of an [`Inbox`].
pub trait ReplyTransport: Send + Sync {
    /// Opens an inbox of its own for one request. It closes when it is dropped.
    fn open(&self) -> BusFuture<'_, Result<Inbox>>;

    /// Sends a reply to the address that a request carried. A reply to an inbox that is no longer open is not an error.
    fn send<'a>(&'a self, address: &'a str, reply: Event) -> BusFuture<'a, Result<()>>;
}

/// Where the replies to one request arrive.
pub struct Inbox {
    address: String,
    replies: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

impl Inbox {
    /// An inbox with its address and the replies as they arrive.
    pub fn new(address: impl Into<String>, replies: impl Stream<Item = Event> + Send + 'static) -> Self {
        Self { address: address.into(), replies: Box::pin(replies) }
    }

    /// The address that the request carries.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next reply, or `None` where none can arrive any more.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.replies.as_mut().poll_next(cx)).await
    }
}

impl Stream for Inbox {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.replies.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("address", &self.address).finish_non_exhaustive()
    }
}
