//! Acknowledgements of what was published.
//!
//! They all arrive in one inbox, where the last token of the subject says which message is answered, and one task takes them in. So a
//! publish needs no inbox, no timer and no watch over the connection of its own.

use crate::{
    api::Refusal,
    link::{Interruption, Link, Watch, gone},
};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use eventbus_core::{Error, ErrorKind, Result};
use eventbus_runtime::remote::Stored;
use foldhash::fast::RandomState;
use futures_core::Stream as _;
use serde::Deserialize;
use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// How often at most it is looked for answers that are late.
const LOOK: Duration = Duration::from_millis(25);

/// The inbox of acknowledgements.
pub(crate) struct Acks {
    inbox: String,
    sent: AtomicU64,
    waiting: Arc<Waiting>,
    reader: JoinHandle<()>,
}

/// The acknowledgement of one message.
pub(crate) struct Ack(oneshot::Receiver<Result<Stored>>);

/// Who waits for what, by the number of the message. `None` when no answer can come any more.
struct Waiting(Mutex<Option<Numbered>>);

type Numbered = HashMap<u64, Sent, RandomState>;

/// A message that was sent.
struct Sent {
    subject: Subject,
    since: Instant,
    teller: oneshot::Sender<Result<Stored>>,
}

impl Acks {
    /// Each acknowledgement is waited for so long.
    pub(crate) async fn open(link: &Link, patience: Duration) -> Result<Self> {
        let inbox = link.client.new_inbox();
        let answers = link.client.subscribe(format!("{inbox}.*")).await;
        let answers =
            answers.map_err(|error| Error::new(ErrorKind::Unavailable, "acknowledgements could not be subscribed to").caused_by(error))?;
        let waiting = Arc::new(Waiting(Mutex::new(Some(Numbered::default()))));
        let reader = tokio::spawn(read(answers, link.clone(), link.watch(), Reader(Arc::clone(&waiting)), patience));
        Ok(Self { inbox, sent: AtomicU64::new(0), waiting, reader })
    }

    /// Where the acknowledgement of a message shall go that will be sent now, and what becomes of it.
    ///
    /// # Errors
    /// Where the connection has ended.
    pub(crate) fn register(&self, subject: Subject) -> Result<(Subject, Ack)> {
        let (teller, told) = oneshot::channel();
        let number = self.sent.fetch_add(1, Relaxed);
        let sent = Sent { subject, since: Instant::now(), teller };
        self.waiting.lock().as_mut().ok_or_else(gone)?.insert(number, sent);
        Ok((format!("{}.{number}", self.inbox).into(), Ack(told)))
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Future for Ack {
    type Output = Result<Stored>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or_else(|_| Err(gone())))
    }
}

/// Whoever takes in the answers. With it ends the hope for any, be it that the connection or the runtime has ended.
struct Reader(Arc<Waiting>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().take();
    }
}

/// Takes in what arrives, until the connection ends.
async fn read(mut answers: Subscriber, link: Link, mut watch: Watch, reader: Reader, patience: Duration) {
    let waiting = &*reader.0;
    // An answer is given up a little late.
    let mut ticks = interval((patience / 4).max(LOOK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = poll_fn(|cx| waiting.take_in(&mut answers, cx)) => break,
            interruption = watch.interrupted() => waiting.interrupt(&interruption),
            now = ticks.tick() => waiting.expire(now, patience),
        }
    }
    let error = link.gone().await;
    waiting.tell_all(|_| true, || error.clone());
}

impl Waiting {
    /// Takes in all that has arrived. Ready when nothing more will.
    fn take_in(&self, answers: &mut Subscriber, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(answer) = ready!(Pin::new(&mut *answers).poll_next(cx)) {
            let number = answer.subject.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
            if let Some(sent) = number.and_then(|number| self.lock().as_mut()?.remove(&number)) {
                sent.tell(outcome(&answer));
            }
        }
        Poll::Ready(())
    }

    /// Tells those whose answer will not come.
    fn interrupt(&self, interruption: &Interruption) {
        self.tell_all(|sent| interruption.concerns(&sent.subject), || interruption.error());
    }

    fn expire(&self, now: Instant, patience: Duration) {
        let is_over = |sent: &Sent| now.saturating_duration_since(sent.since) >= patience;
        self.tell_all(is_over, || unavailable("the server did not acknowledge in time; whether it has the event is unknown"));
    }

    fn tell_all(&self, is_over: impl Fn(&Sent) -> bool, error: impl Fn() -> Error) {
        let mut waiting = self.lock();
        for (_, sent) in waiting.iter_mut().flat_map(|waiting| waiting.extract_if(|_, sent| is_over(sent))) {
            sent.tell(Err(error()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Numbered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    fn tell(self, outcome: Result<Stored>) {
        // Nobody may wait any more.
        let _ = self.teller.send(outcome);
    }
}

/// What an answer says.
fn outcome(answer: &Message) -> Result<Stored> {
    #[derive(Deserialize)]
    struct Said {
        error: Option<Refusal>,
        seq: Option<u64>,
        #[serde(default)]
        duplicate: bool,
    }
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(unavailable("no stream takes the event, or none that has a leader at the moment"));
    }
    match serde_json::from_slice(&answer.payload) {
        Ok(Said { error: Some(refusal), .. }) => Err(refusal.into()),
        Ok(Said { seq: Some(_), duplicate, .. }) => Ok(if duplicate { Stored::Duplicate } else { Stored::New }),
        Ok(Said { seq: None, .. }) => Err(unavailable("the server gave an answer that is no acknowledgement")),
        Err(fault) => Err(unavailable("the server gave an answer that is no acknowledgement").caused_by(fault)),
    }
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &'static str, status: Option<StatusCode>) -> Message {
        Message { subject: "_INBOX.x.1".into(), reply: None, payload: payload.into(), headers: None, status, description: None, length: 0 }
    }

    #[test]
    fn an_answer_says_whether_the_event_is_stored() {
        let says = |payload| outcome(&answer(payload, None));
        assert_eq!(says(r#"{"stream":"events","seq":7}"#).unwrap(), Stored::New);
        assert_eq!(says(r#"{"stream":"events","domain":"hub","seq":7,"duplicate":true}"#).unwrap(), Stored::Duplicate);
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"events","seq":0}"#;
        assert_eq!(says(full).unwrap_err().kind(), ErrorKind::Full { limit: 0 });
        for odd in ["", "+OK", "{}", "[]"] {
            assert_eq!(says(odd).unwrap_err().kind(), ErrorKind::Unavailable, "{odd}");
        }
        assert_eq!(outcome(&answer("", Some(StatusCode::NO_RESPONDERS))).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_that_nothing_will_come() {
        let waiting = Waiting(Mutex::new(Some(Numbered::default())));
        let wait = |number, subject: &'static str| {
            let (teller, told) = oneshot::channel();
            waiting.lock().as_mut().unwrap().insert(number, Sent { subject: subject.into(), since: Instant::now(), teller });
            Ack(told)
        };
        let (denied, lost, late) = (wait(1, "events.a"), wait(2, "events.ab"), wait(3, "events.b"));
        let refusal = "permissions violation: publish to \"events.a\"".into();
        waiting.interrupt(&Interruption::Refused(refusal));
        assert_eq!(denied.await.unwrap_err().kind(), ErrorKind::Denied);
        let patience = Duration::from_secs(1);
        waiting.lock().as_mut().unwrap().get_mut(&3).unwrap().since = Instant::now() - patience;
        waiting.expire(Instant::now(), patience);
        assert_eq!(late.await.unwrap_err().kind(), ErrorKind::Unavailable);
        waiting.interrupt(&Interruption::Lost(unavailable("lost")));
        assert_eq!(lost.await.unwrap_err().message(), "lost");
        let over = wait(4, "events.a");
        drop(Reader(Arc::new(waiting)));
        assert_eq!(over.await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
