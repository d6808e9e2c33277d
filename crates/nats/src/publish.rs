//! Publishing: an event becomes a message, and the server's answer an outcome.

use crate::{
    BACKEND,
    acks::{Ack, Acks},
    link::Link,
};
use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Event, Result, cloudevents::nats};
use eventbus_runtime::remote::Stored;
use std::{sync::Arc, time::Duration};

/// How long one attempt waits for its acknowledgement. The bus makes another one under the same id.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event as a message.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// The bytes of headers and payload together, which is what a server counts.
    pub(crate) size: usize,
}

impl Outgoing {
    /// An event under `{prefix}.{type}`, in binary mode.
    pub(crate) fn new(prefix: &str, event: &Event) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let mut size = EMPTY_HEADERS;
        let payload = nats::encode(event, |name, value| {
            size += line(name, value);
            headers.insert(header_name(name), value);
        })?;
        size += payload.len();
        Ok(Self { subject: nats::subject(prefix, event.event_type()).into(), headers, payload, size })
    }

    /// The same with a header more. Its value must be one line.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.size += line(name.as_ref(), value);
        self.headers.insert(name, value);
        self
    }

    /// The same under the id that the server deduplicates by.
    pub(crate) fn with_id(self, id: &str) -> Self {
        self.with(HeaderName::from_static(nats::MESSAGE_ID), id)
    }

    /// # Errors
    /// Where it is larger than the server takes.
    pub(crate) fn check_size(&self, limit: usize) -> Result<()> {
        if self.size <= limit {
            return Ok(());
        }
        let message = format!("with its headers the event has {} bytes, and the server takes {limit}", self.size);
        Err(Error::new(ErrorKind::TooLarge { limit, size: self.size }, message))
    }
}

/// `NATS/1.0` and the two line ends after it.
const EMPTY_HEADERS: usize = 12;

/// The bytes of a header: name, colon, space, value, line end.
fn line(name: &str, value: &str) -> usize {
    name.len() + value.len() + 4
}

/// The name of a header, without an allocation for those of nearly every event.
fn header_name(name: &str) -> HeaderName {
    static USUAL: [HeaderName; 8] = [
        HeaderName::from_static("ce-specversion"),
        HeaderName::from_static("ce-id"),
        HeaderName::from_static("ce-source"),
        HeaderName::from_static("ce-type"),
        HeaderName::from_static("ce-time"),
        HeaderName::from_static("ce-subject"),
        HeaderName::from_static("ce-datacontenttype"),
        HeaderName::from_static("ce-partitionkey"),
    ];
    let usual = USUAL.iter().find(|usual| AsRef::<str>::as_ref(*usual) == name);
    usual.cloned().unwrap_or_else(|| async_nats::header::IntoHeaderName::into_header_name(name))
}

/// Sends messages that JetStream acknowledges. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    link: Link,
    acks: Arc<Acks>,
}

impl Publisher {
    pub(crate) async fn open(link: Link, publish_timeout: Duration) -> Result<Self> {
        let acks = Acks::open(&link, PATIENCE.min(publish_timeout)).await?;
        Ok(Self { link, acks: Arc::new(acks) })
    }

    /// Hands a message to the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while there is none: nothing waits in the client for a server that is away.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<Ack> {
        self.link.check()?;
        message.check_size(self.link.client.max_payload())?;
        let (reply, ack) = self.acks.register(message.subject.clone())?;
        self.link.publish_with_reply(message.subject, reply, message.headers, message.payload).await?;
        Ok(ack)
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Sends a message and waits for its acknowledgement.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<Stored> {
        self.send(message).await?.await
    }
}

/// The most that an event may have of data, and of data and headers together, where a server takes messages of this size.
pub(crate) struct Limits {
    pub(crate) payload: usize,
    pub(crate) message: usize,
}

impl Limits {
    /// Keeps room for headers, and for those that a dead letter has more.
    pub(crate) fn of(server: usize, configured: Option<usize>) -> Self {
        let payload = server - (64 * 1024).min(server / 4);
        let message = server - (4 * 1024).min(server / 16);
        Self { payload: configured.map_or(payload, |configured| configured.min(payload)), message }
    }
}

/// An error that names the backend where something is said of the server.
pub(crate) fn unsupported(option: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{option} is not supported by the {BACKEND} backend: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_becomes_a_message_whose_size_is_known() {
        let event = Event::builder("order.placed").id("e 1").source("/shop").json_text("{}").extension("ext", "ü").build().unwrap();
        let message = Outgoing::new("shop", &event).unwrap().with_id(&nats::message_id(&event));
        assert_eq!(&*message.subject, "shop.order.placed");
        assert_eq!(message.headers.get("ce-id").unwrap().as_str(), "e%201");
        assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), "/shop#e%201");
        assert_eq!(message.headers.get("ce-ext").unwrap().as_str(), "%C3%BC");
        let written: usize = message.headers.iter().map(|(name, values)| line(name.as_ref(), values[0].as_str())).sum();
        assert_eq!(message.size, EMPTY_HEADERS + written + 2);
        assert!(message.check_size(message.size).is_ok());
        let error = message.check_size(message.size - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge { limit: message.size - 1, size: message.size });
    }

    #[test]
    fn limits_leave_room_for_headers() {
        let limits = Limits::of(1 << 20, None);
        assert_eq!((limits.payload, limits.message), ((1 << 20) - 65_536, (1 << 20) - 4096));
        let limits = Limits::of(1024, None);
        assert_eq!((limits.payload, limits.message), (768, 960));
        assert_eq!(Limits::of(1024, Some(10)).payload, 10);
        assert_eq!(Limits::of(1024, Some(10_000)).payload, 768);
    }
}
