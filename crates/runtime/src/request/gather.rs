//! The requester's side: which replies to wait for, and those that came.

use super::{REPLY_ERROR, REPLY_TO, RESPONDER};
use eventbus_core::{Bus, Error, ErrorKind, Event, Inbox, MAX_DURATION, Result};
use serde::de::DeserializeOwned;
use std::{pin::pin, sync::Arc, time::Duration};

/// Which replies a request waits for, and how long.
///
/// ```
/// use eventbus_runtime::Gather;
/// use std::time::Duration;
/// // All three within two seconds, but two will do.
/// let gather = Gather::from(["v1", "v2", "v3"]).at_least(2).timeout(Duration::from_secs(2));
/// ```
///
/// Left as it is, it waits 10 s and needs a reply of everyone it names.
#[derive(Debug, Clone)]
#[must_use = "give it to `bus.request`"]
pub struct Gather {
    expected: Vec<String>,
    /// `None` is everyone expected.
    at_least: Option<usize>,
    timeout: Duration,
}

impl Gather {
    /// Waits for a reply of each of these responders. Replies of others are passed over.
    pub fn from<S: Into<String>>(responders: impl IntoIterator<Item = S>) -> Self {
        let mut expected: Vec<String> = responders.into_iter().map(Into::into).collect();
        expected.sort();
        expected.dedup();
        Self { expected, at_least: None, timeout: Duration::from_secs(10) }
    }

    /// Waits for the replies of this many responders, whoever they are.
    pub fn any(responders: usize) -> Self {
        Self { expected: Vec::new(), at_least: Some(responders), timeout: Duration::from_secs(10) }
    }

    /// Waits for the first reply.
    pub fn first() -> Self {
        Self::any(1)
    }

    /// When the time is up, this many replies are enough. Until then the request still waits for all.
    pub fn at_least(mut self, replies: usize) -> Self {
        self.at_least = Some(replies);
        self
    }

    /// How long to wait, from 1 ms to 30 days.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn check(&self) -> Result<()> {
        let invalid = |rule: String| Err(Error::invalid(rule).during("request"));
        if self.timeout < Duration::from_millis(1) || self.timeout > MAX_DURATION {
            return invalid(format!("timeout {:?}: it must be 1 ms to 30 days", self.timeout));
        }
        if self.expected.iter().any(String::is_empty) {
            return invalid("expected responder \"\": a name must not be empty".to_owned());
        }
        match self.at_least {
            None if self.expected.is_empty() => invalid("no responders are expected; for any, use Gather::any".to_owned()),
            Some(0) => invalid("at_least 0: a request without replies is a publish".to_owned()),
            Some(more) if !self.expected.is_empty() && more > self.expected.len() => {
                invalid(format!("at_least {more}: only {} responders are expected", self.expected.len()))
            }
            _ => Ok(()),
        }
    }

    /// How many replies end the wait before the time is up.
    fn all(&self) -> usize {
        if self.expected.is_empty() { self.at_least.unwrap_or(1) } else { self.expected.len() }
    }

    fn enough(&self) -> usize {
        self.at_least.unwrap_or(self.expected.len())
    }
}

/// The replies to a request, and who is missing.
#[derive(Debug)]
pub struct Replies {
    replies: Vec<Reply>,
    missing: Vec<String>,
}

impl Replies {
    /// The replies, in the order they came.
    pub fn iter(&self) -> std::slice::Iter<'_, Reply> {
        self.replies.iter()
    }

    /// The reply of one responder.
    #[must_use]
    pub fn of(&self, responder: &str) -> Option<&Reply> {
        self.iter().find(|reply| reply.responder() == responder)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// The expected responders that did not reply in time, sorted.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

impl<'a> IntoIterator for &'a Replies {
    type Item = &'a Reply;
    type IntoIter = std::slice::Iter<'a, Reply>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Replies {
    type Item = Reply;
    type IntoIter = std::vec::IntoIter<Reply>;

    fn into_iter(self) -> Self::IntoIter {
        self.replies.into_iter()
    }
}

/// The reply of one responder: a value, or why it failed.
#[derive(Debug, Clone)]
pub struct Reply {
    responder: String,
    event: Event,
}

impl Reply {
    /// Who replied.
    #[must_use]
    pub fn responder(&self) -> &str {
        &self.responder
    }

    /// The reply as it came.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Why the responder failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.event.extension(REPLY_ERROR).map(ToString::to_string)
    }

    /// The value.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`] with what the responder said, where it failed; [`ErrorKind::Decode`] where the value is no `T`.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        match self.error() {
            Some(error) => Err(Error::new(ErrorKind::Handler, error).during("reply").with("responder", &self.responder)),
            None => self.event.decode(),
        }
    }
}

/// Publishes a request and waits for its replies.
pub(crate) async fn request(bus: &(impl Bus + ?Sized), event: Event, gather: Gather) -> Result<Replies> {
    gather.check()?;
    let mut inbox = bus.replies()?.open().await?;
    let event = event.with_extension(REPLY_TO, inbox.address());
    let mut replies = Vec::new();
    // Side by side: where a publish returns after the handlers, one that never replies must not hold back those that do.
    let collected = async {
        let (mut publishing, mut collecting) = (pin!(bus.publish(event)), pin!(collect(&mut inbox, &gather, &mut replies)));
        tokio::select! {
            biased;
            published = &mut publishing => published?,
            () = &mut collecting => return Ok(()),
        }
        collecting.await;
        Ok::<_, Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(gather.timeout, collected).await {
        return Err(error.during("request"));
    }
    let missing: Vec<String> =
        gather.expected.iter().filter(|name| !replies.iter().any(|reply: &Reply| reply.responder == **name)).cloned().collect();
    if replies.len() < gather.enough() {
        let error = Error::new(
            ErrorKind::Timeout,
            format!("{} of at least {} replies within {:?}", replies.len(), gather.enough(), gather.timeout),
        )
        .during("request");
        return Err(if missing.is_empty() { error } else { error.with("missing", missing.join(",")) });
    }
    Ok(Replies { replies, missing })
}

/// Reads replies until everyone has replied.
async fn collect(inbox: &mut Inbox, gather: &Gather, replies: &mut Vec<Reply>) {
    while replies.len() < gather.all() {
        let Some(event) = inbox.next().await else { return };
        let responder = event.extension(RESPONDER).map(ToString::to_string).unwrap_or_default();
        let wanted = gather.expected.is_empty() || gather.expected.contains(&responder);
        // A request that was delivered twice is answered twice; the first answer counts.
        if wanted && !replies.iter().any(|reply| reply.responder == responder) {
            replies.push(Reply { responder, event });
        }
    }
}
