//! What a stream retains.

use crate::{
    entry::{Entry, EntryId},
    link::{Failed, Link},
    reply,
};
use eventbus_core::Result;
use eventbus_runtime::remote::Figures;
use redis::{Value, cmd, pipe};
use std::time::Duration;

/// The figures of one stream, which the server measures.
pub(crate) struct Retained {
    events: u64,
    /// `None` where the server does not say: an access list may forbid to ask.
    bytes: Option<u64>,
    /// How long ago the oldest and the newest were stored.
    since: Option<(Duration, Duration)>,
}

impl Retained {
    pub(crate) async fn ask(link: &Link, stream: &str) -> Result<Self> {
        let mut questions = pipe();
        questions.cmd("XLEN").arg(stream);
        questions.cmd("XRANGE").arg(stream).arg("-").arg("+").arg("COUNT").arg(1);
        questions.cmd("XREVRANGE").arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let mut answers = link.send_all(&questions).await?.into_iter().map(Value::extract_error);
        let mut answer = || answers.next().unwrap_or(Ok(Value::Nil)).map_err(Failed::Answered);
        let events = reply::count(answer()?)?;
        let (oldest, newest) = (first(answer()?)?, first(answer()?)?);
        let bytes = match link.send(cmd("MEMORY").arg("USAGE").arg(stream)).await {
            // There is no stream yet.
            Ok(Value::Nil) => Some(0),
            Ok(bytes) => Some(reply::count(bytes)?),
            Err(Failed::Answered(_)) => None,
            Err(failed) => return Err(failed.into()),
        };
        // In this order, so that the older one is never the younger.
        let newest = newest.map(EntryId::age);
        Ok(Self { events, bytes, since: oldest.map(EntryId::age).zip(newest) })
    }

    /// Adds this stream to those of the other partitions.
    pub(crate) fn add_to(self, figures: &mut Figures) {
        figures.retained_bytes = match figures.retained {
            None => self.bytes,
            Some(_) => figures.retained_bytes.zip(self.bytes).map(|(before, more)| before + more),
        };
        figures.retained = Some(figures.retained.unwrap_or(0) + self.events);
        figures.retained_since = match (figures.retained_since, self.since) {
            (Some(one), Some(other)) => Some((one.0.max(other.0), one.1.min(other.1))),
            (one, other) => one.or(other),
        };
    }
}

/// The id of the first of some entries.
fn first(entries: Value) -> Result<Option<EntryId>> {
    let first = reply::array(entries)?.into_iter().next();
    first.map(|entry| Entry::read(entry).map(|entry| entry.id)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retained(events: u64, bytes: Option<u64>, since: Option<(u64, u64)>) -> Retained {
        let since = since.map(|(oldest, newest)| (Duration::from_secs(oldest), Duration::from_secs(newest)));
        Retained { events, bytes, since }
    }

    #[test]
    fn partitions_are_added_up() {
        let mut figures = Figures::default();
        retained(0, Some(0), None).add_to(&mut figures);
        retained(2, Some(200), Some((9, 8))).add_to(&mut figures);
        retained(3, Some(300), Some((7, 1))).add_to(&mut figures);
        assert_eq!((figures.retained, figures.retained_bytes), (Some(5), Some(500)));
        assert_eq!(figures.retained_since, Some((Duration::from_secs(9), Duration::from_secs(1))));
        retained(1, None, None).add_to(&mut figures);
        assert_eq!((figures.retained, figures.retained_bytes), (Some(6), None), "a sum of some would mislead");
    }
}
