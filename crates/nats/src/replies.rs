//! Replies to requests: inboxes, which no stream keeps.

use crate::{delivery, link::Link, publish::Outgoing};
use async_nats::Subscriber;
use eventbus_core::{BusFuture, Error, ErrorKind, Event, Inbox, ReplyTransport, Result, cloudevents::nats};
use futures_core::Stream;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The way of replies over a connection.
pub(crate) struct Replies {
    link: Link,
    /// What the addresses of inboxes begin with.
    prefix: String,
}

impl Replies {
    pub(crate) fn new(link: Link) -> Self {
        // The client's own, which a caller may have set.
        let inbox = link.client.new_inbox();
        let prefix = inbox.rsplit_once('.').map_or_else(|| inbox.clone(), |(prefix, _)| format!("{prefix}."));
        Self { link, prefix }
    }

    /// An address comes with an event, from whomever: it must not make us publish where replies have no business.
    fn check(&self, address: &str) -> Result<()> {
        let is_one = address.strip_prefix(&self.prefix).is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .split('.')
                    .all(|token| !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c)))
        });
        if is_one { Ok(()) } else { Err(Error::invalid(format!("the address of replies {address:?}: it must begin with {}", self.prefix))) }
    }
}

impl ReplyTransport for Replies {
    fn open(&self) -> BusFuture<'_, Result<Inbox>> {
        BusFuture::new(async {
            self.link.check()?;
            let address = self.link.client.new_inbox();
            let replies = self.link.client.subscribe(address.clone()).await;
            let replies =
                replies.map_err(|error| Error::new(ErrorKind::Unavailable, "replies could not be subscribed to").caused_by(error))?;
            Ok(Inbox::new(address, Arriving(replies)))
        })
    }

    fn send<'a>(&'a self, address: &'a str, reply: Event) -> BusFuture<'a, Result<()>> {
        BusFuture::new(async move {
            self.check(address).map_err(|error| error.during("reply"))?;
            self.link.check()?;
            let Outgoing { headers, payload, .. } = Outgoing::new("reply", &reply)?;
            self.link.publish(address.into(), Some(headers), payload).await
        })
    }
}

/// Replies as they arrive. The inbox closes when this is dropped.
struct Arriving(Subscriber);

impl Stream for Arriving {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let Some(message) = ready!(Pin::new(&mut self.0).poll_next(cx)) else { return Poll::Ready(None) };
            match nats::decode(delivery::pairs(message.headers.as_ref()), &message.payload) {
                Ok(reply) => return Poll::Ready(Some(reply)),
                Err(error) => tracing::warn!(target: "eventbus", %error, "a reply cannot be read"),
            }
        }
    }
}
