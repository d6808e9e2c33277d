//! Entries of a stream: their ids, and the events that they hold.

use crate::reply;
use bytes::Bytes;
use eventbus_core::{
    Error, ErrorKind, Event, Result,
    cloudevents::{
        redis::{DATA, STRUCTURED, decode},
        undecodable,
    },
};
use redis::Value;
use std::{
    borrow::Cow,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The place of an entry in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct EntryId {
    /// When the server took it, in milliseconds since the Unix epoch, by the server's clock.
    pub(crate) millis: u64,
    /// Counts within a millisecond.
    pub(crate) number: u64,
}

/// How many bits of a [sequence](EntryId::sequence) count within a millisecond.
const NUMBER_BITS: u32 = 22;

impl EntryId {
    pub(crate) const FIRST: Self = Self { millis: 0, number: 0 };

    /// The id before this one.
    pub(crate) fn before(self) -> Self {
        match (self.millis, self.number) {
            (0, 0) => self,
            (millis, 0) => Self { millis: millis - 1, number: u64::MAX },
            (millis, number) => Self { millis, number: number - 1 },
        }
    }

    /// The id as one number, which grows as ids do: the milliseconds, and in the lower 22 bits the number within. `None` for an id that
    /// does not fit, as a server gives them only after its clock was set back by hours under load.
    pub(crate) fn sequence(self) -> Option<u64> {
        (self.number < 1 << NUMBER_BITS && self.millis < 1 << (u64::BITS - NUMBER_BITS)).then_some(self.millis << NUMBER_BITS | self.number)
    }

    pub(crate) fn of_sequence(sequence: u64) -> Self {
        Self { millis: sequence >> NUMBER_BITS, number: sequence & ((1 << NUMBER_BITS) - 1) }
    }

    /// How long ago that was, as far as the clocks of both sides agree.
    pub(crate) fn age(self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(self.millis))
    }

    /// The id as the scripts sort it: as text.
    pub(crate) fn padded(self) -> String {
        format!("{:020}-{:020}", self.millis, self.number)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::new(ErrorKind::Decode, "the server's answer is not understood: the id of an entry was expected"))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

impl FromStr for EntryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { millis: millis.parse()?, number: number.parse()? })
    }
}

/// An event, or what stands for a message that is none, and why.
pub(crate) type Decoded = Result<Event, (Event, Error)>;

/// The fields of an entry, as they are.
pub(crate) type Fields = Vec<(Vec<u8>, Bytes)>;

/// An entry of a stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) fields: Fields,
}

impl Entry {
    /// Reads one element of an answer: the id and the fields.
    pub(crate) fn read(value: Value) -> Result<Self> {
        let mut parts = reply::array(value)?.into_iter();
        let id = EntryId::read(&reply::bytes(reply::next(&mut parts)?)?)?;
        Ok(Self { id, fields: fields(reply::next(&mut parts)?)? })
    }

    /// The event that the entry holds, or what stands for it and why.
    pub(crate) fn event(&self, stream: &str) -> Decoded {
        decode(self.fields.iter().map(|(name, value)| (&**name, value))).map_err(|error| {
            let place = format!("{stream}/{}", self.id);
            let (attributes, data) = self.as_received();
            let attributes = attributes.map(|(name, value)| (String::from_utf8_lossy(name), Cow::Borrowed(value)));
            (undecodable::stand_in(&place, self.said_type(), attributes, data), error.with("entry", place))
        })
    }

    /// The entry as attributes and data: that of a structured event is its only field, and it has no attributes. See [`as_it_was`].
    fn as_received(&self) -> (impl Iterator<Item = (&[u8], &[u8])>, Bytes) {
        let data_name = match &self.fields[..] {
            [(name, _)] if name == STRUCTURED.as_bytes() => STRUCTURED,
            _ => DATA,
        };
        let is_all = data_name == DATA && self.fields.iter().all(|(name, _)| name == DATA.as_bytes());
        let mut is_taken = false;
        let attributes = self.fields.iter().filter_map(move |(name, value)| {
            // Another one of this name is an attribute.
            if name != data_name.as_bytes() || std::mem::replace(&mut is_taken, true) {
                return Some((&**name, &**value));
            }
            // So that it is not taken for a structured event.
            is_all.then_some((&**name, &b""[..]))
        });
        (attributes, self.field(data_name).cloned().unwrap_or_default())
    }

    /// What the entry says that its type is, where it says so in a field of its own.
    pub(crate) fn said_type(&self) -> Option<&str> {
        str::from_utf8(self.field("type")?).ok()
    }

    fn field(&self, name: &str) -> Option<&Bytes> {
        self.fields.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value)
    }

    /// How many bytes of memory the entry takes, about.
    pub(crate) fn size(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The fields of an entry that was no event, as they were.
pub(crate) fn as_it_was(received: &undecodable::Received) -> Vec<(&str, &[u8])> {
    let marked = usize::from(!received.attributes.is_empty() && received.attributes.iter().all(|(name, _)| name == DATA));
    let mut fields: Vec<_> = received.attributes.iter().skip(marked).map(|(name, value)| (name.as_str(), &value[..])).collect();
    let data_name = if received.attributes.is_empty() { STRUCTURED } else { DATA };
    if !received.data.is_empty() || fields.is_empty() {
        fields.push((data_name, &received.data));
    }
    fields
}

/// The fields of an entry from the flat list that the server gives.
pub(crate) fn fields(value: Value) -> Result<Fields> {
    let mut values = reply::array(value)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let Some(name) = values.next() {
        fields.push((reply::bytes(name)?, Bytes::from(reply::bytes(reply::next(&mut values)?)?)));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_written_and_read() {
        let id: EntryId = "1700000000000-12".parse().unwrap();
        assert_eq!((id.millis, id.number, id.to_string().as_str()), (1_700_000_000_000, 12, "1700000000000-12"));
        assert!(id > "1700000000000-9".parse().unwrap() && id.padded() > "1700000000000-9".parse::<EntryId>().unwrap().padded());
        assert_eq!(id.before().to_string(), "1700000000000-11");
        assert_eq!("5-0".parse::<EntryId>().unwrap().before().to_string(), format!("4-{}", u64::MAX));
        for bad in ["", "x", "1-x", "-1-1"] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sequence_is_an_id_and_grows_as_ids_do() {
        let ids = ["0-1", "1-0", "1-4194303", "2-0", "1700000000000-12"].map(|id| id.parse::<EntryId>().unwrap());
        let sequences = ids.map(|id| id.sequence().unwrap());
        assert!(sequences.is_sorted());
        assert_eq!(sequences.map(EntryId::of_sequence), ids);
        assert_eq!("1-4194304".parse::<EntryId>().unwrap().sequence(), None);
    }

    #[test]
    fn what_is_no_event_is_kept_as_it_is() {
        let entries: [&[(&str, &[u8])]; 8] = [
            &[("type", b"order.placed"), ("data", &[255])],
            &[("type", b"order.placed"), ("empty", b"")],
            &[("event", b"{\"trunc")],
            &[("data", b"alone")],
            &[("data", b"")],
            &[("event", b"two"), ("data", b"of them")],
            &[("type", b"order.placed"), ("data", b"second"), ("data", b"")],
            &[("data", b"second"), ("data", b"first")],
        ];
        for fields in entries {
            let owned = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), Bytes::copy_from_slice(value)));
            let entry = Entry { id: "7-0".parse().unwrap(), fields: owned.collect() };
            let (event, error) = entry.event("events:0").unwrap_err();
            assert_eq!(event.id(), "events:0/7-0");
            assert_eq!(event.event_type().as_str(), if fields[0].0 == "type" { "order.placed" } else { undecodable::TYPE });
            assert!(error.to_string().contains("events:0/7-0"), "{error}");
            let received = undecodable::as_received(&event).unwrap().unwrap();
            let (mut was, mut fields) = (as_it_was(&received), fields.to_vec());
            // What stands twice is all there, in another order.
            was.sort_unstable();
            fields.sort_unstable();
            assert_eq!(was, fields);
        }
    }
}
