//! `eventbus pub`: publishes one event, or those of a file.

use crate::{
    args::PubArgs,
    draft::{self, Draft},
    event_text::json_line,
    exit::{Exit, Failure, Outcome, with_causes},
    input::{self, Line, Lines},
    interrupt::Interrupt,
    json_text,
    output::Output,
    pace::Pace,
    progress::Progress,
    session::{Session, shown_url},
};
use eventbus::{Bus, ErrorKind, Event, EventType};
use serde::Serialize;

/// How many events of a file are handed over together, where no rate is asked for.
const TOGETHER: usize = 100;

pub(super) async fn run(url: &str, args: &PubArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let session = Session::open_shared(url, out, interrupt, "nobody else receives what this command publishes").await?;
    let outcome = match (&args.file, &args.event_type) {
        (Some(file), _) => match Lines::open(file) {
            Ok(lines) => publish_lines(&**session.bus(), lines, args, out, interrupt).await,
            Err(failure) => Err(failure),
        },
        (None, Some(event_type)) => match interrupt.or(publish_one(&**session.bus(), event_type, args, out)).await.flatten() {
            Ok(exit) => {
                out.note(format_args!("published {event_type} to {}", shown_url(url)));
                Ok(exit)
            }
            Err(failure) => Err(failure),
        },
        (None, None) => Err(Failure::invalid("there is nothing to publish: give a TYPE or a --file")),
    };
    session.end(outcome).await
}

/// Publishes the event that the arguments describe.
async fn publish_one(bus: &dyn Bus, event_type: &EventType, args: &PubArgs, out: &mut Output) -> Outcome {
    let event = event_of(event_type, args).await?;
    bus.publish(event.clone()).await?;
    if out.json() {
        out.line(json_line(&event)?)?;
    } else {
        out.line(event.id())?;
    }
    Ok(Exit::Done)
}

async fn event_of(event_type: &EventType, args: &PubArgs) -> Outcome<Event> {
    let mut draft = Draft::default().text("type", event_type.as_str());
    let named = [("source", &args.source), ("subject", &args.subject), ("id", &args.id), ("partitionkey", &args.key)];
    for (name, value) in named {
        if let Some(value) = value {
            draft = draft.text(name, value);
        }
    }
    for (name, value) in &args.attributes {
        draft = draft.attribute(name, value);
    }
    event_with_data(draft, args.data.as_deref()).await
}

/// Completes an event with the data that was given on the command line.
pub(super) async fn event_with_data(draft: Draft, data: Option<&str>) -> Outcome<Event> {
    let data = match data {
        Some("-") => Some(input::all_of_stdin().await?),
        other => other.map(str::to_owned),
    };
    let draft = match data {
        None => draft,
        Some(json) => {
            if let Err(fault) = serde_json::from_str::<&serde_json::value::RawValue>(json.trim()) {
                let excerpt: String = json.chars().take(40).collect();
                let fault = json_text::fault(&fault);
                return Err(Failure::invalid(format_args!(
                    "DATA {excerpt:?}: it must be JSON, where a text is written '\"text\"': {fault}"
                )));
            }
            draft.data(json.trim())
        }
    };
    draft.into_event().map_err(|error| Failure::invalid(error.message()))
}

/// What became of the lines of a file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    published: u64,
    skipped: u64,
}

async fn publish_lines(bus: &dyn Bus, mut lines: Lines, args: &PubArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let mut publishing = Publishing {
        progress: Progress::new(lines.size(), out),
        tally: Tally::default(),
        batch: Vec::new(),
        together: if args.rate.is_some() { 1 } else { TOGETHER },
        pace: Pace::new(args.rate),
    };
    let ended = interrupt.or(publishing.all(bus, &mut lines, args.strict, out)).await.flatten();
    publishing.progress.clear();
    publishing.tell(out)?;
    ended?;
    Ok(if publishing.tally.skipped > 0 { Exit::Invalid } else { Exit::Done })
}

/// The publishing of a file.
struct Publishing {
    progress: Progress,
    tally: Tally,
    /// Events read and not yet published, with their lines.
    batch: Vec<(usize, Event)>,
    together: usize,
    pace: Pace,
}

impl Publishing {
    async fn all(&mut self, bus: &dyn Bus, lines: &mut Lines, strict: bool, out: &mut Output) -> Outcome<()> {
        loop {
            // What has been read is published before one waits for more.
            let line = match lines.next_at_hand()? {
                Some(line) => Some(line),
                None => {
                    self.publish(bus, lines.name(), strict, out).await?;
                    lines.next().await?
                }
            };
            let Some(line) = line else { return Ok(()) };
            let Line { number, bytes, end } = line;
            match draft::event(&bytes) {
                Ok(event) => self.batch.push((number, event)),
                Err(fault) => {
                    // The lines before it come first.
                    self.publish(bus, lines.name(), strict, out).await?;
                    self.skip(lines.name(), number, &fault, strict, out)?;
                }
            }
            if self.batch.len() >= self.together {
                self.publish(bus, lines.name(), strict, out).await?;
            }
            self.progress.at(end, self.tally.published);
        }
    }

    /// Publishes what has been read.
    async fn publish(&mut self, bus: &dyn Bus, name: &str, strict: bool, out: &mut Output) -> Outcome<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.pace.next().await;
        let (numbers, events): (Vec<_>, Vec<_>) = std::mem::take(&mut self.batch).into_iter().unzip();
        let mut ended = Ok(());
        for (number, result) in numbers.into_iter().zip(bus.publish_all(events).await) {
            match result {
                Ok(()) => self.tally.published += 1,
                Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. } | ErrorKind::Invalid | ErrorKind::Encode) => {
                    let skipped = self.skip(name, number, error.message(), strict, out);
                    ended = ended.and(skipped);
                }
                // Where the bus fails, it fails for the rest too.
                Err(error) => ended = ended.and(Err(Failure::failed(format_args!("{name}: line {number}: {}", with_causes(&error))))),
            }
        }
        ended
    }

    fn skip(&mut self, name: &str, number: usize, fault: &str, strict: bool, out: &mut Output) -> Outcome<()> {
        let message = format!("{name}: line {number}: {fault}");
        if strict {
            return Err(Failure::invalid(message));
        }
        self.progress.clear();
        out.warn(format_args!("{message}; skipped"));
        self.tally.skipped += 1;
        Ok(())
    }

    fn tell(&self, out: &mut Output) -> Outcome<()> {
        if out.json() {
            return out.document(&self.tally);
        }
        let Tally { published, skipped } = self.tally;
        let skipped = if skipped > 0 { format!(", skipped {skipped} {}", plural(skipped, "line")) } else { String::new() };
        out.line(format_args!("published {published} {}{skipped}", plural(published, "event")))
    }
}

/// A noun for so many.
pub(super) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        output::Captured,
    };
    use clap::Parser as _;
    use eventbus::{BusExt as _, Start, Subscribe};
    use std::{io::Write as _, time::Duration};

    fn args(line: &[&str]) -> PubArgs {
        match Cli::try_parse_from([&["eventbus", "pub"], line].concat()).unwrap().command {
            Command::Pub(args) => args,
            _ => unreachable!(),
        }
    }

    /// Everything that was published on a bus, in order.
    async fn published(bus: &dyn Bus, count: usize) -> Vec<Event> {
        let mut stream = bus.stream(Subscribe::to(">").from(Start::Earliest)).await.unwrap();
        let mut events = Vec::new();
        while events.len() < count {
            let delivery = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
            events.push(delivery.event().clone());
            delivery.ack().unwrap();
        }
        events
    }

    #[tokio::test]
    async fn one_event_has_all_that_was_asked_for() {
        let bus = eventbus::connect("memory:").await.unwrap();
        let (mut out, said) = Captured::output(false);
        let args = args(&[
            "order.placed",
            "{\"price\": 1.10}",
            "--source",
            "/shop",
            "--subject",
            "o-1",
            "--id",
            "e-1",
            "--key",
            "k",
            "--attr",
            "region=eu",
            "--attr",
            "correlationid=c-1",
        ]);
        assert_eq!(publish_one(&*bus, args.event_type.as_ref().unwrap(), &args, &mut out).await.unwrap(), Exit::Done);
        assert_eq!(said.stdout(), "e-1\n");
        let event = published(&*bus, 1).await.remove(0);
        assert_eq!((event.source(), event.subject(), event.partition_key()), ("/shop", Some("o-1"), Some("k")));
        assert_eq!((event.correlation_id(), event.extension("region")), (Some("c-1"), Some(&"eu".into())));
        assert_eq!(event.data().to_bytes().unwrap(), "{\"price\": 1.10}");
    }

    #[tokio::test]
    async fn data_that_is_not_json_and_attributes_that_break_a_rule_are_refused() {
        for (line, part) in [
            (&["a", "hello"][..], "'\"text\"'"),
            (&["a", "1", "--source", "no uri"], "'source'"),
            (&["a", "1", "--attr", "Region=eu"], "Region"),
            (&["a", "1", "--attr", "data=2"], "'data'"),
            (&["a", "1", "--attr", "type=b"], "'type'"),
        ] {
            let args = args(line);
            let Err(Failure::Said(exit, message)) = event_of(args.event_type.as_ref().unwrap(), &args).await else {
                panic!("accepted {line:?}")
            };
            assert_eq!(exit, Exit::Invalid);
            assert!(message.contains(part), "{message}");
        }
    }

    const FILE: &str = "{\"type\":\"a\",\"data\":1}\n\n{\"type\":\"\"}\n{\"type\":\"b\",\"data\":[1.10]}\nnot json\n{\"type\":\"c\"}\n";

    async fn publish_file(bus: &dyn Bus, extra: &[&str], json: bool) -> (Outcome, Captured) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(FILE.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let args = args(&[&["--file", path], extra].concat());
        let (mut out, said) = Captured::output(json);
        let lines = Lines::open(file.path()).unwrap();
        (publish_lines(bus, lines, &args, &mut out, &Interrupt::never()).await, said)
    }

    #[tokio::test]
    async fn a_bad_line_is_reported_with_its_number_and_the_others_are_published() {
        let bus = eventbus::connect("memory:").await.unwrap();
        let (outcome, said) = publish_file(&*bus, &[], false).await;
        assert_eq!(outcome.unwrap(), Exit::Invalid);
        assert_eq!(said.stdout(), "published 3 events, skipped 2 lines\n");
        assert!(said.stderr().contains("line 3: attribute 'type'") && said.stderr().contains("line 5: not JSON"), "{}", said.stderr());
        let types: Vec<_> = published(&*bus, 3).await.iter().map(|event| event.event_type().to_string()).collect();
        assert_eq!(types, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn strict_ends_at_the_first_bad_line_and_still_says_how_many_were_published() {
        let bus = eventbus::connect("memory:").await.unwrap();
        let (outcome, said) = publish_file(&*bus, &["--strict", "--rate", "1000"], true).await;
        let Err(Failure::Said(Exit::Invalid, message)) = outcome else { panic!("went on") };
        assert!(message.contains("line 3"), "{message}");
        assert_eq!(said.stdout(), "{\"published\":1,\"skipped\":0}\n");
    }

    #[tokio::test]
    async fn an_event_that_the_bus_refuses_is_a_bad_line() {
        let bus = eventbus::connect("memory:?max_payload=3").await.unwrap();
        let (outcome, said) = publish_file(&*bus, &[], true).await;
        assert_eq!(outcome.unwrap(), Exit::Invalid);
        assert_eq!(said.stdout(), "{\"published\":2,\"skipped\":3}\n");
        assert!(said.stderr().contains("line 4: a payload of 6 bytes is over the limit of 3 bytes"), "{}", said.stderr());
    }

    #[tokio::test]
    async fn a_bus_that_fails_ends_it() {
        let bus = eventbus::connect("memory:").await.unwrap();
        bus.close().await.unwrap();
        let (outcome, said) = publish_file(&*bus, &[], true).await;
        assert_eq!(outcome.unwrap_err().exit(), Exit::Failed);
        assert_eq!(said.stdout(), "{\"published\":0,\"skipped\":0}\n");
    }
}
