//! `eventbus validate`: checks CloudEvents JSON, be it one event, a batch, or one event per line.

use super::publish::plural;
use crate::{
    args::ValidateArgs,
    event_text::json_line,
    exit::{Exit, Outcome},
    input::{Line, Lines},
    json_text,
    output::Output,
};
use bytes::Bytes;
use eventbus::{Event, cloudevents};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{error::Category, value::RawValue};
use std::fmt;

pub(super) async fn run(args: &ValidateArgs, out: &mut Output) -> Outcome {
    check(Lines::open(&args.file)?, out).await
}

async fn check(mut lines: Lines, out: &mut Output) -> Outcome {
    let mut report = Report { name: lines.name().to_owned(), valid: 0, faults: 0 };
    let mut document = Document::default();
    let (mut per_line, mut seen) = (false, false);
    while let Some(line) = lines.next().await? {
        seen = true;
        per_line = per_line || document.lines.is_empty() && stands_alone(&line.bytes);
        if per_line {
            report.event(line.number, "", &line.bytes, out)?;
        } else {
            document.push(line);
        }
    }
    if !document.lines.is_empty() {
        report.document(&document, out)?;
    }
    if !seen {
        report.fault(1, "there is no event in it", out);
    }
    report.end(out)
}

/// Whether a first line shows that each line is an event: it is a whole object, or it is broken in a way that no further line mends.
fn stands_alone(line: &[u8]) -> bool {
    match serde_json::from_slice::<&RawValue>(line) {
        Ok(value) => !value.get().starts_with('['),
        Err(fault) => fault.classify() != Category::Eof,
    }
}

/// Lines that may belong together.
#[derive(Default)]
struct Document {
    text: Vec<u8>,
    /// For each line, its number and where in the text it begins.
    lines: Vec<(usize, usize)>,
}

impl Document {
    fn push(&mut self, line: Line) {
        self.lines.push((line.number, self.text.len()));
        self.text.extend(line.bytes);
        if !self.text.ends_with(b"\n") {
            self.text.push(b'\n');
        }
    }

    /// The number of the line that a position of the text is on.
    fn number_at(&self, position: usize) -> usize {
        let after = self.lines.partition_point(|(_, begin)| *begin <= position);
        self.lines[after.saturating_sub(1)].0
    }

    /// The line of the input that the parser means by its own count.
    fn number_of(&self, fault: &serde_json::Error) -> usize {
        let last = self.lines.len() - 1;
        self.lines[fault.line().saturating_sub(1).min(last)].0
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let ends = self.lines.iter().skip(1).map(|(_, begin)| *begin).chain([self.text.len()]);
        self.lines.iter().zip(ends).map(|((number, begin), end)| (*number, &self.text[*begin..end]))
    }

    /// Whether it is rather one event per line, of which the first is cut off.
    fn is_per_line(&self) -> bool {
        self.text.starts_with(b"{") && self.each().skip(1).any(|(_, line)| line.starts_with(b"{") && stands_alone(line))
    }
}

/// What was found so far.
struct Report {
    name: String,
    valid: u64,
    faults: u64,
}

impl Report {
    fn document(&mut self, document: &Document, out: &mut Output) -> Outcome<()> {
        match serde_json::from_slice::<&RawValue>(&document.text) {
            Ok(value) if value.get().starts_with('[') => self.batch(document, out),
            Ok(value) => self.event(document.lines[0].0, "", value.get().as_bytes(), out),
            Err(_) if document.is_per_line() => document.each().try_for_each(|(number, line)| self.event(number, "", line, out)),
            Err(fault) => {
                let message = format!("not JSON: {}", json_text::fault(&fault));
                self.fault(document.number_of(&fault), &message, out);
                Ok(())
            }
        }
    }

    fn batch(&mut self, document: &Document, out: &mut Output) -> Outcome<()> {
        let elements = match serde_json::Deserializer::from_slice(&document.text).deserialize_seq(Elements) {
            Ok(elements) => elements,
            Err(fault) => {
                self.fault(document.number_of(&fault), &format!("not JSON: {}", json_text::fault(&fault)), out);
                return Ok(());
            }
        };
        let begin = document.text.as_ptr() as usize;
        for (position, element) in elements.into_iter().enumerate() {
            let number = document.number_at(element.get().as_ptr() as usize - begin);
            self.event(number, &format!("event {} of the batch: ", position + 1), element.get().as_bytes(), out)?;
        }
        Ok(())
    }

    fn event(&mut self, number: usize, place: &str, json: &[u8], out: &mut Output) -> Outcome<()> {
        match read(json) {
            Ok(canonical) => {
                self.valid += 1;
                if out.json() {
                    out.line(canonical)?;
                }
            }
            Err(fault) => self.fault(number, &format!("{place}{fault}"), out),
        }
        Ok(())
    }

    fn fault(&mut self, number: usize, fault: &str, out: &mut Output) {
        self.faults += 1;
        out.fault(format_args!("{}: line {number}: {fault}", self.name));
    }

    fn end(&self, out: &mut Output) -> Outcome {
        let Self { name, valid, faults } = self;
        if !out.json() {
            let bad = if *faults > 0 { format!(", {faults} invalid") } else { String::new() };
            out.line(format_args!("{name}: {valid} valid {}{bad}", plural(*valid, "event")))?;
        }
        Ok(if *faults > 0 { Exit::Invalid } else { Exit::Done })
    }
}

/// The canonical form of an event, or the attribute and the rule that it breaks.
fn read(json: &[u8]) -> Result<String, String> {
    if let Err(fault) = serde_json::from_slice::<&RawValue>(json) {
        return Err(format!("not JSON: {}", json_text::fault(&fault)));
    }
    let event: Event =
        cloudevents::json::decode(&Bytes::copy_from_slice(json)).map_err(|error| json_text::without_place(error.message()).to_owned())?;
    json_line(&event).map_err(|error| error.message().to_owned())
}

/// The elements of a JSON array, as they stand in the text.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Captured;

    const GOOD: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b"}"#;
    const BAD: &str = r#"{"specversion":"1.0","id":"2","source":"","type":"a.b"}"#;

    async fn checked(text: &str) -> (Exit, Captured) {
        let (mut out, said) = Captured::output(true);
        (check(Lines::of_text(text), &mut out).await.unwrap(), said)
    }

    #[tokio::test]
    async fn one_event_may_spread_over_lines() {
        let (exit, said) = checked(&GOOD.replace(',', ",\n\n  ")).await;
        assert_eq!((exit, said.stdout()), (Exit::Done, format!("{GOOD}\n")));
    }

    #[tokio::test]
    async fn one_event_per_line_is_told_by_the_first_line() {
        let (exit, said) = checked(&format!("{GOOD}\n\n{BAD}\nnonsense\n{GOOD}\n")).await;
        assert_eq!((exit, said.stdout()), (Exit::Invalid, format!("{GOOD}\n{GOOD}\n")));
        assert!(said.stderr().contains("x: line 3: attribute 'source'") && said.stderr().contains("line 4: not JSON"), "{}", said.stderr());
    }

    #[tokio::test]
    async fn a_first_line_that_is_broken_or_cut_off_does_not_hide_the_others() {
        for broken in ["nonsense", r#"{"specversion":"1.0","#, "}"] {
            let (exit, said) = checked(&format!("{broken}\n{GOOD}\n")).await;
            assert_eq!((exit, said.stdout()), (Exit::Invalid, format!("{GOOD}\n")), "{broken}");
            assert!(said.stderr().contains("x: line 1: "), "{}", said.stderr());
        }
    }

    #[tokio::test]
    async fn every_event_of_a_batch_is_reported_with_its_own_line() {
        let (exit, said) = checked(&format!("[\n  {GOOD},\n  {BAD},\n\n  7\n]\n")).await;
        assert_eq!((exit, said.stdout()), (Exit::Invalid, format!("{GOOD}\n")));
        for part in ["line 3: event 2 of the batch: attribute 'source'", "line 5: event 3 of the batch: "] {
            assert!(said.stderr().contains(part), "{}", said.stderr());
        }
        assert_eq!(checked("[]").await.0, Exit::Done, "a batch may be empty");
        assert_eq!(checked(" \n").await.0, Exit::Invalid, "a file may not");
        assert_eq!(checked(&format!("[{GOOD},{GOOD}]")).await.1.stdout().lines().count(), 2);
    }

    #[tokio::test]
    async fn broken_json_is_reported_where_it_breaks() {
        for (text, line) in [("{\n \"id\": 1,\n \"x\" 2\n}", 3), ("[\n {\"id\":\"1\"},\n\n {]\n", 4), ("{\n", 1)] {
            let (exit, said) = checked(text).await;
            assert_eq!(exit, Exit::Invalid);
            assert!(said.stderr().contains(&format!("line {line}: not JSON")), "{text}: {}", said.stderr());
        }
    }
}
