//! Events as commands for the server.

use crate::{
    Mode, error,
    link::call,
    names::{Names, identity},
    reply,
    script::PUBLISH,
};
use eventbus_core::{Error, ErrorKind, Event, Result, cloudevents};
use eventbus_runtime::remote::Stored;
use redis::{Cmd, Pipeline, Value};
use std::time::Duration;

/// How many attributes an event may have. A script takes no more at once.
const MOST_ATTRIBUTES: usize = 3000;

/// How many arguments and bytes the command for an event has for the most part, without the data.
const USUAL_ARGUMENTS: usize = 24;
const USUAL_BYTES: usize = 384;

/// Writes commands that publish events.
pub(crate) struct Encoder {
    names: Names,
    kind: Kind,
}

/// How an event is published.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// By a script that stores it once within this window.
    Once(Duration),
    /// By the server's own way of storing it once.
    Idempotent,
    /// As often as it comes.
    Plain,
    /// To whoever listens.
    Message,
}

/// Commands that publish events, and which of them are answered together.
pub(crate) struct Encoded {
    commands: Pipeline,
    /// For each command, the places of its events.
    places: Vec<Vec<usize>>,
    events: usize,
    reads: fn(Value, usize) -> Result<Vec<Stored>>,
}

impl Encoder {
    pub(crate) fn new(names: Names, mode: Mode, window: Duration, idempotent: bool) -> Self {
        let kind = match mode {
            Mode::PubSub => Kind::Message,
            Mode::Streams if window.is_zero() => Kind::Plain,
            Mode::Streams if idempotent => Kind::Idempotent,
            Mode::Streams => Kind::Once(window),
        };
        Self { names, kind }
    }

    /// Whether the server keeps what is published.
    pub(crate) fn is_stored(&self) -> bool {
        !matches!(self.kind, Kind::Message)
    }

    /// Whether an event can be written. The data is turned into bytes here, which the payload keeps.
    pub(crate) fn check(event: &Event) -> Result<()> {
        event.data().to_bytes()?;
        let attributes = event.extensions().count();
        if attributes > MOST_ATTRIBUTES {
            return Err(Error::invalid(format!("{attributes} extension attributes: there may be {MOST_ATTRIBUTES} in Redis")));
        }
        Ok(())
    }

    /// The commands for events that are [checked](Self::check), in their order.
    pub(crate) fn encode(&self, events: &[(Event, u32)]) -> Result<Encoded> {
        match self.kind {
            Kind::Once(window) => self.scripts(events, window),
            Kind::Idempotent | Kind::Plain => self.entries(events),
            Kind::Message => self.messages(events),
        }
    }

    /// One script for the events of each partition.
    fn scripts(&self, events: &[(Event, u32)], window: Duration) -> Result<Encoded> {
        let mut partitions: Vec<u32> = events.iter().map(|(_, partition)| *partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut encoded = Encoded::new(events.len(), stored_by_script);
        for partition in partitions {
            let places: Vec<usize> = (0..events.len()).filter(|place| events[*place].1 == partition).collect();
            let markers = places.iter().map(|place| self.names.marker(partition, &identity(&events[*place].0)));
            let of_partition = places.iter().map(|place| &events[*place].0);
            encoded.add(once(self.names.stream(partition), &markers.collect::<Vec<_>>(), window, of_partition)?, places);
        }
        Ok(encoded)
    }

    /// One command for each event.
    fn entries(&self, events: &[(Event, u32)]) -> Result<Encoded> {
        let mut encoded = Encoded::new(events.len(), |answer, _| reply::bytes(answer).map(|_| vec![Stored::New]));
        for (place, (event, partition)) in events.iter().enumerate() {
            let mut command = Cmd::with_capacity(USUAL_ARGUMENTS, room(event));
            command.arg("XADD").arg(self.names.stream(*partition));
            if matches!(self.kind, Kind::Idempotent) {
                command.arg("IDMP").arg(event.source()).arg(event.id());
            }
            command.arg("*");
            write_fields(&mut command, event)?;
            encoded.add(command, vec![place]);
        }
        Ok(encoded)
    }

    fn messages(&self, events: &[(Event, u32)]) -> Result<Encoded> {
        let mut encoded = Encoded::new(events.len(), |answer, _| reply::integer(answer).map(|_| vec![Stored::New]));
        for (place, (event, _)) in events.iter().enumerate() {
            let body = cloudevents::json::encode(event)?;
            let mut command = Cmd::with_capacity(3, body.len() + USUAL_BYTES);
            command.arg("PUBLISH").arg(self.names.channel(event.event_type())).arg(&body[..]);
            encoded.add(command, vec![place]);
        }
        Ok(encoded)
    }
}

/// The bytes of a command for an event, about.
fn room(event: &Event) -> usize {
    event.data().size_hint() + USUAL_BYTES
}

/// A call of the script that stores events once.
pub(crate) fn once<'a>(stream: &str, markers: &[String], window: Duration, events: impl Iterator<Item = &'a Event>) -> Result<Cmd> {
    let mut command = call(&PUBLISH, std::iter::once(stream).chain(markers.iter().map(String::as_str)));
    command.arg(window.as_millis() as u64);
    let mut counts = Vec::with_capacity(markers.len());
    for event in events {
        counts.push(write_fields(&mut command, event)?);
    }
    for count in counts {
        command.arg(count);
    }
    Ok(command)
}

/// Adds the fields of an event. Returns how many arguments they are.
pub(crate) fn write_fields(command: &mut Cmd, event: &Event) -> Result<usize> {
    let mut count = 0;
    cloudevents::redis::encode(event, |name, value| {
        command.arg(name).arg(value);
        count += 2;
    })?;
    Ok(count)
}

fn stored_by_script(answer: Value, events: usize) -> Result<Vec<Stored>> {
    let answers = reply::array(answer)?;
    if answers.len() != events {
        return Err(Error::new(ErrorKind::Decode, format!("the server answered {} of {events} events", answers.len())));
    }
    let stored = |answer| Ok(if reply::integer(answer)? == 1 { Stored::New } else { Stored::Duplicate });
    answers.into_iter().map(stored).collect()
}

impl Encoded {
    fn new(events: usize, reads: fn(Value, usize) -> Result<Vec<Stored>>) -> Self {
        Self { commands: Pipeline::with_capacity(events), places: Vec::with_capacity(events), events, reads }
    }

    fn add(&mut self, command: Cmd, places: Vec<usize>) {
        self.commands.add_command(command);
        self.places.push(places);
    }

    pub(crate) fn commands(&self) -> &Pipeline {
        &self.commands
    }

    /// The outcome for each event, of the answers to the commands.
    pub(crate) fn outcomes(&self, answers: Vec<Value>) -> Vec<Result<Stored>> {
        let mut outcomes: Vec<Result<Stored>> = (0..self.events).map(|_| Err(error::unavailable("the server gave no answer"))).collect();
        for (answer, places) in answers.into_iter().zip(&self.places) {
            let read =
                answer.extract_error().map_err(|error| error::translate(&error)).and_then(|answer| (self.reads)(answer, places.len()));
            match read {
                Ok(stored) => places.iter().zip(stored).for_each(|(place, stored)| outcomes[*place] = Ok(stored)),
                Err(error) => places.iter().for_each(|place| outcomes[*place] = Err(error.clone())),
            }
        }
        outcomes
    }
}
