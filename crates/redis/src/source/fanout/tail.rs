//! The one reader of what is new, and those who read along.

mod reader;

pub(crate) use reader::{Next, Reader};

use crate::{
    entry::{Decoded, Entry, EntryId},
    error::unavailable,
    link::{Link, call},
    names::Names,
    reply,
    script::TAIL,
    source::{
        Token,
        group::{BLOCK, Home, position},
    },
};
use eventbus_core::{Error, ErrorKind, Plan, Result, Start};
use eventbus_runtime::{Reporter, Router};
use reader::Item;
use redis::{Value, cmd};
use slab::Slab;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

/// How many entries are read at once at the most.
const MOST: usize = 1000;
/// How many bytes the tail reads at once, about. What is read waits for nobody: each reader takes what it has room for.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How large an entry is taken to be as long as none was seen.
const USUAL_SIZE: f64 = 16.0 * 1024.0;

pub(crate) struct Tail {
    names: Names,
    links: Vec<Arc<Link>>,
    readers: Vec<(Arc<Link>, Vec<u32>)>,
    reporter: Reporter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to where the tail has read, by partition.
    positions: Vec<Position>,
    /// How many entries the tail has read.
    scanned: u64,
    /// How many bytes an entry has, lately.
    size: Option<f64>,
    along: Slab<Arc<Reader>>,
    routes: Router<usize>,
    reading: Vec<tokio::task::JoinHandle<()>>,
    /// Counts how often reading was stopped: what a read brings that was begun before is nobody's.
    stopped: u64,
    /// Why there is nothing more to read.
    failure: Option<Error>,
    /// Counts how often the streams turned out to be others.
    generation: u64,
}

/// A place in a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    id: EntryId,
    /// How many entries there were ever up to there, where the server tells.
    passed: Option<u64>,
    /// How many of them retention had removed before they were read.
    missed: u64,
}

impl Position {
    fn pass(&mut self, id: EntryId) {
        self.id = id;
        self.passed = self.passed.map(|passed| passed + 1);
    }

    fn miss(&mut self, lost: u64) {
        self.passed = self.passed.map(|passed| passed + lost);
        self.missed += lost;
    }

    /// Some that were taken for missed had been read already when they were removed, and were still on their way.
    fn find(&mut self, found: u64) {
        self.passed = self.passed.map(|passed| passed.saturating_sub(found));
        self.missed = self.missed.saturating_sub(found);
    }
}

impl State {
    /// How many entries have about so many bytes.
    fn fitting(&self, bytes: usize) -> usize {
        (bytes as f64 / self.size.unwrap_or(USUAL_SIZE).max(1.0)) as usize
    }

    fn note_sizes(&mut self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let size = entries.iter().map(Entry::size).sum::<usize>() as f64 / entries.len() as f64;
        self.size = Some(self.size.map_or(size, |known| known + (size - known) * 0.5));
    }

    /// Lets a reader go on with the tail if it has got as far.
    fn go_along(&mut self, reader: &Reader) {
        let Self { positions, along, .. } = self;
        for (tail, own) in positions.iter_mut().zip(reader.positions()) {
            // What the tail has missed and nobody has noticed is none of this reader's, which may know of it.
            let missed = own.passed.zip(tail.passed).map_or(0, |(own, tail)| own.saturating_sub(tail));
            if own.id == tail.id && missed > 0 && !reader.is_live() {
                tail.miss(missed);
                along.iter().filter(|(_, along)| along.is_live()).for_each(|(_, along)| along.tally().lost_to_retention(missed));
            }
        }
        reader.catch_up_with(&self.positions, self.scanned);
    }
}

/// What a reader that is behind has read: entries by partition.
pub(crate) struct Pages {
    pages: Vec<Page>,
    generation: u64,
}

struct Page {
    partition: u32,
    entries: Vec<Entry>,
    /// How many entries there were ever up to its end, where it is the last for now and the server tells.
    passed: Option<u64>,
    /// The last id that the stream ever gave, where nothing follows.
    end: Option<EntryId>,
}

/// What the server says of a stream and of what follows a place in it.
struct Ahead {
    last: EntryId,
    follow: u64,
    is_exact: bool,
    added: Option<u64>,
    first: Option<EntryId>,
}

impl Tail {
    pub(crate) fn new(home: Home) -> Arc<Self> {
        Arc::new(Self { names: home.names, links: home.links, readers: home.readers, reporter: home.reporter, state: Mutex::default() })
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.names.partitions().end
    }

    pub(crate) fn stream(&self, partition: u32) -> &str {
        self.names.stream(partition)
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        self.state().failure.clone()
    }

    /// Begins to read along from where the plan says.
    pub(crate) async fn join(self: &Arc<Self>, plan: &Plan) -> Result<(usize, Arc<Reader>)> {
        let mut ends = Vec::new();
        let mut begins = Vec::new();
        for partition in self.names.partitions() {
            let start = match &plan.start {
                Start::New => None,
                other => Some(position(other)?),
            };
            let ahead = self.ahead(partition, Position { id: start.unwrap_or(EntryId::FIRST), ..Position::default() }).await?;
            let end = Position { id: ahead.last, passed: ahead.added, missed: 0 };
            ends.push(end);
            begins.push(match start {
                None => end,
                Some(id) => Position {
                    id,
                    missed: 0,
                    passed: ahead.added.filter(|_| ahead.is_exact).map(|added| added.saturating_sub(ahead.follow)),
                },
            });
        }
        let mut state = self.state();
        if state.along.is_empty() {
            state.positions = ends;
            state.failure = None;
            let stopped = state.stopped;
            let begin = |reader| tokio::spawn(read_on(Arc::downgrade(self), reader, stopped));
            state.reading = (0..self.readers.len()).map(begin).collect();
        }
        let reader = Arc::new(Reader::new(plan, begins));
        state.go_along(&reader);
        let place = state.along.insert(Arc::clone(&reader));
        plan.patterns.iter().for_each(|pattern| state.routes.insert(pattern, place));
        Ok((place, reader))
    }

    pub(crate) fn leave(&self, place: usize) {
        let mut state = self.state();
        let Some(reader) = state.along.try_remove(place) else { return };
        for pattern in reader.patterns() {
            state.routes.remove(pattern, place);
        }
        if state.along.is_empty() {
            self.stop(&mut state);
        }
    }

    pub(crate) fn close(&self) {
        self.stop(&mut self.state());
    }

    fn stop(&self, state: &mut State) {
        state.reading.drain(..).for_each(|reading| reading.abort());
        // One that runs at this moment is aborted only when it waits next.
        state.stopped += 1;
        self.readers.iter().for_each(|(link, _)| link.disconnect());
    }

    /// The state, for a read that was begun when reading had been stopped so often. Nothing where it was stopped since.
    fn state_since(&self, stopped: u64) -> Option<MutexGuard<'_, State>> {
        Some(self.state()).filter(|state| state.stopped == stopped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, so what it protects is consistent even if a panic poisoned it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reading what is new.
impl Tail {
    /// Reads once, and hands over what there is.
    async fn read(&self, reader: usize, stopped: u64) -> Result<()> {
        let (link, partitions) = &self.readers[reader];
        let mut command = cmd("XREAD");
        let block = BLOCK.as_millis() as u64;
        // The server counts for each stream.
        let count = self.state().fitting(MOST_BYTES / partitions.len().max(1)).clamp(1, MOST);
        command.arg("COUNT").arg(count).arg("BLOCK").arg(block).arg("STREAMS");
        for partition in partitions {
            command.arg(self.stream(*partition));
        }
        {
            let state = self.state();
            for partition in partitions {
                command.arg(state.positions[*partition as usize].id.to_string());
            }
        }
        let fresh = link.live().is_none();
        link.connection().await?;
        if fresh {
            self.check_streams(partitions, stopped).await?;
            // The positions may be others now.
            return Ok(());
        }
        let answer = reply::array(link.send(&command).await?)?;
        if answer.is_empty() {
            return self.check_streams(partitions, stopped).await;
        }
        for stream in answer {
            let (partition, entries) = self.read_stream(stream)?;
            self.hand_over(partition, entries, stopped);
        }
        Ok(())
    }

    fn read_stream(&self, stream: Value) -> Result<(u32, Vec<Entry>)> {
        let mut parts = reply::array(stream)?.into_iter();
        let name = reply::text(reply::next(&mut parts)?)?;
        let entries = reply::array(reply::next(&mut parts)?)?.into_iter().map(Entry::read).collect::<Result<_>>()?;
        let partition = self.names.partitions().find(|partition| self.stream(*partition) == name);
        partition.map(|partition| (partition, entries)).ok_or_else(|| unavailable(format!("an answer from an unknown stream {name:?}")))
    }

    fn hand_over(&self, partition: u32, entries: Vec<Entry>, stopped: u64) {
        // Decoded before the lock is taken.
        let decoded: Vec<_> = entries.iter().map(|entry| entry.event(self.stream(partition))).collect();
        let Some(mut state) = self.state_since(stopped) else { return };
        state.note_sizes(&entries);
        let State { positions, scanned, along, routes, .. } = &mut *state;
        for (entry, event) in entries.into_iter().zip(decoded) {
            let item = Item { size: entry.size(), event, token: Token { partition, id: entry.id, lease: None } };
            match target(&item.event, &entry) {
                Some(event_type) => {
                    routes.matching(&event_type).into_iter().for_each(|place| along[place].offer(&item, positions, *scanned));
                }
                None => along.iter().for_each(|(_, reader)| reader.offer(&item, positions, *scanned)),
            }
            positions[partition as usize].pass(entry.id);
            *scanned += 1;
        }
        drop(state);
    }

    /// Notices streams whose ids have gone back: others, or those of a replica that took over and did not have all of it.
    async fn check_streams(&self, partitions: &[u32], stopped: u64) -> Result<()> {
        for partition in partitions {
            let Some(position) = self.state_since(stopped).map(|state| state.positions[*partition as usize]) else { return Ok(()) };
            if self.ahead(*partition, position).await?.last >= position.id {
                continue;
            }
            // All of it, whatever was read.
            let stream = self.ahead(*partition, Position::default()).await?;
            if stream.last >= position.id {
                continue;
            }
            let is_known = stream.first.is_some_and(|first| first <= position.id);
            let (message, from) = if is_known {
                // What it holds was read. That is no reason to deliver all of it again.
                let end = Position { id: stream.last, passed: stream.added, missed: position.missed };
                ("the stream has lost its newest events: reading goes on at its end", end)
            } else {
                let beginning = Position { passed: stream.added.map(|_| 0), ..Position::default() };
                ("the stream is another one: what it holds is delivered from its beginning", beginning)
            };
            let Some(mut state) = self.state_since(stopped) else { return Ok(()) };
            state.positions[*partition as usize] = from;
            state.generation += 1;
            for (_, reader) in &state.along {
                if is_known {
                    reader.go_back_to(*partition, from);
                } else {
                    reader.begin_again(*partition, from);
                }
            }
            drop(state);
            let error = unavailable(message).during("fetch").with("stream", self.stream(*partition));
            let error = error.with("was_at", position.id).with("is_at", stream.last);
            tracing::warn!(target: "eventbus", %error, "the ids of a stream have gone back");
            self.reporter.report(|| error);
        }
        Ok(())
    }
}

/// Reads on for as long as somebody reads along.
async fn read_on(tail: Weak<Tail>, reader: usize, stopped: u64) {
    let mut failing = false;
    while let Some(tail) = tail.upgrade() {
        match tail.read(reader, stopped).await {
            Ok(()) => failing = false,
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(target: "eventbus", %error, "reading failed, trying again");
                    tail.reporter.report(|| error.during("fetch"));
                }
                // A connection that does not come about waits by itself; this is for what else may fail.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => {
                let Some(mut state) = tail.state_since(stopped) else { return };
                state.failure = Some(error);
                state.along.iter().for_each(|(_, reader)| reader.wake());
                return;
            }
        }
    }
}

/// The type that decides who gets an entry. `None` where it says none: then everybody does.
fn target(event: &Decoded, entry: &Entry) -> Option<eventbus_core::EventType> {
    match event {
        Ok(event) => Some(event.event_type().clone()),
        Err(_) => entry.said_type().and_then(|said| eventbus_core::EventType::new(said).ok()),
    }
}

/// Reading by oneself.
impl Tail {
    /// Reads the next entries from where a reader is.
    pub(crate) async fn read_from(self: Arc<Self>, reader: Arc<Reader>) -> Result<Pages> {
        let generation = self.state().generation;
        let mut pages = Vec::new();
        // What fits is for all partitions together, though each is asked for one.
        let (room, bytes) = reader.room();
        let mut room = room.min(self.state().fitting(bytes));
        for (partition, position) in self.names.partitions().zip(reader.positions()) {
            let mut command = cmd("XRANGE");
            let count = room.clamp(1, MOST);
            command.arg(self.stream(partition)).arg(format!("({}", position.id)).arg("+").arg("COUNT").arg(count);
            let page = reply::array(self.links[partition as usize].send(&command).await?)?;
            let entries = page.into_iter().map(Entry::read).collect::<Result<Vec<_>>>()?;
            room = room.saturating_sub(entries.len());
            let (mut passed, mut end) = (None, None);
            if entries.len() < count {
                let read = entries.last().map_or(position.id, |entry| entry.id);
                let ahead = self.ahead(partition, Position { id: read, ..Position::default() }).await?;
                passed = ahead.added.filter(|_| ahead.is_exact).map(|added| added.saturating_sub(ahead.follow));
                end = Some(ahead.last).filter(|_| ahead.first.is_none());
            }
            pages.push(Page { partition, entries, passed, end });
        }
        Ok(Pages { pages, generation })
    }

    /// Takes in what a reader has read by itself. It goes on with the tail where it has caught up.
    pub(crate) fn caught(&self, reader: &Reader, pages: Pages) {
        let mut state = self.state();
        if pages.generation != state.generation {
            return;
        }
        for Page { partition, entries, passed, end } in pages.pages {
            state.note_sizes(&entries);
            for entry in entries {
                reader.pass(&entry, partition, self.stream(partition));
            }
            if let Some(end) = end {
                // What was removed at the end is not waited for: the tail is beyond it.
                reader.go_on_from(partition, end);
            }
            let known = reader.positions()[partition as usize].passed;
            if let (Some(passed), Some(known)) = (passed, known)
                && passed > known
            {
                reader.lose(partition, passed - known);
                self.tell_of_loss(partition, passed - known);
            }
        }
        state.go_along(reader);
    }

    /// Asks how much a reader has before it, and how much retention took.
    pub(crate) async fn measure(&self, reader: &Reader) -> Result<()> {
        let (positions, measuring) = {
            let state = self.state();
            reader.tally().scanned_to(reader.scanned(state.scanned));
            (if reader.is_live() { state.positions.clone() } else { reader.positions() }, reader.tally().begin())
        };
        let (mut waiting, mut oldest) = (0, None);
        for (partition, position) in self.names.partitions().zip(positions) {
            let ahead = self.ahead(partition, position).await?;
            // A place beyond the end is in another stream, of which all is to come.
            waiting += if ahead.last < position.id { 1 } else { ahead.follow };
            oldest = oldest.max(ahead.first.map(EntryId::age));
            if let (true, Some(added), Some(passed)) = (ahead.is_exact, ahead.added, position.passed) {
                let through = added.saturating_sub(ahead.follow);
                if through > passed && ahead.last >= position.id {
                    self.lose(reader, partition, position, through - passed);
                } else if through < passed && ahead.last >= position.id {
                    self.find(reader, partition, position, passed - through);
                }
            }
        }
        reader.tally().measured(measuring, waiting, oldest);
        Ok(())
    }

    /// Notes how far the tail has got, for those who read along.
    pub(crate) fn note_scanned(&self, reader: &Reader) {
        let scanned = self.state().scanned;
        reader.tally().scanned_to(reader.scanned(scanned));
    }

    /// Retention removed entries before they were read.
    fn lose(&self, reader: &Reader, partition: u32, at: Position, lost: u64) {
        if reader.is_live() {
            let mut state = self.state();
            let position = &mut state.positions[partition as usize];
            if position.missed != at.missed {
                // Somebody else has noticed it at the same time.
                return;
            }
            position.miss(lost);
            state.along.iter().filter(|(_, along)| along.is_live()).for_each(|(_, along)| along.tally().lost_to_retention(lost));
        } else if reader.positions()[partition as usize].missed == at.missed {
            reader.lose(partition, lost);
        } else {
            return;
        }
        self.tell_of_loss(partition, lost);
    }

    /// Takes back that some were removed before they were read.
    fn find(&self, reader: &Reader, partition: u32, at: Position, found: u64) {
        if reader.is_live() {
            let mut state = self.state();
            let position = &mut state.positions[partition as usize];
            if position.missed == at.missed {
                position.find(found);
                state.along.iter().filter(|(_, along)| along.is_live()).for_each(|(_, along)| along.tally().found(found));
            }
        } else if reader.positions()[partition as usize].missed == at.missed {
            reader.find(partition, found);
        }
    }

    fn tell_of_loss(&self, partition: u32, lost: u64) {
        let error = Error::new(ErrorKind::Unavailable, "retention removed events before they were read").retryable(false);
        let error = error.during("fetch").with("stream", self.stream(partition)).with("events", lost);
        tracing::error!(target: "eventbus", %error, "events were lost to retention");
        self.reporter.report(|| error);
    }

    async fn ahead(&self, partition: u32, position: Position) -> Result<Ahead> {
        let mut call = call(&TAIL, [self.stream(partition)]);
        call.arg(position.id.to_string()).arg(position.passed.map_or(-1, |passed| i64::try_from(passed).unwrap_or(-1)));
        let mut parts = reply::array(self.links[partition as usize].run(&call).await?)?.into_iter();
        let last = EntryId::read(&reply::bytes(reply::next(&mut parts)?)?)?;
        let follow = reply::count(reply::next(&mut parts)?)?;
        let is_exact = reply::integer(reply::next(&mut parts)?)? == 1;
        let added = u64::try_from(reply::integer(reply::next(&mut parts)?)?).ok();
        let first = reply::bytes(reply::next(&mut parts)?)?;
        let first = if first.is_empty() { None } else { Some(EntryId::read(&first)?) };
        Ok(Ahead { last, follow, is_exact, added, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::{Capabilities, Subscribe};

    #[test]
    fn what_a_stopped_read_brings_is_nobodys() {
        let home = Home { names: Names::new("t", 1), links: Vec::new(), readers: Vec::new(), lease: BLOCK, reporter: Reporter::new() };
        let tail = Tail::new(home);
        let plan = Plan::new(Subscribe::to("a"), &Capabilities::all("test"), "test").unwrap();
        // Somebody new reads along, from a place before what the stopped read brings.
        let begin = |state: &mut State| {
            state.positions = vec![Position::default()];
            let reader = Arc::new(Reader::new(&plan, state.positions.clone()));
            state.go_along(&reader);
            let place = state.along.insert(Arc::clone(&reader));
            plan.patterns.iter().for_each(|pattern| state.routes.insert(pattern, place));
            (place, reader)
        };
        let fields = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "a")];
        let fields: Vec<_> = fields.map(|(name, value)| (name.into(), value.into())).into();
        let entry = || Entry { id: "5-0".parse().unwrap(), fields: fields.clone() };
        let got = |reader: &Reader| reader.queue().pop_if(|_| true).is_some();

        let (place, first) = begin(&mut tail.state());
        let before = tail.state().stopped;
        tail.hand_over(0, vec![entry()], before);
        assert!(got(&first));
        tail.leave(place);
        let (_, second) = begin(&mut tail.state());
        tail.hand_over(0, vec![entry()], before);
        assert!(!got(&second));
        assert_eq!(tail.state().positions[0].id, EntryId::FIRST);
        let now = tail.state().stopped;
        tail.hand_over(0, vec![entry()], now);
        assert!(got(&second), "a read of its own brings it");
    }
}
