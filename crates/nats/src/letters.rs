//! Dead letters: a stream beside that of the events, where nothing is removed but by its users.

use crate::{
    api::{Api, Failure, StoredMessage, StreamConfig, StreamInfo, found, reason},
    delivery,
    publish::{Outgoing, Publisher},
};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use eventbus_core::{
    DeadLetter, Error, ErrorKind, Event, EventType, Result,
    cloudevents::{nats, undecodable},
};
use eventbus_runtime::remote::LetterStore;
use std::{fmt, sync::Arc, time::Duration};

/// For how long the same letter is stored once: a member that dies between storing it and settling its event leaves it to another one.
const WINDOW: Duration = Duration::from_secs(3600);
/// How many places are looked at together.
const TOGETHER: u64 = 64;
/// How much of an error is kept where the letter would be too large.
const SHORT: usize = 200;

/// The dead letters of a bus.
#[derive(Clone)]
pub(crate) struct Letters {
    api: Api,
    publisher: Publisher,
    /// The stream to be made.
    stream: StreamConfig,
    /// What the subjects of events begin with, and those of letters.
    prefix: Arc<str>,
    letters: Arc<str>,
    /// The most that a message may have.
    limit: usize,
}

/// A letter's place.
#[derive(Debug, Clone)]
pub(crate) struct LetterPlace {
    /// In which incarnation of the stream it is.
    born: Arc<str>,
    sequence: u64,
    /// The last place that there was when the first page was read. What comes later is left alone: an event that is published again may be back
    /// as a letter before the next page is read.
    last: u64,
}

impl fmt::Display for LetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sequence)
    }
}

impl Letters {
    pub(crate) fn new(api: Api, publisher: Publisher, events: &StreamConfig, prefix: &str, most: u64, limit: usize) -> Self {
        let letters = format!("{prefix}-dlq");
        let stream = StreamConfig {
            name: format!("{}_DLQ", events.name),
            subjects: vec![format!("{letters}.>")],
            retention: "limits".to_owned(),
            max_msgs: i64::try_from(most).unwrap_or(i64::MAX),
            max_bytes: -1,
            max_age: Duration::ZERO,
            max_msgs_per_subject: None,
            storage: events.storage.clone(),
            num_replicas: events.num_replicas,
            // A letter that does not fit is refused, so that its event stays.
            discard: "new".to_owned(),
            duplicate_window: WINDOW,
            allow_atomic: false,
        };
        Self { api, publisher, stream, prefix: prefix.into(), letters: letters.into(), limit }
    }

    /// Checks a stream of letters that is there against what was said of it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where that is something else.
    pub(crate) async fn check(&self, most: Option<u64>) -> Result<()> {
        let Some(info) = self.info().await? else { return Ok(()) };
        let mut differences = Vec::new();
        if !info.config.subjects.contains(&self.stream.subjects[0]) {
            differences.push(format!("subjects: wanted {}, found {}", self.stream.subjects[0], info.config.subjects.join(",")));
        }
        if most.is_some() && info.config.max_msgs != self.stream.max_msgs {
            differences.push(format!("max_dead_letters: wanted {}, found {}", self.stream.max_msgs, info.config.max_msgs));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!("the stream of dead letters exists with other settings and was left as it is: {}", differences.join("; "));
        Err(Error::new(ErrorKind::Conflict, message).during("connect").with("stream", info.config.name))
    }

    /// The stream, where there is one.
    pub(crate) async fn info(&self) -> Result<Option<StreamInfo>> {
        found(self.api.stream(&self.stream.name).await, &[reason::NO_STREAM])
    }

    /// Stores a letter, once for each id.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] where no more fit.
    pub(crate) async fn store(&self, letter: &DeadLetter, id: &str) -> Result<()> {
        let message = self.letter(letter, id)?;
        let stored = match self.publisher.publish(message.clone()).await {
            // There may be no stream yet, or there is one since a moment ago.
            Err(error) if error.kind() == ErrorKind::Unavailable && self.publisher.is_up() => {
                if self.info().await?.is_none() {
                    found(self.api.create_stream(&self.stream).await, &[reason::STREAM_IN_USE])?;
                }
                self.publisher.publish(message).await
            }
            stored => stored,
        };
        match stored {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::Full { .. }) => {
                let limit = usize::try_from(self.stream.max_msgs).unwrap_or(usize::MAX);
                Err(Error::new(ErrorKind::Full { limit }, "no more dead letters fit").caused_by(error))
            }
            Err(error) => Err(error),
        }
    }

    fn letter(&self, letter: &DeadLetter, id: &str) -> Result<Outgoing> {
        let written = |letter: &DeadLetter| Ok::<_, Error>(Outgoing::new(&self.letters, &letter.to_event(None))?.with_id(id));
        let message = written(letter)?;
        if message.size <= self.limit {
            return Ok(message);
        }
        // Rather less of the error than no letter.
        let mut short = letter.clone();
        short.error = letter.error.chars().take(SHORT).collect();
        written(&short)
    }

    /// Publishes a letter as an event of its own, once for each id.
    pub(crate) async fn publish(&self, letter: &DeadLetter, target: &EventType, id: &str) -> Result<()> {
        let message = Outgoing::new(&self.prefix, &letter.to_event(Some(target)))?.with_id(&format!("{id}#dead"));
        self.publisher.publish(message).await.map(|_| ())
    }

    /// What a letter's event was, as it is published again.
    fn again(&self, letter: &DeadLetter, id: &str) -> Result<Outgoing> {
        match undecodable::as_received(&letter.event)? {
            Some(received) => Ok(self.as_received(&letter.event, received).with_id(id)),
            None => Ok(Outgoing::new(&self.prefix, &letter.event)?.with_id(id)),
        }
    }

    /// A message that was no event, as it was.
    fn as_received(&self, event: &Event, received: undecodable::Received) -> Outgoing {
        let mut headers = HeaderMap::new();
        let mut subject = nats::subject(&self.prefix, event.event_type());
        for (name, value) in received.attributes {
            let value = String::from_utf8_lossy(&value).into_owned();
            if name == delivery::SUBJECT {
                subject = value;
            } else if !name.starts_with("Nats-")
                && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse::<HeaderValue>())
            {
                // Those of the server say what to do with a message, not what it is.
                headers.append(name, value);
            }
        }
        let size = received.data.len();
        Outgoing { subject: subject.into(), headers, payload: received.data, size }
    }

    /// The letters at some places, where they can be read.
    async fn read_some(&self, born: &Arc<str>, places: std::ops::RangeInclusive<u64>, last: u64) -> Result<Vec<(LetterPlace, DeadLetter)>> {
        let mut reading = tokio::task::JoinSet::new();
        for sequence in places {
            let all = self.clone();
            reading.spawn(async move { found(all.api.message(&all.stream.name, sequence).await, &[reason::NO_MESSAGE]) });
        }
        let mut letters = Vec::new();
        while let Some(message) = reading.join_next().await {
            let message = message.map_err(|fault| Error::new(ErrorKind::Unavailable, fault.to_string()))??;
            letters.extend(message.and_then(|message| read(born, &message, last)));
        }
        letters.sort_by_key(|(place, _)| place.sequence);
        Ok(letters)
    }
}

fn read(born: &Arc<str>, message: &StoredMessage, last: u64) -> Option<(LetterPlace, DeadLetter)> {
    let event = nats::decode(delivery::pairs(Some(&message.headers)), &message.payload).ok()?;
    let letter = DeadLetter::from_event(&event).ok()?;
    Some((LetterPlace { born: Arc::clone(born), sequence: message.sequence, last }, letter))
}

impl LetterStore for Letters {
    type Place = LetterPlace;

    async fn page(&self, after: Option<&LetterPlace>, max: usize) -> Result<Vec<(LetterPlace, DeadLetter)>> {
        let Some(info) = self.info().await? else { return Ok(Vec::new()) };
        let born: Arc<str> = info.created.into();
        // A place of an old stream says nothing of this one.
        let (mut next, last) = match after {
            Some(place) if place.born == born => (place.sequence + 1, place.last),
            Some(_) => return Ok(Vec::new()),
            None => (1, info.state.last_seq),
        };
        let mut page = Vec::new();
        while page.len() < max && next <= last {
            // There may be many empty places before the next letter, and hardly any after it.
            let first = self.api.next_message(&self.stream.name, next, &self.stream.subjects[0]).await;
            let first = found(first, &[reason::NO_MESSAGE, reason::NO_STREAM])?;
            let Some(first) = first.filter(|first| first.sequence <= last) else { break };
            page.extend(read(&born, &first, last));
            let end = last.min(first.sequence + TOGETHER.min((max - page.len().min(max)) as u64));
            page.extend(self.read_some(&born, first.sequence + 1..=end, last).await?);
            next = end + 1;
        }
        Ok(page)
    }

    async fn republish(&self, place: &LetterPlace, letter: &DeadLetter) -> Result<()> {
        // Named after its place: once for each letter, and not taken for the event that was published before.
        let id = format!("{}#{}#{}", self.stream.name, place.born, place.sequence);
        self.publisher.publish(self.again(letter, &id)?).await.map(|_| ())
    }

    async fn remove(&self, place: &LetterPlace) -> Result<bool> {
        match self.api.delete_message(&self.stream.name, place.sequence).await {
            Ok(_) => Ok(true),
            Err(failure) if is_gone(&failure) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }
}

fn is_gone(failure: &Failure) -> bool {
    [reason::NO_MESSAGE_TO_DELETE, reason::NO_MESSAGE, reason::NO_STREAM].iter().any(|reason| failure.is(*reason))
}
