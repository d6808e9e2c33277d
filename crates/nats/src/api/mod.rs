//! The part of JetStream's API that the bus uses: JSON requests and their answers.

mod consumer;
mod message;
mod stream;

pub(crate) use self::{
    consumer::{AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy},
    message::StoredMessage,
    stream::{StreamConfig, StreamInfo},
};

use crate::link::Link;
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long one question may take. The bus asks again where the server is slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// JetStream, asked over a connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) link: Link,
    /// Whether JetStream has ever answered.
    has_answered: Arc<AtomicBool>,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// JetStream says no.
    Refused(Refusal),
    /// It could not be asked.
    Other(Error),
}

/// What JetStream says when it says no.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: u64,
    #[serde(default, rename = "err_code")]
    pub(crate) reason: u64,
    #[serde(default)]
    pub(crate) description: String,
}

/// What JetStream says no for.
pub(crate) mod reason {
    pub(crate) const NO_CONSUMER: u64 = 10014;
    pub(crate) const NO_MESSAGE_TO_DELETE: u64 = 10057;
    pub(crate) const STREAM_IN_USE: u64 = 10058;
    pub(crate) const NO_STREAM: u64 = 10059;
    pub(crate) const SUBJECTS_OVERLAP: u64 = 10065;
    pub(crate) const STORE_FAILED: u64 = 10077;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const NOT_ENABLED: u64 = 10076;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(crate) const CONSUMER_EXISTS: u64 = 10148;
    pub(crate) const CONSUMER_IN_USE: u64 = 10013;
    pub(crate) const DUPLICATE_IN_BATCH: u64 = 10201;
    /// Of the account, of the server's disk, and of its memory.
    pub(crate) const NO_RESOURCES: [u64; 4] = [10002, 10023, 10028, 10047];
}

pub(crate) type Answer<T> = std::result::Result<T, Failure>;

impl Api {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, has_answered: Arc::default() }
    }

    /// Asks a question.
    async fn ask<T: DeserializeOwned>(&self, subject: &str, question: &impl Serialize) -> Answer<T> {
        let question = serde_json::to_vec(question).map_err(|fault| Error::new(ErrorKind::Encode, fault.to_string()))?;
        let answer = self.link.request(format!("$JS.API.{subject}"), Bytes::from(question), PATIENCE).await?;
        let Some(answer) = answer else { return Err(Failure::Other(self.nobody())) };
        self.has_answered.store(true, Relaxed);
        #[derive(Deserialize)]
        struct Refused {
            error: Option<Refusal>,
        }
        let unreadable = |fault: serde_json::Error| {
            Error::new(ErrorKind::Unavailable, "JetStream gave an answer that cannot be read")
                .retryable(false)
                .with("question", subject)
                .caused_by(fault)
        };
        let refused: Refused = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        if let Some(refusal) = refused.error {
            return Err(Failure::Refused(refusal));
        }
        Ok(serde_json::from_slice(&answer.payload).map_err(unreadable)?)
    }

    /// Nobody answers for JetStream.
    fn nobody(&self) -> Error {
        // A server without it may pass questions on to others that have it.
        let offered = self.link.client.try_server_info().is_some_and(|info| info.jetstream);
        if offered || self.has_answered.load(Relaxed) {
            return Error::new(ErrorKind::Unavailable, "JetStream does not answer; it may have no leader at the moment");
        }
        Error::new(ErrorKind::Unsupported, "the server has no JetStream: start it with -js, or use mode=core")
    }
}

impl Failure {
    pub(crate) fn is(&self, reason: u64) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == reason)
    }
}

impl Refusal {
    /// Whether a stream or a server has no room.
    pub(crate) fn is_full(&self) -> bool {
        reason::NO_RESOURCES.contains(&self.reason) || self.reason == reason::STORE_FAILED && self.description.contains("maximum")
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, reason, description } = &refusal;
        let kind = match *reason {
            reason::NOT_ENABLED | reason::NOT_ENABLED_FOR_ACCOUNT => ErrorKind::Unsupported,
            reason::CONSUMER_EXISTS | reason::STREAM_IN_USE | reason::SUBJECTS_OVERLAP => ErrorKind::Conflict,
            _ if refusal.is_full() => ErrorKind::Full { limit: 0 },
            _ => match code {
                403 => ErrorKind::Denied,
                400 => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
        };
        // Such as a leader that is being elected, too many requests, or a stream that somebody makes again: it passes.
        let passes = matches!(code, 404 | 429 | 500 | 503) && kind == ErrorKind::Unavailable;
        Self::new(kind, format!("JetStream: {description}"))
            .retryable(passes || matches!(kind, ErrorKind::Full { .. }))
            .with("err_code", reason)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// `None` where there is no such thing.
pub(crate) fn found<T>(answer: Answer<T>, absent: &[u64]) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if absent.iter().any(|reason| failure.is(*reason)) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// An answer that says nothing but yes.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {}

/// Durations in nanoseconds.
mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_nanos(u64::try_from(i64::deserialize(deserializer)?).unwrap_or(0)))
    }
}
