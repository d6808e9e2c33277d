//! A message as it arrives from a stream.

use crate::filter::Filter;
use async_nats::{HeaderMap, Message, Subject};
use eventbus_core::{
    Error, Event, Result,
    cloudevents::{nats, undecodable},
};
use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// What settles a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// Where its outcome is sent; none where the server wants to hear nothing.
    pub(crate) reply: Option<Subject>,
    /// Its place in the stream, or 0 where there is none.
    pub(crate) sequence: u64,
    /// How often the server has delivered it, this time included.
    pub(crate) delivered: u64,
    /// How many of these count for nothing, since they were given back.
    pub(crate) uncounted: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub(crate) stored_at: u64,
    /// When it arrived here.
    pub(crate) arrived: Instant,
    pub(crate) bytes: usize,
    /// Of which incarnation of the stream it is.
    pub(crate) epoch: u64,
}

impl Token {
    /// A delivery that no stream keeps.
    pub(crate) fn of_message(bytes: usize) -> Self {
        Self { reply: None, sequence: 0, delivered: 1, uncounted: 0, stored_at: now_nanos(), arrived: Instant::now(), bytes, epoch: 0 }
    }

    /// The attempt that this delivery is.
    pub(crate) fn attempt(&self) -> u32 {
        u32::try_from(self.delivered.saturating_sub(self.uncounted).max(1)).unwrap_or(u32::MAX)
    }

    /// How long ago the server stored the event. The two clocks are not the same, so it may be nothing.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(now_nanos().saturating_sub(self.stored_at))
    }
}

fn now_nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the event of a message. Where it cannot be read, an event stands for it, as it was received.
///
/// `place` names the message, for that stand-in.
pub(crate) fn read(message: &Message, filter: &Filter, place: impl FnOnce() -> String) -> (Event, Result<()>) {
    let headers = message.headers.as_ref();
    match nats::decode(pairs(headers), &message.payload) {
        Ok(event) => (event, Ok(())),
        Err(error) => {
            let filed = filter.filed_under(&message.subject);
            let is_type = filed.is_some_and(|name| eventbus_core::EventType::new(name).is_ok());
            // What the stand-in cannot say by its type, it says by an attribute.
            let subject = (!is_type).then_some((SUBJECT, message.subject.as_str()));
            let attributes = pairs(headers).chain(subject).map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value.as_bytes())));
            (undecodable::stand_in(&place(), filed, attributes, message.payload.clone()), Err(error))
        }
    }
}

/// The attribute in which a stand-in keeps a subject that is no event type.
pub(crate) const SUBJECT: &str = "Nats-Subject";

/// Headers as names and values.
pub(crate) fn pairs(headers: Option<&HeaderMap>) -> impl Iterator<Item = (&str, &str)> {
    headers.into_iter().flat_map(HeaderMap::iter).flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
}

/// The error of a message that cannot be read, with its place.
pub(crate) fn unreadable(error: Error, subject: &str, sequence: u64) -> Error {
    error.with("subject", subject).with("sequence", sequence)
}
