//! The connection as the rest of the crate sees it: whether it is there, when it was lost, and what the server refused on it.

use crate::BACKEND;
use async_nats::{
    Client, Event, HeaderMap, Message, RequestErrorKind, Subject,
    client::{PublishError, PublishErrorKind},
    connection::State,
};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use futures_core::Stream as _;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::sync::watch;

/// How often a client of the caller's is looked at, whose events we do not hear.
const LOOK: Duration = Duration::from_millis(200);
/// How often a connection that is not there is looked at.
const UP: Duration = Duration::from_millis(25);
/// How long a client that has ended may take to say why: what it says comes by a task of its own.
const SAYING: Duration = Duration::from_secs(1);

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
pub(crate) struct Signals {
    sender: Arc<watch::Sender<Signal>>,
    max_reconnects: Option<usize>,
}

struct Observer(tokio::task::JoinHandle<()>);

/// Why the client of a caller will not connect again.
const THEIRS_ENDED: &str = "the client that was passed in has ended: it was closed, or has made its last attempt to reconnect";

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Signals {
    /// Of a client that makes so many attempts to reach each server again.
    pub(crate) fn new(max_reconnects: Option<usize>) -> Self {
        Self { sender: Arc::new(watch::Sender::new(Signal::default())), max_reconnects }
    }

    /// Takes in what the client tells.
    pub(crate) fn hear(&self, event: Event) {
        match event {
            Event::Disconnected => self.lost(),
            Event::Closed => self.ended("the connection was closed"),
            Event::ClientError(async_nats::ClientError::MaxReconnects) => {
                let attempts = self.max_reconnects.unwrap_or_default();
                self.ended(&format!(
                    "the server was lost, and max_reconnects={attempts} attempts to reach it again have failed: the bus has given it up; with \
                     max_reconnects=unlimited it never does"
                ));
            }
            Event::ServerError(error) => {
                let refused = error.to_string();
                tracing::warn!(target: "eventbus", backend = BACKEND, error = %refused, "the server refused something");
                self.sender.send_modify(|signal| signal.refused = Some(refused.into()));
            }
            _ => {}
        }
    }

    /// What the server refused last.
    pub(crate) fn refused(&self) -> Option<Arc<str>> {
        self.sender.borrow().refused.clone()
    }

    fn lost(&self) {
        self.sender.send_modify(|signal| signal.lost += 1);
    }

    fn ended(&self, why: &str) {
        self.sender.send_modify(|signal| {
            signal.lost += 1;
            signal.ended.get_or_insert_with(|| why.into());
        });
    }
}

impl Link {
    /// A connection of our own, whose client tells `signals` what happens.
    pub(crate) fn own(client: Client, signals: &Signals) -> Self {
        Self { client, signal: signals.sender.subscribe(), _observer: None }
    }

    /// The connection of a caller's client.
    pub(crate) fn borrowed(client: Client) -> Self {
        let signals = Signals::new(None);
        let signal = signals.sender.subscribe();
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

    /// The error of a client that has ended for good: why it has, as soon as that is known.
    pub(crate) async fn gone(&self) -> Error {
        let mut signal = self.signal.clone();
        let _ = tokio::time::timeout(SAYING, signal.wait_for(|signal| signal.ended.is_some())).await;
        self.check().err().filter(|error| !error.is_retryable()).unwrap_or_else(gone)
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
        let sent = match headers {
            Some(headers) => self.client.publish_with_headers(subject, headers, payload).await,
            None => self.client.publish(subject, payload).await,
        };
        self.taken(sent).await
    }

    /// Sends a message whose answer goes to a subject.
    pub(crate) async fn publish_with_reply(&self, subject: Subject, reply: Subject, headers: HeaderMap, payload: Bytes) -> Result<()> {
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
        self.taken(sent).await
    }

    /// Whether the client took a message.
    async fn taken(&self, sent: std::result::Result<(), PublishError>) -> Result<()> {
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::Send => Err(self.gone().await.caused_by(error)),
            Err(error) => Err(Error::new(ErrorKind::Invalid, "the client refused the message").caused_by(error)),
        }
    }
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

/// The error of a client that has ended for good, where it does not say why.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was closed").retryable(false)
}

/// Looks at a client until it ends.
async fn observe(client: &Client, signals: &Signals) {
    let statistics = client.statistics();
    let mut seen = (statistics.connects.load(Relaxed), true);
    // Nothing is sent there. It ends with the client, which says in no other way that it will not connect again.
    let Ok(mut nothing) = client.subscribe(client.new_inbox()).await else { return signals.ended(THEIRS_ENDED) };
    let mut end = pin!(async { while poll_fn(|cx| Pin::new(&mut nothing).poll_next(cx)).await.is_some() {} });
    loop {
        tokio::select! {
            biased;
            () = &mut end => return signals.ended(THEIRS_ENDED),
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = (statistics.connects.load(Relaxed), client.connection_state() == State::Connected);
        // It may have been lost and made again between two looks.
        if now.0 != seen.0 || seen.1 && !now.1 {
            signals.lost();
        }
        seen = now;
    }
}
