//! Replies to requests: channels beside the streams, which end with the request.

use crate::{
    ear::{Ear, Listen, Message, Sound},
    link::Link,
    names::{Names, escaped},
};
use eventbus_core::{BusFuture, Error, Event, Inbox, ReplyTransport, Result, cloudevents::json};
use futures_core::Stream;
use redis::cmd;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::sync::{OnceCell, mpsc};
use uuid::Uuid;

/// How many replies may wait in one inbox.
const CAPACITY: usize = 1024;

/// The replies of a bus. All its inboxes are behind one pattern, so that opening one costs no way to the server.
pub(crate) struct Replies {
    ear: Arc<Ear>,
    link: Arc<Link>,
    /// What the channels of replies begin with, whosever they are.
    prefix: String,
    /// What those of this bus begin with.
    own: String,
    inboxes: Arc<Inboxes>,
    listening: OnceCell<()>,
    next: AtomicU64,
}

#[derive(Default)]
struct Inboxes(Mutex<HashMap<String, mpsc::Sender<Event>>>);

impl Inboxes {
    fn open(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replies {
    pub(crate) fn new(names: &Names, ear: &Arc<Ear>, link: &Arc<Link>) -> Self {
        let prefix = names.replies();
        Self {
            ear: Arc::clone(ear),
            link: Arc::clone(link),
            own: format!("{prefix}{}.", Uuid::now_v7()),
            prefix,
            inboxes: Arc::default(),
            listening: OnceCell::new(),
            next: AtomicU64::new(0),
        }
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        let listener = Arc::clone(&self.inboxes) as Arc<dyn Listen>;
        let sounds = [Sound::Pattern(format!("{}*", escaped(&self.own)))];
        self.listening.get_or_try_init(|| self.ear.listen(&sounds, &listener)).await.map_err(|error| error.during("request"))?;
        let address = format!("{}{}", self.own, self.next.fetch_add(1, Relaxed));
        let (sender, replies) = mpsc::channel(CAPACITY);
        self.inboxes.open().insert(address.clone(), sender);
        let arriving = Arriving { replies, address: address.clone(), inboxes: Arc::clone(&self.inboxes) };
        Ok(Inbox::new(address, arriving))
    }

    async fn send_reply(&self, address: &str, reply: &Event) -> Result<()> {
        // It came with an event, which anybody may have made: replies go to where replies are awaited, and nowhere else.
        if !address.starts_with(&self.prefix) {
            return Err(Error::invalid(format!("reply address {address:?}: it must begin with {:?}", self.prefix)).during("reply"));
        }
        let body = json::encode(reply)?;
        self.link.send(cmd("PUBLISH").arg(address).arg(&body[..])).await.map_err(|failed| Error::from(failed).during("reply"))?;
        Ok(())
    }
}

impl ReplyTransport for Replies {
    fn open(&self) -> BusFuture<'_, Result<Inbox>> {
        BusFuture::new(self.open_inbox())
    }

    fn send<'a>(&'a self, address: &'a str, reply: Event) -> BusFuture<'a, Result<()>> {
        BusFuture::new(async move { self.send_reply(address, &reply).await })
    }
}

impl Listen for Inboxes {
    fn hear(&self, _by: &Sound, message: &Arc<Message>) {
        let channel = &message.channel;
        let Some(inbox) = self.open().get(channel).cloned() else { return };
        match json::decode(&message.body) {
            Ok(reply) => {
                if inbox.try_send(reply).is_err() {
                    tracing::warn!(target: "eventbus", channel, "a reply finds no room: the requester does not read its replies");
                }
            }
            Err(error) => tracing::warn!(target: "eventbus", %error, channel, "a reply cannot be read"),
        }
    }
}

/// Replies as they arrive. The inbox closes when this is dropped.
struct Arriving {
    replies: mpsc::Receiver<Event>,
    address: String,
    inboxes: Arc<Inboxes>,
}

impl Stream for Arriving {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.replies.poll_recv(cx)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.inboxes.open().remove(&self.address);
    }
}
