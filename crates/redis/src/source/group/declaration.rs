//! What the members of a group agree on, and where it begins.

use crate::entry::EntryId;
use eventbus_core::{Error, Plan, Result, Start};

/// What every member of a group has to agree on.
pub(super) fn declaration(plan: &Plan) -> String {
    let patterns: Vec<&str> = plan.patterns.iter().map(eventbus_core::Pattern::as_str).collect();
    format!("patterns={} ordering={:?} overflow={:?}", patterns.join(","), plan.ordering, plan.overflow)
}

/// What differs between two declarations, in words.
pub(super) fn differences(found: &str, wanted: &str) -> String {
    let differing = found.split(' ').zip(wanted.split(' ')).filter(|(found, wanted)| found != wanted);
    differing
        .map(|(found, wanted)| format!("it has {found}, not {}", wanted.split_once('=').map_or(wanted, |(_, value)| value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where a group begins, as the server takes it: after this entry.
pub(super) fn start(start: &Start) -> Result<String> {
    Ok(match start {
        Start::New => "$".to_owned(),
        Start::Earliest => "0-0".to_owned(),
        other => position(other)?.to_string(),
    })
}

/// The entry after which a replay begins.
pub(crate) fn position(start: &Start) -> Result<EntryId> {
    match start {
        Start::Sequence(sequence) => Ok(EntryId::of_sequence(*sequence).before()),
        Start::Time(time) => {
            let since = time.to_system_time().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            // A time within a millisecond is before what the server took in the next one.
            let millis = since.as_millis() + u128::from(since.subsec_nanos() % 1_000_000 > 0);
            Ok(EntryId { millis: u64::try_from(millis).unwrap_or(u64::MAX), number: 0 }.before())
        }
        Start::Earliest => Ok(EntryId::FIRST),
        other => Err(Error::unsupported(&format!("{other:?}"), crate::BACKEND)),
    }
}
