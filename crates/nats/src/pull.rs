//! Asking a consumer for messages.
//!
//! One request at a time, for as many as there is room: nothing is fetched that was not asked for, and where a request is over nothing more can
//! come of it. A request says itself when it is over, which makes it a heartbeat: one that does not has been lost.

use crate::{
    link::Link,
    reply::{self, Place},
};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use eventbus_core::{Error, ErrorKind, Result, Retry};
use futures_core::Stream as _;
use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};
use tokio::time::Instant;

/// How long a request waits at the server. A member that leaves waits as long for its last one to be over.
pub(crate) const EXPIRES: Duration = Duration::from_millis(500);
/// How much longer it may take to hear of a request.
const GRACE: Duration = Duration::from_secs(1);
/// How many bytes are asked for at once. A server ends the connection of a client that has more than its `max_pending` to read, which is 64 MiB
/// unless it was set otherwise, and what other subscriptions ask for is beside this.
const AT_ONCE: usize = 4 * 1024 * 1024;
/// What a message may have beside what the server counts as its payload.
const BESIDE: usize = 64 * 1024;
/// How long to wait after requests that were refused: a server does so at once, and would be asked without a pause.
const AGAIN: Retry = Retry::exponential(Duration::from_millis(50)).max_delay(Duration::from_secs(2)).forever();

/// Asks one consumer.
pub(crate) struct Puller {
    link: Link,
    /// Where requests are sent.
    target: Subject,
    inbox: String,
    arriving: Subscriber,
    requests: u64,
    open: Option<Open>,
    given_up: GivenUp,
    /// How many requests were refused one after the other.
    refused: u32,
    /// When the next one may be made.
    not_before: Instant,
}

/// Requests that were given up.
struct GivenUp {
    count: u64,
    /// How many messages they might still bring.
    left: usize,
    /// Until when the server may serve them.
    until: Instant,
}

/// The request that is open.
struct Open {
    number: u64,
    asked: usize,
    left: usize,
    until: Instant,
    losses: u64,
}

/// What asking has brought.
#[expect(clippy::large_enum_variant, reason = "nearly all are messages, and each would need a box")]
pub(crate) enum Pulled {
    Message(Message, Place),
    /// The request is over, or lost with its connection.
    Over,
    /// The first message is larger than was asked for.
    TooLarge,
    /// Nobody knows of the request, or it was refused: the consumer may be gone.
    Silence,
}

impl Puller {
    pub(crate) async fn new(link: &Link, stream: &str, consumer: &str) -> Result<Self> {
        let inbox = link.client.new_inbox();
        let arriving = link.client.subscribe(format!("{inbox}.*")).await;
        let arriving =
            arriving.map_err(|error| Error::new(ErrorKind::Unavailable, "replies could not be subscribed to").caused_by(error))?;
        let target = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}").into();
        Ok(Self {
            link: link.clone(),
            target,
            inbox,
            arriving,
            requests: 0,
            open: None,
            given_up: GivenUp { count: 0, left: 0, until: Instant::now() },
            refused: 0,
            not_before: Instant::now(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether no request is open and the last one was not refused just now.
    pub(crate) fn may_ask(&self) -> bool {
        !self.is_open() && self.not_before <= Instant::now()
    }

    /// The most bytes to ask for at once, in which any message fits.
    pub(crate) fn most_bytes(&self) -> usize {
        AT_ONCE.max(self.link.client.max_payload() + BESIDE)
    }

    /// How many messages may have been sent that have not arrived: more than that were asked for by somebody else.
    pub(crate) fn owed(&self) -> usize {
        self.given_up.left + self.open.as_ref().map_or(0, |open| open.left)
    }

    /// How many requests of this one may wait at the server: where more do, somebody else asks, too.
    pub(crate) fn waiting(&self) -> u64 {
        u64::from(self.is_open()) + if self.given_up.until > Instant::now() { self.given_up.count } else { 0 }
    }

    /// Gives up the request that is open. Whether there was one.
    fn give_up(&mut self) -> bool {
        let open = self.open.take();
        if let Some(open) = &open {
            self.give_up_on(open.left, open.until);
        }
        open.is_some()
    }

    fn give_up_on(&mut self, left: usize, until: Instant) {
        let GivenUp { count, left: before, until: then } = self.given_up;
        self.given_up = GivenUp { count: count + 1, left: before + left, until: then.max(until) };
    }

    /// A name that only this one has.
    pub(crate) fn name(&self) -> &str {
        &self.inbox
    }

    /// Asks for at most so many messages, and where `bytes` are said for at most so many bytes.
    pub(crate) async fn ask(&mut self, messages: usize, bytes: Option<usize>) -> Result<()> {
        let bytes = bytes.map_or_else(String::new, |bytes| format!(",\"max_bytes\":{bytes}"));
        self.ask_for(messages, format!("{{\"batch\":{messages},\"expires\":{}{bytes}}}", EXPIRES.as_nanos())).await
    }

    /// Asks for at most so many messages of those that are there.
    pub(crate) async fn ask_for_what_is_there(&mut self, messages: usize) -> Result<()> {
        self.ask_for(messages, format!("{{\"batch\":{messages},\"no_wait\":true}}")).await
    }

    async fn ask_for(&mut self, messages: usize, question: String) -> Result<()> {
        self.link.check()?;
        self.requests += 1;
        if self.given_up.until <= Instant::now() {
            (self.given_up.count, self.given_up.left) = (0, 0);
        }
        let number = self.requests;
        // Noted first: a future that is dropped after the sending must not leave a request that nobody knows of.
        self.open =
            Some(Open { number, asked: messages, left: messages, until: Instant::now() + EXPIRES + GRACE, losses: self.link.losses() });
        let sent = self.link.client.publish_with_reply(self.target.clone(), format!("{}.{number}", self.inbox), question.into()).await;
        sent.map_err(|error| {
            self.open = None;
            Error::new(ErrorKind::Unavailable, "the consumer could not be asked for messages").caused_by(error)
        })
    }

    /// Waits for what comes next. Where nothing is open, for something that was on its way, at most until there may be another request. Dropping
    /// the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Pulled> {
        loop {
            let (until, losses) = match &self.open {
                Some(open) => (open.until, open.losses),
                None if !self.may_ask() => (self.not_before, self.link.losses()),
                None => (Instant::now() + GRACE, self.link.losses()),
            };
            let arrived = tokio::select! {
                biased;
                arrived = poll_fn(|cx| Pin::new(&mut self.arriving).poll_next(cx)) => arrived,
                () = self.link.lost_since(losses) => {
                    self.give_up();
                    return Ok(Pulled::Over);
                }
                () = tokio::time::sleep_until(until) => {
                    return Ok(if self.give_up() { Pulled::Silence } else { Pulled::Over });
                }
            };
            let Some(message) = arrived else { return Err(self.link.gone().await) };
            if let Some(pulled) = self.take_in(message) {
                return Ok(pulled);
            }
        }
    }

    /// What has arrived already, without waiting.
    pub(crate) fn at_once(&mut self) -> Option<Pulled> {
        loop {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            match Pin::new(&mut self.arriving).poll_next(&mut cx) {
                Poll::Ready(Some(message)) => {
                    if let Some(pulled) = self.take_in(message) {
                        return Some(pulled);
                    }
                }
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }

    fn take_in(&mut self, message: Message) -> Option<Pulled> {
        let Some(status) = message.status.filter(|_| message.reply.is_none()) else { return self.place(message) };
        let is_of = |open: &mut Open| message.subject.rsplit('.').next() == Some(open.number.to_string().as_str());
        if status == StatusCode::IDLE_HEARTBEAT {
            return None;
        }
        let open = self.open.take_if(is_of)?;
        let refused = std::mem::take(&mut self.refused);
        let said = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::REQUEST_TERMINATED if said.contains("MaxBytes") => {
                return Some(if open.left == open.asked { Pulled::TooLarge } else { Pulled::Over });
            }
            StatusCode::REQUEST_TERMINATED if said.eq_ignore_ascii_case("Batch Completed") => return Some(Pulled::Over),
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => return Some(Pulled::Over),
            _ => {}
        }
        self.refused = refused.saturating_add(1);
        self.not_before = Instant::now() + AGAIN.delay(self.refused, rand::random());
        tracing::debug!(target: "eventbus", status = status.as_u16(), said, again = self.refused, "a request for messages was refused");
        // A consumer lets only so many requests wait, 512 unless it was made otherwise: it is well, and there are more members.
        Some(if said.contains("MaxWaiting") { Pulled::Over } else { Pulled::Silence })
    }

    /// Reads where a message stands. What is no delivery of a stream is passed over.
    fn place(&mut self, message: Message) -> Option<Pulled> {
        let place = message.reply.as_deref().and_then(reply::place)?;
        self.refused = 0;
        if let Some(open) = &mut self.open {
            open.left -= 1;
            // It says nothing when it has brought all.
            if open.left == 0 {
                let until = open.until;
                self.open = None;
                if self.given_up.left > 0 {
                    // One of those may have brought some of that, and this one may still be served.
                    self.give_up_on(0, until);
                }
            }
        }
        Some(Pulled::Message(message, place))
    }
}
