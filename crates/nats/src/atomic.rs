//! Several events, all of which are stored or none (servers from 2.12).
//!
//! The messages of a batch carry its id and their number. The server keeps them apart until the last one, which says that the batch is complete.

use crate::{
    api::{Api, Refusal, reason},
    link::Link,
    publish::Outgoing,
};
use async_nats::{HeaderName, Message};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result, cloudevents::nats};
use serde::Deserialize;
use std::time::Duration;

/// How many messages a server takes in one batch.
const MOST: usize = 1000;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const BATCH: HeaderName = HeaderName::from_static("Nats-Batch-Id");
const NUMBER: HeaderName = HeaderName::from_static("Nats-Batch-Sequence");
const COMMIT: HeaderName = HeaderName::from_static("Nats-Batch-Commit");

/// Publishes all messages or none.
///
/// # Errors
/// [`ErrorKind::Conflict`] where one of them was stored before, which keeps out all of them. [`ErrorKind::Unavailable`] where the outcome is
/// not known; nothing is tried again then, since one by one they would no longer be stored together.
pub(crate) async fn publish(link: &Link, api: &Api, stream: &str, messages: Vec<Outgoing>) -> Result<()> {
    if messages.len() > MOST {
        return Err(Error::invalid(format!("{} events at once: a server takes at most {MOST} atomically", messages.len())));
    }
    let last = messages.last().cloned();
    let answer = match send(link, messages).await {
        Ok(answer) => answer,
        // The last answer may have been lost after all was stored.
        Err(error) if error.kind() == ErrorKind::Unavailable && is_stored(link, api, stream, last.as_ref()).await => return Ok(()),
        Err(error) => return Err(error.retryable(false)),
    };
    match refusal(&answer)? {
        None => Ok(()),
        Some(refusal) if refusal.reason == reason::DUPLICATE_IN_BATCH => {
            let message = "an event of the batch was stored before, within the dedup window; nothing was stored now";
            Err(Error::new(ErrorKind::Conflict, message))
        }
        Some(refusal) => Err(Error::from(refusal).retryable(false)),
    }
}

/// Sends all messages and returns the answer to the last one.
async fn send(link: &Link, messages: Vec<Outgoing>) -> Result<Message> {
    link.check()?;
    let batch = link.client.new_inbox();
    let batch = batch.rsplit('.').next().unwrap_or_default();
    let last = messages.len();
    let mut answer = None;
    for (number, message) in (1..).zip(messages) {
        let mut message = message.with(BATCH, batch).with(NUMBER, &number.to_string());
        if number == last {
            message = message.with(COMMIT, "1");
        }
        message.check_size(link.client.max_payload())?;
        // The first is answered, so that a server that does not take batches says so at once.
        if number == 1 || number == last {
            let answered = ask(link, message).await?;
            if number == 1
                && let Some(refusal) = refusal(&answered)?
            {
                return Err(refusal.into());
            }
            answer = Some(answered);
        } else {
            link.publish(message.subject, Some(message.headers), message.payload).await?;
        }
    }
    answer.ok_or_else(|| Error::invalid("no events"))
}

async fn ask(link: &Link, message: Outgoing) -> Result<Message> {
    let unavailable =
        |error| Error::new(ErrorKind::Unavailable, "the server did not answer; whether it has the events is unknown").caused_by(error);
    let request = async_nats::Request::new().headers(message.headers).payload(message.payload).timeout(Some(PATIENCE));
    link.answered(message.subject.clone(), link.client.send_request(message.subject, request)).await?.map_err(unavailable)
}

/// Why the server says no, if it does.
fn refusal(answer: &Message) -> Result<Option<Refusal>> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<Refusal>,
    }
    if answer.payload == Bytes::new() {
        return Ok(None);
    }
    let answer: std::result::Result<Answer, _> = serde_json::from_slice(&answer.payload);
    let unreadable = |fault| Error::new(ErrorKind::Unavailable, "the server's answer cannot be read").retryable(false).caused_by(fault);
    let answer = answer.map_err(unreadable)?;
    Ok(answer.error)
}

/// Whether the last message of a batch is the last one of its subject. Where others have published since, that cannot be told.
async fn is_stored(link: &Link, api: &Api, stream: &str, last: Option<&Outgoing>) -> bool {
    let Some(last) = last else { return false };
    if tokio::time::timeout(PATIENCE, link.until_up()).await.is_err() {
        return false;
    }
    let id = last.headers.get(nats::MESSAGE_ID);
    api.last_message(stream, &last.subject).await.is_ok_and(|stored| id.is_some() && stored.headers.get(nats::MESSAGE_ID) == id)
}
