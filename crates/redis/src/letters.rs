//! Dead letters: the stream `{prefix}:dlq`, and what becomes of events that are given up.

use crate::{
    BACKEND,
    encode::{once, write_fields},
    entry::{Entry, EntryId, as_it_was},
    link::{Link, call},
    names::Names,
    reply,
    script::{BURY, PUBLISH},
};
use eventbus_core::{DeadLetter, DeadLetterPolicy, DeadLetterReason, Error, ErrorKind, Event, Result, cloudevents::undecodable};
use eventbus_runtime::{Buried, remote::LetterStore};
use redis::cmd;
use std::{fmt, sync::Arc, time::Duration};

use crate::source::Token;

/// For how long it is remembered that something was stored or published for good, so that it is not done again after a crash half-way.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The dead letters of a bus.
pub(crate) struct Letters {
    names: Names,
    /// The connection for commands of each partition.
    links: Vec<Arc<Link>>,
    /// The connection to the server that has the letters.
    link: Arc<Link>,
    most: u64,
}

/// Where a letter stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    id: EntryId,
    /// Where the letters ended when the first of those were read that this one is among.
    end: EntryId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id, f)
    }
}

impl Letters {
    pub(crate) fn new(names: &Names, links: &[Arc<Link>], link: Arc<Link>, most: u64) -> Arc<Self> {
        Arc::new(Self { names: names.clone(), links: links.to_vec(), link, most })
    }

    /// How many there are.
    pub(crate) async fn count(&self) -> Result<u64> {
        reply::count(self.link.send(cmd("XLEN").arg(self.names.letters())).await?)
    }

    /// Stores a letter, once under this name.
    async fn store(&self, letter: &DeadLetter, name: &str) -> Result<()> {
        let marker = self.names.letter_marker(name);
        let mut call = call(&BURY, [self.names.letters().as_str(), &marker]);
        call.arg(self.most).arg(REMEMBERED.as_millis() as u64);
        write_fields(&mut call, &letter.to_event(None))?;
        match reply::integer(self.link.run(&call).await?)? {
            -1 => {
                let limit = usize::try_from(self.most).unwrap_or(usize::MAX);
                Err(Error::new(ErrorKind::Full { limit }, format!("{limit} dead letters are kept already")))
            }
            _ => Ok(()),
        }
    }

    /// Publishes an event whatever the dedup window says, once under this name.
    async fn publish(&self, event: &Event, name: &str) -> Result<()> {
        let partition = self.names.partition(event);
        let marker = self.names.marker(partition, name);
        let call = once(self.names.stream(partition), &[marker], REMEMBERED, std::iter::once(event))?;
        self.links[partition as usize].run(&call).await?;
        Ok(())
    }

    /// Publishes what was no event as it was received.
    async fn publish_raw(&self, event: &Event, name: &str) -> Result<bool> {
        let Some(received) = undecodable::as_received(event)? else { return Ok(false) };
        // Its id is the place where it stood.
        let partition = event.id().split_once('/').and_then(|(stream, _)| self.names.streams().iter().position(|known| known == stream));
        let partition = partition.and_then(|partition| u32::try_from(partition).ok()).unwrap_or(0);
        let marker = self.names.marker(partition, name);
        let mut call = call(&PUBLISH, [self.names.stream(partition), &marker]);
        call.arg(REMEMBERED.as_millis() as u64);
        let fields = as_it_was(&received);
        let count = fields.len() * 2;
        for (name, value) in fields {
            call.arg(name).arg(value);
        }
        self.links[partition as usize].run(call.arg(count)).await?;
        Ok(true)
    }
}

impl LetterStore for Letters {
    type Place = Place;

    async fn page(&self, after: Option<&Place>, max: usize) -> Result<Vec<(Place, DeadLetter)>> {
        let mut from = after.map_or_else(|| "-".to_owned(), |place| format!("({place}"));
        let end = match after {
            Some(place) => place.end,
            None => match self.last().await? {
                Some(last) => last,
                None => return Ok(Vec::new()),
            },
        };
        loop {
            let mut command = cmd("XRANGE");
            command.arg(self.names.letters()).arg(&from).arg(end.to_string()).arg("COUNT").arg(max);
            let entries = reply::array(self.link.send(&command).await?)?;
            let entries = entries.into_iter().map(Entry::read).collect::<Result<Vec<_>>>()?;
            let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(Vec::new()) };
            let page: Vec<_> = entries.iter().filter_map(|entry| Some((Place { id: entry.id, end }, self.read(entry)?))).collect();
            if !page.is_empty() {
                return Ok(page);
            }
            from = format!("({last}");
        }
    }

    async fn republish(&self, place: &Place, letter: &DeadLetter) -> Result<()> {
        let name = format!("redrive {place}");
        if self.publish_raw(&letter.event, &name).await? {
            return Ok(());
        }
        self.publish(&letter.event, &name).await
    }

    async fn remove(&self, place: &Place) -> Result<bool> {
        let removed = self.link.send(cmd("XDEL").arg(self.names.letters()).arg(place.to_string())).await?;
        Ok(reply::integer(removed)? > 0)
    }
}

impl Letters {
    async fn last(&self) -> Result<Option<EntryId>> {
        let newest = self.link.send(cmd("XREVRANGE").arg(self.names.letters()).arg("+").arg("-").arg("COUNT").arg(1)).await?;
        reply::array(newest)?.into_iter().next().map(|entry| Ok(Entry::read(entry)?.id)).transpose()
    }

    fn read(&self, entry: &Entry) -> Option<DeadLetter> {
        let letter = entry.event(&self.names.letters()).map_err(|(_, error)| error).and_then(|event| DeadLetter::from_event(&event));
        letter.inspect_err(|error| tracing::warn!(target: "eventbus", %error, "a dead letter cannot be read and is passed over")).ok()
    }
}

/// Does with what is given up what its policy says.
pub(crate) enum Undertaker {
    /// Where letters are kept.
    Keeping(Arc<Letters>),
    /// Where nothing is: what is given up is gone, unless it is published.
    Publishing(Arc<crate::publish::Publisher>),
}

impl Undertaker {
    /// Stores or publishes a letter. `place` is where its event stands, and `who` gave it up.
    pub(crate) async fn bury(&self, buried: &Buried<Token>, place: &str, who: &str) -> Result<()> {
        let letter = &buried.letter;
        // What nobody can read is one letter, however many subscriptions come upon it.
        let name =
            if letter.reason == DeadLetterReason::Undecodable { format!("undecodable {place}") } else { format!("letter {place} {who}") };
        match (&buried.policy, self) {
            (DeadLetterPolicy::Discard, _) | (DeadLetterPolicy::Store, Self::Publishing(_)) => Ok(()),
            (DeadLetterPolicy::Store, Self::Keeping(letters)) => letters.store(letter, &name).await,
            (DeadLetterPolicy::Publish(target), Self::Keeping(letters)) => letters.publish(&letter.to_event(Some(target)), &name).await,
            (DeadLetterPolicy::Publish(target), Self::Publishing(publisher)) => {
                publisher.send(&letter.to_event(Some(target)), 0).await?.await.map(drop)
            }
            (other, _) => Err(Error::unsupported(&format!("{other:?}"), BACKEND)),
        }
    }
}
