//! Events: immutable, cheap to clone, with the attributes of CloudEvents 1.0.

mod builder;
mod change;
mod extension;
mod identity;
mod metadata;
pub(crate) mod rules;
mod timestamp;

pub use self::{builder::EventBuilder, extension::ExtensionValue, metadata::Metadata, timestamp::Timestamp};
pub(crate) use self::{
    extension::{Extensions, check_name},
    identity::Identity,
};

use crate::{Error, EventData, EventType, Payload, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc, time::SystemTime};

/// The source of events for which none was given.
pub const DEFAULT_SOURCE: &str = "/eventbus";

/// Something that happened: an immutable record that is cheap to clone.
///
/// Build one with [`Event::new`] from a typed value, with [`Event::json`], or attribute by attribute with [`Event::builder`]. The
/// `with_…` methods change attributes of an event that is still yours; on a clone they change that clone alone.
///
/// A value that breaks a rule, such as an empty source, does not panic: the event remembers the fault, and [`Event::check`] and every
/// publish refuse it with [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the attribute and the rule.
///
/// ```
/// use eventbus_core::Event;
/// let event = Event::json("shop.opened", serde_json::json!({"at": 9}))?.with_source("/shop").with_user("u-1");
/// assert_eq!(event.event_type(), &"shop.opened");
/// assert_eq!(event.decode::<serde_json::Value>()?["at"], 9);
/// # Ok::<(), eventbus_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Event(Arc<Inner>);

#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) event_type: EventType,
    /// `None` is [`DEFAULT_SOURCE`].
    pub(crate) source: Option<Arc<str>>,
    pub(crate) subject: Option<Box<str>>,
    pub(crate) partition_key: Option<Box<str>>,
    pub(crate) correlation_id: Option<Box<str>>,
    pub(crate) causation_id: Option<Box<str>>,
    pub(crate) schema_version: u32,
    pub(crate) data: Payload,
    /// What most events do not have.
    pub(crate) rare: Option<Box<Rare>>,
    /// The first fault of a value given to this event.
    fault: Option<Error>,
}

#[derive(Clone, Default)]
pub(crate) struct Rare {
    pub(crate) metadata: Metadata,
    pub(crate) traceparent: Option<Box<str>>,
    pub(crate) tracestate: Option<Box<str>>,
    pub(crate) data_schema: Option<Box<str>>,
    pub(crate) extensions: Extensions,
}

static NO_METADATA: std::sync::LazyLock<Metadata> = std::sync::LazyLock::new(Metadata::new);

impl Event {
    /// An event of the type, version, subject and partition key that its data declares.
    ///
    /// The value itself is handed to handlers in the same process. A type name that breaks a rule is a compile error.
    #[must_use]
    pub fn new<T: EventData>(data: T) -> Self {
        let (subject, partition_key) = (data.subject(), data.partition_key());
        const { assert!(T::VERSION >= 1, "schema versions start at 1") };
        let mut inner = Inner::new(const { EventType::from_static(T::TYPE) }, Payload::typed(Arc::new(data)));
        inner.schema_version = T::VERSION;
        if let Some(subject) = subject {
            inner.set_subject(&subject);
        }
        if let Some(key) = partition_key {
            inner.set_partition_key(&key);
        }
        Self::from_inner(inner)
    }

    /// An event whose data is `value`, written as JSON now.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a bad type name, [`ErrorKind::Encode`](crate::ErrorKind::Encode) for a value
    /// without a JSON form.
    pub fn json(event_type: impl AsRef<str>, value: impl Serialize) -> Result<Self> {
        Ok(Self::of(EventType::new(event_type)?, Payload::json(&value)?))
    }

    /// An event, attribute by attribute.
    pub fn builder(event_type: impl AsRef<str>) -> EventBuilder {
        EventBuilder::new(event_type.as_ref())
    }

    pub(crate) fn of(event_type: EventType, data: Payload) -> Self {
        Self::from_inner(Inner::new(event_type, data))
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

/// What an event says.
impl Event {
    /// The id: the caller's, or a UUIDv7 made when it is first asked for or when the event is published.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.identity.id()
    }

    /// The type, which subscriptions match.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        &self.0.event_type
    }

    /// What published the event: a URI-reference. Together with the id it identifies the event.
    #[must_use]
    pub fn source(&self) -> &str {
        self.0.source.as_deref().unwrap_or(DEFAULT_SOURCE)
    }

    /// What the event is about, within its source.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// When it happened: the caller's time, or when the id was made. `None` only for a received event that has none.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.0.identity.time()
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Payload {
        &self.0.data
    }

    /// The data as a `T`; in process it is the publisher's own value.
    ///
    /// # Errors
    /// As [`Payload::decode`], naming the event.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        self.0.data.decode().map_err(|error| error.during("decode").with("event_type", self.event_type()).with("id", self.id()))
    }

    /// The version of the data's schema, from 1.
    #[must_use]
    pub fn schema_version(&self) -> u32 {
        self.0.schema_version
    }

    /// The schema of the data: an absolute URI.
    #[must_use]
    pub fn data_schema(&self) -> Option<&str> {
        self.rare()?.data_schema.as_deref()
    }

    /// What links all the events of one business transaction.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// The id of the event that caused this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<&str> {
        self.0.causation_id.as_deref()
    }

    /// The key within which order is kept, where one was set.
    #[must_use]
    pub fn partition_key(&self) -> Option<&str> {
        self.0.partition_key.as_deref()
    }

    /// The key within which [`Ordering::PerKey`](crate::Ordering::PerKey) keeps order: the partition key, else the subject.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        self.partition_key().or_else(|| self.subject())
    }

    /// User, tenant, request, trace, and values of your own.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.rare().map_or(&NO_METADATA, |rare| &rare.metadata)
    }

    /// The W3C `traceparent`, as it was given.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.rare()?.traceparent.as_deref()
    }

    /// The W3C `tracestate`, as it was given.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.rare()?.tracestate.as_deref()
    }

    /// The extension attribute `name`, among those that have no method of their own.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&ExtensionValue> {
        self.rare()?.extensions.get(name)
    }

    /// All extension attributes that have no method of their own, by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &ExtensionValue)> {
        self.rare().into_iter().flat_map(|rare| rare.extensions.iter().map(|(name, value)| (&**name, value)))
    }

    /// Whether every value given to this event keeps the rules. Publishing checks this.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for the first that does not, naming the attribute, the value and the rule.
    pub fn check(&self) -> Result<()> {
        self.0.fault.clone().map_or(Ok(()), Err)
    }

    fn rare(&self) -> Option<&Rare> {
        self.0.rare.as_deref()
    }
}

/// For backends.
#[doc(hidden)]
impl Event {
    /// Gives the event its id and time if nobody has asked for them yet. True when this call made the id, which then is certainly new:
    /// nobody can have published, stored or copied it before.
    pub fn mint(&mut self) -> bool {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => inner.identity.mint(),
            None => {
                self.0.identity.settle();
                false
            }
        }
    }

    /// Makes the data the bytes that it is sent as, and says how many there are. A typed value is let go where nobody else has the event, so
    /// that what waits for a server is kept once.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) where a typed value has no JSON form.
    pub fn encode(&mut self) -> Result<usize> {
        let bytes = match Arc::get_mut(&mut self.0) {
            Some(inner) => inner.data.encode(),
            None => self.0.data.to_bytes(),
        };
        bytes.map(|bytes| bytes.len())
    }

    /// When `mint` or the first reader made the id; `None` where the id was given.
    #[must_use]
    pub fn minted_at(&self) -> Option<SystemTime> {
        self.0.identity.minted_at()
    }

    /// The id as a number, where it is a UUID in canonical form.
    #[must_use]
    pub fn uuid(&self) -> Option<u128> {
        self.0.identity.uuid()
    }

    /// Whether both handles are of the very same event in memory.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Inner {
    pub(crate) fn new(event_type: EventType, data: Payload) -> Self {
        Self {
            identity: Identity::default(),
            event_type,
            source: None,
            subject: None,
            partition_key: None,
            correlation_id: None,
            causation_id: None,
            schema_version: 1,
            data,
            rare: None,
            fault: None,
        }
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// Events are equal when every attribute and the data are.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
            || self.id() == other.id()
                && self.source() == other.source()
                && self.event_type() == other.event_type()
                && self.subject() == other.subject()
                && self.time() == other.time()
                && self.schema_version() == other.schema_version()
                && self.data_schema() == other.data_schema()
                && self.correlation_id() == other.correlation_id()
                && self.causation_id() == other.causation_id()
                && self.partition_key() == other.partition_key()
                && self.traceparent() == other.traceparent()
                && self.tracestate() == other.tracestate()
                && self.metadata() == other.metadata()
                && self.extensions().eq(other.extensions())
                && self.data() == other.data()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Event");
        shown.field("id", &self.id()).field("type", self.event_type()).field("source", &self.source());
        if let Some(subject) = self.subject() {
            shown.field("subject", &subject);
        }
        shown.field("data", self.data()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
