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
/// How long a request may wait of one who is [patient](Puller::patient).
const LONGEST: Duration = Duration::from_secs(8);
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
    /// How long the next request is to wait, and how long one may.
    expires: Duration,
    longest: Duration,
    /// How many requests were refused one after the other.
    refused: u32,
    /// When the next one may be made.
    not_before: Instant,
}

/// Requests that were given up. How long they take is no sign that the server is done with them: it may stand still, and what it has sent may
/// be on its way for long.
#[derive(Default)]
struct GivenUp {
    count: u64,
    /// How many messages they might still bring.
    left: usize,
}

/// The request that is open.
struct Open {
    number: u64,
    asked: usize,
    left: usize,
    /// Whether it waits at the server for messages to come, behind those that were made before.
    waits: bool,
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
            given_up: GivenUp::default(),
            expires: EXPIRES,
            longest: EXPIRES,
            refused: 0,
            not_before: Instant::now(),
        })
    }

    /// Asks less often as long as nothing comes. That a consumer is lost may then be noticed as long after as nothing had come before.
    pub(crate) fn patient(mut self) -> Self {
        self.longest = LONGEST;
        self
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
        u64::from(self.is_open()) + self.given_up.count
    }

    /// Gives up the request that is open. Whether there was one.
    fn give_up(&mut self) -> bool {
        let Some(open) = self.open.take() else { return false };
        self.given_up.count += 1;
        self.given_up.left += open.left;
        true
    }

    /// What was sent so far has arrived or was asked for again. Requests that were given up may wait at the server all the same.
    pub(crate) fn owes_nothing(&mut self) {
        self.given_up.left = 0;
    }

    /// A name that only this one has.
    pub(crate) fn name(&self) -> &str {
        &self.inbox
    }

    /// Asks for at most so many messages, and where `bytes` are said for at most so many bytes.
    pub(crate) async fn ask(&mut self, messages: usize, bytes: Option<usize>) -> Result<()> {
        let bytes = bytes.map_or_else(String::new, |bytes| format!(",\"max_bytes\":{bytes}"));
        self.ask_for(messages, true, format!("{{\"batch\":{messages},\"expires\":{}{bytes}}}", self.expires.as_nanos())).await
    }

    /// Asks for at most so many messages of those that are there.
    pub(crate) async fn ask_for_what_is_there(&mut self, messages: usize) -> Result<()> {
        self.ask_for(messages, false, format!("{{\"batch\":{messages},\"no_wait\":true}}")).await
    }

    async fn ask_for(&mut self, messages: usize, waits: bool, question: String) -> Result<()> {
        self.link.check()?;
        self.requests += 1;
        let number = self.requests;
        // Noted first: a future that is dropped after the sending must not leave a request that nobody knows of.
        self.open = Some(Open {
            number,
            asked: messages,
            left: messages,
            waits,
            until: Instant::now() + self.expires + GRACE,
            losses: self.link.losses(),
        });
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
        if status == StatusCode::TIMEOUT && open.waits {
            // The server gives up one request after the other.
            self.given_up = GivenUp::default();
            self.expires = (2 * self.expires).min(self.longest);
        }
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
        (self.refused, self.expires) = (0, EXPIRES);
        if let Some(open) = &mut self.open {
            open.left -= 1;
            // It says nothing when it has brought all.
            if open.left == 0 {
                self.open = None;
                // One of those may have brought some of that, and this one may still be served.
                self.given_up.count += u64::from(self.given_up.left > 0);
            }
        }
        Some(Pulled::Message(message, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::jetstream;
    use eventbus_testing::servers::NatsServer;

    /// One that asks a consumer of everything.
    async fn puller(server: &NatsServer) -> (jetstream::Context, Puller) {
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = jetstream::new(client.clone());
        let config = jetstream::stream::Config { name: "S".to_owned(), subjects: vec!["s.>".to_owned()], ..Default::default() };
        let stream = context.create_stream(config).await.unwrap();
        let config = jetstream::consumer::pull::Config { durable_name: Some("g".to_owned()), ..Default::default() };
        stream.create_consumer(config).await.unwrap();
        (context, Puller::new(&Link::borrowed(client), "S", "g").await.unwrap())
    }

    #[tokio::test]
    async fn what_was_asked_for_is_owed_until_the_server_says_that_it_is_done_however_long_that_takes() {
        let server = NatsServer::start().await;
        let (_, mut puller) = puller(&server).await;
        server.pause();
        for requests in 1..=2 {
            puller.ask(5, None).await.unwrap();
            assert!(matches!(puller.next().await, Ok(Pulled::Silence)), "a server that stands still");
            assert_eq!((puller.owed(), puller.waiting()), (5 * requests, requests as u64));
        }
        puller.ask(5, None).await.unwrap();
        server.resume();
        // The last one waits behind those before it.
        assert!(matches!(puller.next().await, Ok(Pulled::Over)));
        assert_eq!((puller.owed(), puller.waiting()), (0, 0));
    }
    #[tokio::test]
    async fn who_is_patient_asks_less_often_until_something_comes() {
        let server = NatsServer::start().await;
        let (context, puller) = puller(&server).await;
        let mut puller = puller.patient();
        let begun = Instant::now();
        for _ in 0..2 {
            puller.ask(5, None).await.unwrap();
            assert!(matches!(puller.next().await, Ok(Pulled::Over)));
        }
        assert!(begun.elapsed() >= 3 * EXPIRES, "{:?}", begun.elapsed());
        puller.ask(1, None).await.unwrap();
        context.publish("s.a", "".into()).await.unwrap().await.unwrap();
        assert!(matches!(puller.next().await, Ok(Pulled::Message(..))));
        assert_eq!(puller.expires, EXPIRES);
    }
}
