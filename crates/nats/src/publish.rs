//! Publishing: an event becomes a message, and the server's answer an outcome.

use crate::{
    BACKEND,
    api::Refusal,
    link::{Link, gone},
};
use async_nats::{
    HeaderMap, HeaderName, Subject,
    jetstream::{
        self,
        context::{Context, ContextBuilder, PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Event, Result, cloudevents::nats};
use eventbus_runtime::remote::Stored;
use std::{error::Error as StdError, future::IntoFuture, pin::Pin, time::Duration};

/// How long one attempt waits for its acknowledgement. The bus makes another one under the same id.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many acknowledgements may be outstanding at all. The bus bounds what is enqueued; publishers that wait bound themselves.
const OUTSTANDING: usize = 1 << 20;

/// The answer to an event that was sent.
pub(crate) type Ack = Pin<Box<dyn Future<Output = Result<Stored>> + Send>>;

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
    context: Context,
}

impl Publisher {
    pub(crate) fn new(link: Link, publish_timeout: Duration) -> Self {
        let patience = PATIENCE.min(publish_timeout);
        let context =
            ContextBuilder::new().timeout(patience).ack_timeout(patience).max_ack_inflight(OUTSTANDING).build(link.client.clone());
        Self { link, context }
    }

    /// Hands a message to the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while there is none: nothing waits in the client for a server that is away.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<impl Future<Output = Result<Stored>> + Send + use<>> {
        self.link.check()?;
        message.check_size(self.link.client.max_payload())?;
        let subject = message.subject.clone();
        let publish = PublishMessage::build().headers(message.headers).payload(message.payload);
        let ack = self.context.send_publish(message.subject, publish).await.map_err(|error| refused(&error))?;
        let answer = self.link.answered(subject, ack.into_future());
        Ok(async move { outcome(answer.await?) })
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

type Acknowledged = <PublishAckFuture as IntoFuture>::Output;

fn outcome(acknowledged: Acknowledged) -> Result<Stored> {
    match acknowledged {
        Ok(ack) if ack.duplicate => Ok(Stored::Duplicate),
        Ok(_) => Ok(Stored::New),
        Err(error) => Err(refused(&error)),
    }
}

/// Says why a message was not taken.
fn refused(error: &jetstream::context::PublishError) -> Error {
    let unavailable = |message: &'static str| Error::new(ErrorKind::Unavailable, message);
    match error.kind() {
        PublishErrorKind::StreamNotFound => unavailable("no stream takes the event, or none that has a leader at the moment"),
        PublishErrorKind::TimedOut => unavailable("the server did not acknowledge in time; whether it has the event is unknown"),
        PublishErrorKind::BrokenPipe => gone(),
        _ => match error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) {
            Some(refusal) => refusal_of(refusal).into(),
            None => unavailable("the event could not be handed to the connection").caused_by(error.to_string()),
        },
    }
}

/// The client's error, which hides its number, as ours.
fn refusal_of(error: &jetstream::Error) -> Refusal {
    let read = serde_json::to_value(error).and_then(serde_json::from_value);
    read.unwrap_or_else(|_| Refusal { code: error.code() as u64, reason: 0, description: error.to_string() })
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
