//! The names of keys and channels, and which partition an event belongs to.
//!
//! A stream is named `{prefix}:{partition}` as it stands. What has to live on the same node of a cluster has that name as its hash tag.

use eventbus_core::{Event, EventType, cloudevents};
use std::hash::Hasher as _;

/// The names of one bus.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    streams: Vec<String>,
}

/// The keys of a group at one partition.
#[derive(Debug, Clone)]
pub(crate) struct GroupKeys {
    pub(crate) stream: String,
    /// What the group is: its declaration, where it stood, how much retention took from it.
    pub(crate) group: String,
    /// Deliveries that wait to be tried again, by when they are due.
    pub(crate) retry: String,
    /// Members, by when they were last heard of.
    pub(crate) members: String,
}

impl Names {
    pub(crate) fn new(prefix: &str, partitions: u32) -> Self {
        Self { prefix: prefix.to_owned(), streams: (0..partitions).map(|partition| format!("{prefix}:{partition}")).collect() }
    }

    pub(crate) fn streams(&self) -> &[String] {
        &self.streams
    }

    pub(crate) fn stream(&self, partition: u32) -> &str {
        &self.streams[partition as usize]
    }

    pub(crate) fn partitions(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.streams.len()).unwrap_or(u32::MAX)
    }

    /// What every process has to agree on.
    pub(crate) fn layout(&self) -> String {
        format!("{}:layout", self.prefix)
    }

    /// Marks that something was stored, so that it is stored once.
    pub(crate) fn marker(&self, partition: u32, what: &str) -> String {
        format!("{{{}}}:once:{what}", self.stream(partition))
    }

    pub(crate) fn group(&self, partition: u32, group: &str) -> GroupKeys {
        let stream = self.stream(partition);
        GroupKeys {
            stream: stream.to_owned(),
            group: format!("{{{stream}}}:group:{group}"),
            retry: format!("{{{stream}}}:retry:{group}"),
            members: format!("{{{stream}}}:members:{group}"),
        }
    }

    pub(crate) fn letters(&self) -> String {
        format!("{}:dlq", self.prefix)
    }

    /// Marks that a letter was stored.
    pub(crate) fn letter_marker(&self, place: &str) -> String {
        format!("{{{}}}:once:{place}", self.letters())
    }

    /// What the channels of replies begin with.
    pub(crate) fn replies(&self) -> String {
        format!("{}:reply:", self.prefix)
    }

    /// The channel of an event type in Pub/Sub mode.
    pub(crate) fn channel(&self, event_type: &EventType) -> String {
        cloudevents::redis::channel(&self.prefix, event_type)
    }

    /// What all channels of events begin with.
    pub(crate) fn channels(&self) -> String {
        format!("{}:", self.prefix)
    }

    /// The partition of an event: by its ordering key, else by its id.
    pub(crate) fn partition(&self, event: &Event) -> u32 {
        match u32::try_from(self.streams.len()) {
            Ok(partitions) if partitions > 1 => partition(event.ordering_key().unwrap_or_else(|| event.id()), partitions),
            _ => 0,
        }
    }
}

/// The partition of a key. Every publisher has to agree on it, so this is FNV-1a (64 bits), which is easily written anywhere.
fn partition(key: &str, partitions: u32) -> u32 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(key.as_bytes());
    u32::try_from(hash.finish() % u64::from(partitions)).unwrap_or(0)
}

struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What says that an event was stored: its source, which holds no blank, and its id.
pub(crate) fn identity(event: &Event) -> String {
    format!("{} {}", event.source(), event.id())
}

/// A text as a part of a pattern of channels, matching itself alone.
pub(crate) fn escaped(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_as_they_stand_and_companions_share_their_slot() {
        let names = Names::new("events", 4);
        assert_eq!(names.streams(), ["events:0", "events:1", "events:2", "events:3"]);
        assert_eq!(names.group(2, "billing").retry, "{events:2}:retry:billing");
        assert_eq!(names.letters(), "events:dlq");
        assert_eq!(names.channel(&EventType::from_static("order.placed")), "events:order.placed");
    }

    #[test]
    fn a_partition_follows_from_the_key_alone_and_stays_the_same_for_ever() {
        let event = |key: &str| Event::json("a", 1).unwrap().with_partition_key(key);
        let names = Names::new("events", 4);
        // As computed by another implementation of FNV-1a.
        assert_eq!(
            ["", "a", "foobar"].map(|key| partition(key, u32::MAX)),
            [0xcbf2_9ce4_8422_2325_u64, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
                .map(|hash| u32::try_from(hash % u64::from(u32::MAX)).unwrap())
        );
        assert_eq!(names.partition(&event("o-1")), names.partition(&event("o-1").with_subject("x")));
        assert_eq!(names.partition(&event("o-1")), names.partition(&Event::json("b", 2).unwrap().with_subject("o-1")));
        let used: std::collections::BTreeSet<u32> = (0..100).map(|key| names.partition(&event(&format!("o-{key}")))).collect();
        assert_eq!(used.len(), 4);
    }

    #[test]
    fn pairs_of_source_and_id_are_not_mixed_up() {
        let event = |source: &str, id: &str| identity(&Event::json("a", 1).unwrap().with_source(source).with_id(id));
        assert_ne!(event("/x#y", "z"), event("/x", "y#z"));
        assert_ne!(event("/x", "y z"), event("/x", "y") + " ");
    }
}
