//! The id and the time of an event, made when they are first needed.
//!
//! An event that nobody has asked for its id cannot have been copied, stored or sent anywhere under that id. So the id is made by
//! the first reader or by the bus that publishes the event, and a bus that made it knows without looking that it is no duplicate.
//! The time comes from the same reading of the clock.

use super::Timestamp;
use rand::RngExt as _;
use std::{
    fmt,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

#[derive(Clone, Default)]
pub(crate) struct Identity {
    /// `None` is the minted id.
    given: Option<Box<str>>,
    pub(crate) time: Time,
    /// Made by the bus, which has the event to itself.
    minted: Option<Minted>,
    /// Made by whoever asked first, while others may have the event too.
    asked: OnceLock<Box<Minted>>,
    /// The minted id, once somebody wanted to read it.
    text: OnceLock<IdText>,
}

#[derive(Clone, Default)]
pub(crate) enum Time {
    /// When the id was made.
    #[default]
    Minted,
    Given(Timestamp),
    /// Read from a message that has none.
    Absent,
}

#[derive(Clone, Copy)]
struct Minted {
    id: [u8; 16],
    at: SystemTime,
}

impl Identity {
    pub(crate) fn given(id: &str, time: Option<Timestamp>) -> Self {
        Self { given: Some(id.into()), time: time.map_or(Time::Absent, Time::Given), ..Self::default() }
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        self.given = Some(id.into());
    }

    /// Makes id and time if nobody has asked for them yet. True when this call made them, so that the id is certainly new.
    pub(crate) fn mint(&mut self) -> bool {
        if self.minted.is_some() || self.given.is_some() || self.asked.get_mut().is_some() {
            self.settle();
            return false;
        }
        self.minted = Some(Minted::now());
        true
    }

    /// Makes what is not yet made, so that copies made from now on have the same id and time.
    pub(crate) fn settle(&self) {
        if self.given.is_none() || matches!(self.time, Time::Minted) {
            self.minted();
        }
    }

    fn minted(&self) -> &Minted {
        self.minted.as_ref().unwrap_or_else(|| self.asked.get_or_init(|| Box::new(Minted::now())))
    }

    pub(crate) fn id(&self) -> &str {
        match &self.given {
            Some(id) => id,
            None => self.text.get_or_init(|| IdText::of(Uuid::from_bytes(self.minted().id))).as_str(),
        }
    }

    /// The id as a number where it is a UUID in its canonical form, so that an id compares equal whether it was made here or read.
    pub(crate) fn uuid(&self) -> Option<u128> {
        match &self.given {
            None => Some(u128::from_be_bytes(self.minted().id)),
            Some(id) if id.len() == IdText::LENGTH => {
                let uuid = Uuid::try_parse(id).ok()?;
                (IdText::of(uuid).as_str() == &**id).then_some(uuid.as_u128())
            }
            Some(_) => None,
        }
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        match &self.time {
            Time::Minted => Some(self.minted().at.into()),
            Time::Given(time) => Some(time.clone()),
            Time::Absent => None,
        }
    }

    /// When the id was made, if it was made here.
    pub(crate) fn minted_at(&self) -> Option<SystemTime> {
        self.minted.as_ref().or_else(|| self.asked.get().map(|minted| &**minted)).map(|minted| minted.at)
    }
}

impl Minted {
    fn now() -> Self {
        let at = SystemTime::now();
        Self { id: uuid_v7(at, rand::rng().random()).to_be_bytes(), at }
    }
}

/// A UUIDv7 (RFC 9562, section 5.7) whose `rand_a` holds the fraction of the millisecond (section 6.2, method 3), so that ids of one
/// process sort by time down to a quarter of a microsecond.
fn uuid_v7(at: SystemTime, random: u64) -> u128 {
    const VERSION: u128 = 0x7 << 76;
    const VARIANT: u128 = 0b10 << 62;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = (since.as_secs() * 1000 + u64::from(since.subsec_millis())) & 0xFFFF_FFFF_FFFF;
    let fraction = u64::from(since.subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
    u128::from(millis) << 80 | VERSION | u128::from(fraction) << 64 | VARIANT | u128::from(random >> 2)
}

/// A hyphenated lower-case UUID.
#[derive(Clone)]
struct IdText([u8; IdText::LENGTH]);

impl IdText {
    const LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;

    fn of(id: Uuid) -> Self {
        let mut text = [0; Self::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    fn as_str(&self) -> &str {
        // Hexadecimal digits and hyphens are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_minted_id_is_a_version_7_uuid_of_now() {
        let identity = Identity::default();
        let uuid = Uuid::try_parse(identity.id()).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        let millis = (uuid.as_u128() >> 80) as u64;
        let at = identity.minted_at().unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(u128::from(millis), at.as_millis());
        assert_eq!(identity.uuid(), Some(uuid.as_u128()));
    }

    #[test]
    fn ids_sort_by_time_within_a_millisecond() {
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let ids: Vec<_> = (0..4000).map(|step| uuid_v7(start + Duration::from_nanos(step * 250), u64::MAX - step)).collect();
        assert!(ids.is_sorted_by(|a, b| a >> 64 <= b >> 64));
        assert!(ids[0] < ids[8]);
    }

    #[test]
    fn minting_is_new_once_and_only_where_nobody_looked() {
        let mut fresh = Identity::default();
        assert!(fresh.mint());
        assert!(!fresh.mint());
        let mut seen = Identity::default();
        let id = seen.id().to_owned();
        assert!(!seen.mint());
        assert_eq!(seen.id(), id);
        assert!(!Identity::given("x", None).mint());
    }

    #[test]
    fn a_uuid_that_was_read_equals_the_one_that_was_made() {
        let made = Identity::default();
        assert_eq!(Identity::given(made.id(), None).uuid(), made.uuid());
        assert_eq!(Identity::given(&made.id().to_uppercase(), None).uuid(), None);
        assert_eq!(Identity::given("order-1", None).uuid(), None);
    }
}
