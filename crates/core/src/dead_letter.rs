//! Events that were given up, and what can be done with them.

use crate::{BusFuture, Error, ErrorKind, Event, EventType, ExtensionValue, Pattern, Result, Timestamp};
use std::fmt;

/// An event that a subscription gave up, with why, when and after how many attempts.
///
/// The associated functions are the choices for [`Subscribe::dead_letter`](crate::Subscribe::dead_letter).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event as it was received: same id, same attributes, same bytes.
    pub event: Event,
    /// Why it was given up.
    pub reason: DeadLetterReason,
    /// What the last attempt failed with.
    pub error: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// The name of the subscription that gave it up.
    pub subscription: String,
    /// When it was given up.
    pub time: Timestamp,
}

/// Why an event was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// Every attempt failed.
    Exhausted,
    /// The handler said that trying again cannot help.
    Rejected,
    /// It could not be read as an event.
    Undecodable,
}

impl DeadLetterReason {
    /// The name in the attribute `dlreason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for DeadLetterReason {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let reasons = [Self::Exhausted, Self::Rejected, Self::Undecodable];
        reasons.into_iter().find(|reason| reason.as_str() == name).ok_or_else(|| {
            Error::new(
                ErrorKind::Decode,
                format!("attribute 'dlreason' {}: it must be exhausted, rejected or undecodable", crate::event_type::Excerpt(name)),
            )
        })
    }
}

/// What becomes of an event that was rejected or ran out of attempts. Chosen with [`DeadLetter::store`] and its siblings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterPolicy {
    /// It is kept among the backend's dead letters.
    #[default]
    Store,
    /// It is published under this type, with the attributes of a dead letter.
    Publish(EventType),
    /// It is counted and forgotten.
    Discard,
}

/// The choices for [`Subscribe::dead_letter`](crate::Subscribe::dead_letter).
impl DeadLetter {
    /// Keeps it among the backend's dead letters, from where it can be [redriven](DeadLetters::redrive). This is the default.
    #[must_use]
    pub const fn store() -> DeadLetterPolicy {
        DeadLetterPolicy::Store
    }

    /// Publishes it under another type on the same bus, so that a handler can take care of it. The event has the attributes `dlreason`,
    /// `dlerror`, `dlattempts`, `dlsubscription`, `dltime` and, with its original type, `dltype`; see [`DeadLetter::from_event`].
    #[must_use]
    pub const fn publish(event_type: EventType) -> DeadLetterPolicy {
        DeadLetterPolicy::Publish(event_type)
    }

    /// Counts it in the statistics and forgets it.
    #[must_use]
    pub const fn discard() -> DeadLetterPolicy {
        DeadLetterPolicy::Discard
    }
}

impl DeadLetter {
    /// A dead letter of now.
    #[must_use]
    pub fn new(event: Event, reason: DeadLetterReason, error: impl Into<String>, attempts: u32, subscription: impl Into<String>) -> Self {
        Self { event, reason, error: error.into(), attempts, subscription: subscription.into(), time: Timestamp::now() }
    }

    /// The event with the attributes of a dead letter, under `event_type` if one is given.
    #[must_use]
    pub fn to_event(&self, event_type: Option<&EventType>) -> Event {
        let mut event = self.event.clone();
        let original = event.event_type().clone();
        let inner = event.edit();
        if let Some(event_type) = event_type {
            inner.event_type = event_type.clone();
        }
        let attributes: [(&str, ExtensionValue); 6] = [
            ("dlreason", self.reason.as_str().into()),
            ("dlerror", single_line(&self.error).into()),
            ("dlattempts", i32::try_from(self.attempts).unwrap_or(i32::MAX).into()),
            ("dlsubscription", self.subscription.as_str().into()),
            ("dltime", self.time.to_string().into()),
            ("dltype", original.as_str().into()),
        ];
        inner.rare_mut().extensions.extend(attributes.map(|(name, value)| (name.into(), value)));
        event
    }

    /// Reads what [`to_event`](Self::to_event) wrote: the event as it was received, and its story.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`], naming the attribute, where one is missing or malformed.
    pub fn from_event(event: &Event) -> Result<Self> {
        let text = |name: &'static str| {
            let value = event
                .extension(name)
                .ok_or_else(|| Error::new(ErrorKind::Decode, format!("attribute '{name}': it is required in a dead letter")))?;
            Ok::<_, Error>(value.to_string())
        };
        let attempts = event.extension("dlattempts").and_then(ExtensionValue::as_integer).and_then(|attempts| u32::try_from(attempts).ok());
        let attempts = attempts.ok_or_else(|| Error::new(ErrorKind::Decode, "attribute 'dlattempts': it must be a number from 0"))?;
        let mut original = event.clone().with_type(EventType::new(text("dltype")?)?);
        for name in ["dlreason", "dlerror", "dlattempts", "dlsubscription", "dltime", "dltype"] {
            original = original.without_extension(name);
        }
        Ok(Self {
            event: original,
            reason: text("dlreason")?.parse()?,
            error: text("dlerror")?,
            attempts,
            subscription: text("dlsubscription")?,
            time: text("dltime")?.parse()?,
        })
    }
}

/// A text as an attribute may hold it.
fn single_line(text: &str) -> String {
    text.chars().map(|c| if crate::event::rules::is_allowed(c) { c } else { ' ' }).collect()
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct DeadLetterFilter {
    /// Only those whose original type matches.
    pub event_type: Option<Pattern>,
    /// Only those given up by the subscription of this name.
    pub subscription: Option<String>,
    /// Only the one with this event id.
    pub event_id: Option<String>,
    /// At most this many, the oldest first.
    pub limit: Option<usize>,
}

impl DeadLetterFilter {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those whose original type matches.
    pub fn of_type(mut self, pattern: Pattern) -> Self {
        self.event_type = Some(pattern);
        self
    }

    /// Only those given up by the subscription of this name.
    pub fn of_subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = Some(name.into());
        self
    }

    /// Only those of the event with this id.
    pub fn of_event(mut self, id: impl Into<String>) -> Self {
        self.event_id = Some(id.into());
        self
    }

    /// At most this many, the oldest first.
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = Some(letters);
        self
    }

    /// Whether a letter is meant, leaving the limit aside.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        self.event_type.as_ref().is_none_or(|pattern| pattern.matches(letter.event.event_type()))
            && self.subscription.as_ref().is_none_or(|name| *name == letter.subscription)
            && self.event_id.as_ref().is_none_or(|id| id == letter.event.id())
    }
}

/// The dead letters that a backend keeps. They live beside the events: no pattern matches them.
pub trait DeadLetters: Send + Sync {
    /// The letters that the filter means, the oldest first.
    fn list(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<Vec<DeadLetter>>>;

    /// Publishes the original events again, ids unchanged, as if for the first time: every matching subscription gets them and attempts
    /// start at 1. A letter is removed once its event is published. Returns how many were.
    ///
    /// A publish that fails ends the redrive with its error; the letters not yet published stay.
    fn redrive(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>>;

    /// Removes letters for good. Returns how many.
    fn remove(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        let event =
            Event::builder("order.placed").id("e-1").source("/shop").json_text("{\"a\":1.10}").extension("region", "eu").build().unwrap();
        DeadLetter::new(event, DeadLetterReason::Exhausted, "first line\nsecond", 5, "billing")
    }

    #[test]
    fn a_letter_survives_as_an_event_of_another_type() {
        let letter = letter();
        let target = EventType::from_static("order.dead");
        let event = letter.to_event(Some(&target));
        assert_eq!((event.id(), event.event_type()), ("e-1", &target));
        assert!(event.check().is_ok());
        let json = crate::cloudevents::json::encode(&event).unwrap();
        let read = DeadLetter::from_event(&crate::cloudevents::json::decode(&json).unwrap()).unwrap();
        assert_eq!(read, DeadLetter { error: "first line second".to_owned(), ..letter });
    }

    #[test]
    fn an_event_that_is_no_letter_says_what_is_missing() {
        let error = DeadLetter::from_event(&letter().event).unwrap_err();
        assert!(error.to_string().contains("'dlattempts'"), "{error}");
    }

    #[test]
    fn a_filter_means_letters_by_all_of_its_parts() {
        let letter = letter();
        assert!(DeadLetterFilter::all().matches(&letter));
        assert!(DeadLetterFilter::all().of_type("order.*".parse().unwrap()).of_subscription("billing").of_event("e-1").matches(&letter));
        assert!(!DeadLetterFilter::all().of_type("invoice.*".parse().unwrap()).matches(&letter));
        assert!(!DeadLetterFilter::all().of_subscription("other").matches(&letter));
        assert!(!DeadLetterFilter::all().of_event("e-2").matches(&letter));
    }
}
