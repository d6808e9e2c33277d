//! Replies to requests: channels beside the log of events.

use crate::core::Core;
use eventbus_core::{BusFuture, Error, ErrorKind, Event, Inbox, ReplyTransport, Result};
use futures_core::Stream;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// How many replies may wait in one inbox.
const CAPACITY: usize = 1024;

/// The inboxes that are open.
#[derive(Default)]
pub(crate) struct Inboxes(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    senders: HashMap<String, mpsc::Sender<Event>>,
}

impl Inboxes {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The replies of a bus.
pub(crate) struct Replies(pub(crate) Weak<Core>);

impl ReplyTransport for Replies {
    fn open(&self) -> BusFuture<'_, Result<Inbox>> {
        let Some(core) = self.0.upgrade() else { return BusFuture::ready(Err(Error::closed("request"))) };
        let (sender, replies) = mpsc::channel(CAPACITY);
        let address = {
            let mut open = core.inboxes.open();
            open.next += 1;
            let address = format!("inbox-{}", open.next);
            open.senders.insert(address.clone(), sender);
            address
        };
        BusFuture::ready(Ok(Inbox::new(address.clone(), Arriving { replies, address, core })))
    }

    fn send<'a>(&'a self, address: &'a str, reply: Event) -> BusFuture<'a, Result<()>> {
        let Some(core) = self.0.upgrade() else { return BusFuture::ready(Err(Error::closed("reply"))) };
        let sender = core.inboxes.open().senders.get(address).cloned();
        BusFuture::ready(match sender.map(|sender| sender.try_send(reply)) {
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                Err(Error::new(ErrorKind::Full { limit: CAPACITY }, "the requester does not read its replies")
                    .during("reply")
                    .with("inbox", address))
            }
            // Whoever asked has its answer or waits no more.
            Some(Ok(()) | Err(mpsc::error::TrySendError::Closed(_))) | None => Ok(()),
        })
    }
}

/// Replies as they arrive. The inbox closes when this is dropped.
struct Arriving {
    replies: mpsc::Receiver<Event>,
    address: String,
    core: Arc<Core>,
}

impl Stream for Arriving {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.replies.poll_recv(cx)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.core.inboxes.open().senders.remove(&self.address);
    }
}
