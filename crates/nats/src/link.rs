//! The connection as the rest of the crate sees it: whether it is there, when it was lost, and what the server refused on it.

use crate::BACKEND;
use async_nats::{
    Client, Event, HeaderMap, Message, RequestErrorKind, Subject,
    client::{PublishError, PublishErrorKind},
    connection::State,
};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::sync::watch;

/// How often a client of the caller's is looked at, whose events we do not hear.
const LOOK: Duration = Duration::from_millis(200);
/// How often a connection that is not there is looked at.
const UP: Duration = Duration::from_millis(25);

/// A connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    signal: watch::Receiver<Signal>,
    /// Ends the looking at a client that is not ours.
    _observer: Option<Arc<Observer>>,
}

/// What happened to a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal {
    /// How often it was lost.
    lost: u64,
    /// Why it will not be made again.
    ended: Option<Arc<str>>,
    /// What the server refused last, in its words.
    refused: Option<Arc<str>>,
}

/// Who waits for something to happen to a connection.
pub(crate) struct Watch {
    signal: watch::Receiver<Signal>,
    before: Signal,
}

/// What keeps an answer from coming.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// The connection was lost, and all answers with it.
    Lost(Error),
    /// The server refused something, in words that name its subject.
    Refused(Arc<str>),
}

/// Where the events of a client go.
#[derive(Clone)]
pub(crate) struct Signals(Arc<watch::Sender<Signal>>);

struct Observer(tokio::task::JoinHandle<()>);

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Signal::default())))
    }

    /// Takes in what the client tells.
    pub(crate) fn hear(&self, event: Event) {
        match event {
            Event::Disconnected => self.lost(),
            Event::Closed => self.ended("the connection was closed"),
            Event::ClientError(async_nats::ClientError::MaxReconnects) => {
                self.ended("the last attempt to reconnect has failed; max_reconnects says how many there are");
            }
            Event::ServerError(error) => {
                let refused = error.to_string();
                tracing::warn!(target: "eventbus", backend = BACKEND, error = %refused, "the server refused something");
                self.0.send_modify(|signal| signal.refused = Some(refused.into()));
            }
            _ => {}
        }
    }

    /// What the server refused last.
    pub(crate) fn refused(&self) -> Option<Arc<str>> {
        self.0.borrow().refused.clone()
    }

    fn lost(&self) {
        self.0.send_modify(|signal| signal.lost += 1);
    }

    fn ended(&self, why: &str) {
        self.0.send_modify(|signal| {
            signal.lost += 1;
            signal.ended.get_or_insert_with(|| why.into());
        });
    }
}

impl Link {
    /// A connection of our own, whose client tells `signals` what happens.
    pub(crate) fn own(client: Client, signals: &Signals) -> Self {
        Self { client, signal: signals.0.subscribe(), _observer: None }
    }

    /// The connection of a caller's client.
    pub(crate) fn borrowed(client: Client) -> Self {
        let signals = Signals::new();
        let signal = signals.0.subscribe();
        let observed = client.clone();
        let observer = tokio::spawn(async move { observe(&observed, &signals).await });
        Self { client, signal, _observer: Some(Arc::new(Observer(observer))) }
    }

    /// Whether the server can be reached, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected && self.signal.borrow().ended.is_none()
    }

    /// Which connection it is, counted from the first. It is known before anything arrives on it.
    pub(crate) fn connection(&self) -> u64 {
        self.client.statistics().connects.load(Relaxed)
    }

    /// How often the connection was lost. Whatever was on its way then may be lost with it.
    pub(crate) fn losses(&self) -> u64 {
        self.signal.borrow().lost
    }

    /// Resolves when the connection has been lost once more.
    pub(crate) async fn lost_since(&self, losses: u64) {
        let mut signal = self.signal.clone();
        if signal.wait_for(|signal| signal.lost != losses).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// # Errors
    /// Where the server cannot be reached now, which is not worth another attempt where it never will be.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(why) = &self.signal.borrow().ended {
            return Err(Error::new(ErrorKind::Unavailable, why.to_string()).retryable(false));
        }
        if self.client.connection_state() == State::Connected {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Unavailable, "not connected to a server"))
        }
    }

    /// What happens to the connection from now on.
    pub(crate) fn watch(&self) -> Watch {
        let mut signal = self.signal.clone();
        let before = signal.borrow_and_update().clone();
        Watch { signal, before }
    }

    /// Waits for an answer to what was sent to a subject, as long as it can come.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the connection is lost first, [`ErrorKind::Denied`] where the server refuses the subject. Whether it
    /// took what was sent is then unknown.
    pub(crate) fn answered<T, F>(&self, subject: Subject, answer: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        F: Future<Output = T> + Send,
    {
        let mut watch = self.watch();
        async move {
            let interrupted = async {
                loop {
                    let interruption = watch.interrupted().await;
                    if interruption.concerns(&subject) {
                        break interruption.error();
                    }
                }
            };
            tokio::select! {
                biased;
                answer = answer => Ok(answer),
                error = interrupted => Err(error),
            }
        }
    }

    /// Asks a question that has one answer. `None` where nobody is there to answer it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where no answer comes in time.
    pub(crate) async fn request(&self, subject: String, payload: Bytes, within: Duration) -> Result<Option<Message>> {
        self.check()?;
        let subject = Subject::from(subject);
        let request = async_nats::Request::new().payload(payload).timeout(Some(within));
        match self.answered(subject.clone(), self.client.send_request(subject, request)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
            Err(error) if error.kind() == RequestErrorKind::TimedOut => {
                Err(Error::new(ErrorKind::Unavailable, format!("the server did not answer within {within:?}")))
            }
            Err(error) => Err(Error::new(ErrorKind::Unavailable, "the server could not be asked").caused_by(error)),
        }
    }

    /// Waits until the server can be reached.
    ///
    /// # Errors
    /// Where it never will be.
    pub(crate) async fn until_up(&self) -> Result<()> {
        let mut signal = self.signal.clone();
        loop {
            match self.check() {
                Err(error) if error.is_retryable() => {
                    // A connection that is made again says nothing.
                    let _ = tokio::time::timeout(UP, signal.changed()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Sends a message that nobody answers.
    pub(crate) async fn publish(&self, subject: Subject, headers: Option<HeaderMap>, payload: Bytes) -> Result<()> {
        taken(match headers {
            Some(headers) => self.client.publish_with_headers(subject, headers, payload).await,
            None => self.client.publish(subject, payload).await,
        })
    }

    /// Sends a message whose answer goes to a subject.
    pub(crate) async fn publish_with_reply(&self, subject: Subject, reply: Subject, headers: HeaderMap, payload: Bytes) -> Result<()> {
        taken(self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await)
    }
}

/// Whether the client took a message.
fn taken(sent: std::result::Result<(), PublishError>) -> Result<()> {
    sent.map_err(|error| match error.kind() {
        PublishErrorKind::Send => gone().caused_by(error),
        _ => Error::new(ErrorKind::Invalid, "the client refused the message").caused_by(error),
    })
}

impl Watch {
    /// Resolves when answers that are waited for may not come any more.
    pub(crate) async fn interrupted(&mut self) -> Interruption {
        loop {
            if self.signal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let now = self.signal.borrow_and_update().clone();
            let before = std::mem::replace(&mut self.before, now.clone());
            if now.lost != before.lost {
                return Interruption::Lost(match now.ended {
                    Some(why) => Error::new(ErrorKind::Unavailable, why.to_string()).retryable(false),
                    None => Error::new(ErrorKind::Unavailable, "the connection was lost before the server answered"),
                });
            }
            if let Some(refusal) = now.refused
                && before.refused.is_none_or(|before| !Arc::ptr_eq(&before, &refusal))
            {
                return Interruption::Refused(refusal);
            }
        }
    }
}

impl Interruption {
    /// Whether the answer to what was sent to a subject will not come.
    pub(crate) fn concerns(&self, subject: &str) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused(refusal) => refusal.contains(&format!("\"{subject}\"")),
        }
    }

    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Lost(error) => error.clone(),
            Self::Refused(refusal) => Error::new(ErrorKind::Denied, refusal.to_string()),
        }
    }
}

/// The error of a client that has ended for good.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was closed").retryable(false)
}

/// Looks at a client until it ends.
async fn observe(client: &Client, signals: &Signals) {
    let statistics = client.statistics();
    let mut seen = (statistics.connects.load(Relaxed), true);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = (statistics.connects.load(Relaxed), client.connection_state() == State::Connected);
        // It may have been lost and made again between two looks.
        if now.0 != seen.0 || seen.1 && !now.1 {
            signals.lost();
        }
        seen = now;
    }
}
