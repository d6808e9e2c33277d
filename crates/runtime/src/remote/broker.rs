//! What a backend behind a connection gives: sending, subscribing and looking after what the server keeps.

use crate::Source;
use eventbus_core::{Capabilities, DeadLetter, Error, ErrorKind, Event, GroupStats, Health, Plan, ReplyTransport, Result};
use std::{fmt, future::Future, time::Duration};

/// A server that keeps events, as a [`RemoteBus`](super::RemoteBus) needs it.
///
/// One call is one attempt: waiting for a server that is away, trying again and counting are the bus's.
pub trait Broker: Send + Sync + 'static {
    /// What a subscription fetches from.
    type Source: Source;
    /// The server's answer to an event that was sent.
    type Ack: Future<Output = Result<Stored>> + Send + 'static;
    /// The dead letters that the server keeps.
    type Letters: LetterStore;

    /// What this backend can do.
    fn capabilities(&self) -> &Capabilities;

    /// Hands an event to the connection, in the order of the calls. Resolves when it is on its way; waits while the connection takes no
    /// more. The event has been checked, and its data is no larger than the bus accepts.
    ///
    /// # Errors
    /// [`Unavailable`](eventbus_core::ErrorKind::Unavailable) where the connection is lost, which is worth another attempt under the same id;
    /// anything else is final. The same goes for the errors of the [`Ack`](Self::Ack), whose outcome may then be unknown.
    fn send(&self, event: &Event) -> impl Future<Output = Result<Self::Ack>> + Send;

    /// Whether several events are better [sent together](Self::send_all) than one after the other.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Sends several events in their order and waits for all answers: one for each.
    ///
    /// After the first [outage](is_outage) nothing more should be sent, but be answered with the same error: what follows would be stored
    /// before the events that are sent again, and each further attempt to reach the server would take its own time.
    fn send_all(&self, events: &[Event]) -> impl Future<Output = Vec<Result<Stored>>> + Send {
        send_each(self, events)
    }

    /// Makes or joins what the plan asks for at the server. When this resolves, whatever is published from then on will be fetched.
    ///
    /// # Errors
    /// [`Conflict`](eventbus_core::ErrorKind::Conflict) where the group exists with another declaration, and those of the connection.
    fn subscribe(&self, plan: &Plan) -> impl Future<Output = Result<Self::Source>> + Send;

    /// A subscription has ended, for whatever reason: what the server keeps for this member alone can go. Its groups stay.
    fn leave(&self, source: &Self::Source) -> impl Future<Output = ()> + Send;

    /// Deletes a group with what the server keeps for it. Whether there was one.
    ///
    /// # Errors
    /// [`Conflict`](eventbus_core::ErrorKind::Conflict) where the server tells that it has members, and those of the connection.
    fn delete_group(&self, group: &str) -> impl Future<Output = Result<bool>> + Send;

    /// The dead letters, where there are any.
    fn letters(&self) -> Option<&Self::Letters>;

    /// The way of replies, where there is one.
    fn replies(&self) -> Option<&dyn ReplyTransport>;

    /// Asks for a sign of life. A server that cannot be reached is [reconnecting](eventbus_core::HealthState::Reconnecting), not an error.
    fn health(&self) -> impl Future<Output = Result<Health>> + Send;

    /// What the server counts.
    ///
    /// # Errors
    /// Those of the connection.
    fn figures(&self) -> impl Future<Output = Result<Figures>> + Send;

    /// Ends what runs in the background, and the connection unless it is the caller's own. Called once, after everything else.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Sends events one after the other, as [`Broker::send_all`] does unless a backend has a better way, and waits for all answers.
pub async fn send_each(broker: &(impl Broker + ?Sized), events: &[Event]) -> Vec<Result<Stored>> {
    let mut acks = Vec::with_capacity(events.len());
    for event in events {
        acks.push(broker.send(event).await);
    }
    let mut answers = Vec::with_capacity(events.len());
    for ack in acks {
        answers.push(match ack {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        });
    }
    answers
}

/// Whether the server may take the same thing a little later. One that is full says so at once.
#[must_use]
pub fn is_outage(error: &Error) -> bool {
    error.is_retryable() && !matches!(error.kind(), ErrorKind::Full { .. })
}

/// What became of an event that the server took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an event was stored or it was there")]
pub enum Stored {
    /// It was stored.
    New,
    /// The same (source, id) was stored within the dedup window; it was not stored again.
    Duplicate,
}

/// What a server counts, for [`BusStats`](eventbus_core::BusStats).
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "made by backends")]
pub struct Figures {
    /// Events now retained.
    pub retained: Option<u64>,
    /// How many bytes they take.
    pub retained_bytes: Option<u64>,
    /// How long ago the oldest and the newest of them were stored.
    pub retained_since: Option<(Duration, Duration)>,
    /// Dead letters now kept.
    pub dead_letters: Option<u64>,
    /// Every group of the server.
    pub groups: Vec<GroupStats>,
}

/// Dead letters as a server keeps them: in a log of their own, the oldest first.
pub trait LetterStore: Send + Sync + 'static {
    /// The place of a letter in its log.
    type Place: Clone + fmt::Display + Send + Sync;

    /// The next letters after a place, or the first: at most `max`. An empty page is the end. What cannot be read as a letter is passed over.
    ///
    /// Pages that follow one another end where the log ended when the first of them was read: what is redriven may fail at once and become
    /// a letter again, for ever.
    ///
    /// # Errors
    /// Those of the connection.
    fn page(&self, after: Option<&Self::Place>, max: usize) -> impl Future<Output = Result<Vec<(Self::Place, DeadLetter)>>> + Send;

    /// Publishes the letter's event again, under its id, once: a second call for the same place stores nothing, though the dedup window
    /// must not take the event for the one that was published before.
    ///
    /// # Errors
    /// Those of publishing.
    fn republish(&self, place: &Self::Place, letter: &DeadLetter) -> impl Future<Output = Result<()>> + Send;

    /// Removes a letter. Whether it was there.
    ///
    /// # Errors
    /// Those of the connection.
    fn remove(&self, place: &Self::Place) -> impl Future<Output = Result<bool>> + Send;
}
