//! What a demo comes to, and whether it adds up.

use super::{NAMESPACE, ledger::Closed, occurrence::Asked};
use crate::{
    commands::publish::plural,
    exit::{Exit, Outcome},
    output::Output,
    table::Table,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How many types are listed.
const TYPES_SHOWN: usize = 8;

pub(super) struct Summary {
    pub(super) url: String,
    pub(super) run: String,
    pub(super) took: Duration,
    pub(super) ended_early: bool,
    pub(super) input: Option<Input>,
    /// How many events of each type.
    pub(super) published: BTreeMap<String, u64>,
    pub(super) accounts: Vec<Closed>,
    /// How many requests a whole run makes, where the bus has them.
    pub(super) requests: Option<usize>,
    pub(super) asked: Vec<Asked>,
    /// What was not shown, and why.
    pub(super) left_out: Vec<String>,
}

/// What was read from the file.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) events: u64,
    pub(super) bad_lines: u64,
}

impl Summary {
    /// What does not add up, in words.
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.accounts.iter().flat_map(|account| account.problems.clone()).collect();
        problems.extend(self.accounts.iter().filter(|account| account.problems.is_empty() && !account.adds_up()).map(|account| {
            format!(
                "{}: {} published, but {} handled and {} dead-lettered",
                account.service, account.published, account.handled, account.dead_lettered
            )
        }));
        problems.extend(self.asked.iter().filter_map(|asked| Some(format!("{}: {}", asked.question, asked.fault.as_ref()?))));
        if let Some(requests) = self.requests.filter(|requests| !self.ended_early && *requests != self.asked.len()) {
            problems.push(format!("{} of {requests} requests were made", self.asked.len()));
        }
        problems
    }

    pub(super) fn exit(&self) -> Exit {
        match &self.input {
            _ if !self.problems().is_empty() => Exit::Failed,
            Some(input) if input.bad_lines > 0 || input.events == 0 && !self.ended_early => Exit::Invalid,
            _ => Exit::Done,
        }
    }

    /// The events of each type, without the demo's questions about itself.
    fn types(&self) -> Vec<(&str, u64)> {
        let ours = self.published.iter().filter(|(_, count)| **count > 0);
        let mut types: Vec<_> = ours.filter_map(|(event_type, count)| Some((event_type.strip_prefix(NAMESPACE)?, *count))).collect();
        types.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        types
    }

    fn total(&self) -> u64 {
        self.types().iter().map(|(_, count)| count).sum()
    }

    fn answered(&self) -> usize {
        self.asked.iter().filter(|asked| asked.fault.is_none()).count()
    }

    pub(super) fn print(&self, out: &mut Output) -> Outcome<()> {
        if out.json() {
            return out.document(&self.document());
        }
        let paint = out.paint();
        let early = if self.ended_early { ", ended early" } else { "" };
        out.line("")?;
        out.line(format_args!("{} on {}, {:.1} s{early}", paint.bold("Summary"), self.url, self.took.as_secs_f64()))?;
        if let Some(Input { name, events, bad_lines }) = &self.input {
            let bad = if *bad_lines > 0 { format!(", {bad_lines} {} left out", plural(*bad_lines, "bad line")) } else { String::new() };
            out.line(format_args!("{events} {} of {name} published{bad}", plural(*events, "event")))?;
        }
        out.line(self.types_line())?;
        out.line("")?;
        let mut table = Table::new(&["SERVICE", ">PUBLISHED", ">HANDLED", ">DEAD LETTERS", ">RETRIES", ">REDRIVEN", ""]);
        for account in &self.accounts {
            let Closed { service, published, handled, dead_lettered, retried, redriven, .. } = account;
            let sign = if account.adds_up() { "=" } else { "≠" };
            let mark = if account.adds_up() { "✓" } else { "✗" };
            let figures = [published, handled, dead_lettered, retried, redriven].map(u64::to_string);
            let check = format!("{mark} {published} {sign} {handled} + {dead_lettered}");
            table.row([(*service).to_owned()].into_iter().chain(figures).chain([check]));
        }
        table.print(out)?;
        out.line("")?;
        for asked in &self.asked {
            out.line(format_args!("asked   {}", asked.line()))?;
        }
        self.left_out.iter().try_for_each(|what| out.line(format_args!("left out: {what}")))?;
        let problems = self.problems();
        if problems.is_empty() {
            return out.line(format_args!("{} {}", paint.green("✓"), self.verdict()));
        }
        out.line(format_args!("{} it does not add up:", paint.red("✗")))?;
        problems.iter().try_for_each(|problem| out.line(format_args!("  {problem}")))
    }

    fn types_line(&self) -> String {
        let types = self.types();
        let mut named: Vec<String> = types.iter().take(TYPES_SHOWN).map(|(name, count)| format!("{count} {name}")).collect();
        if let Some(more @ 1..) = types.len().checked_sub(TYPES_SHOWN) {
            named.push(format!("{more} more types"));
        }
        format!("{} {} in all: {}", self.total(), plural(self.total(), "event"), named.join(", "))
    }

    fn verdict(&self) -> String {
        let sum = |figure: fn(&Closed) -> u64| self.accounts.iter().map(figure).sum::<u64>();
        let (published, handled, letters) =
            (sum(|account| account.published), sum(|account| account.handled), sum(|account| account.dead_lettered));
        let asked = match self.asked.len() {
            0 => String::new(),
            count => format!("; {} of {count} {} answered", self.answered(), plural(count as u64, "request")),
        };
        format!("it adds up: of {published} deliveries promised, {handled} handled + {letters} dead-lettered{asked}")
    }

    fn document(&self) -> Value {
        let problems = self.problems();
        let input = self.input.as_ref().map(|input| json!({"file": input.name, "events": input.events, "bad_lines": input.bad_lines}));
        let types: Map<String, Value> = self.types().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let services: Vec<Value> = self
            .accounts
            .iter()
            .map(|account| {
                json!({
                    "service": account.service, "published": account.published, "handled": account.handled,
                    "dead_lettered": account.dead_lettered, "retried": account.retried, "redriven": account.redriven,
                    "repeated": account.repeated, "adds_up": account.adds_up(),
                })
            })
            .collect();
        let asked: Vec<Value> = self.asked.iter().map(Asked::document).collect();
        json!({
            "what": "summary", "adds_up": problems.is_empty(), "ended_early": self.ended_early, "url": self.url, "run": self.run,
            "seconds": self.took.as_secs_f64(), "input": input, "published": self.total(), "types": types, "services": services,
            "asked": asked, "answered": self.answered(), "left_out": self.left_out, "problems": problems,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Captured;

    fn summary() -> Summary {
        let account = Closed {
            service: "billing",
            published: 3,
            handled: 2,
            dead_lettered: 1,
            retried: 4,
            redriven: 0,
            repeated: 0,
            problems: Vec::new(),
        };
        let asked = Asked { question: "quotes".to_owned(), replies: Vec::new(), missing: Vec::new(), fault: None };
        Summary {
            url: "memory:".to_owned(),
            run: "r".to_owned(),
            took: Duration::from_secs(1),
            ended_early: false,
            input: None,
            published: BTreeMap::from([("demo.order.placed".to_owned(), 3)]),
            accounts: vec![account],
            requests: Some(1),
            asked: vec![asked],
            left_out: Vec::new(),
        }
    }

    fn printed(summary: &Summary) -> String {
        let (mut out, said) = Captured::output(false);
        summary.print(&mut out).unwrap();
        said.stdout()
    }

    #[test]
    fn what_adds_up_is_said_with_its_figures() {
        let shown = printed(&summary());
        for part in
            ["3 order.placed", "✓ 3 = 2 + 1", "it adds up: of 3 deliveries promised, 2 handled + 1 dead-lettered; 1 of 1 request answered"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(summary().exit(), Exit::Done);
    }

    #[test]
    fn what_does_not_add_up_fails() {
        let lost = |change: fn(&mut Summary), part: &str| {
            let mut summary = summary();
            change(&mut summary);
            assert_eq!(summary.exit(), Exit::Failed);
            assert!(printed(&summary).contains(part), "{part}: {}", printed(&summary));
            assert_eq!(summary.document()["adds_up"], false);
        };
        lost(|summary| summary.accounts[0].handled = 1, "billing: 3 published, but 1 handled and 1 dead-lettered");
        lost(|summary| summary.accounts[0].problems.push("billing: 1 lost".to_owned()), "billing: 1 lost");
        lost(|summary| summary.asked[0].fault = Some("nobody replied".to_owned()), "quotes: nobody replied");
        lost(|summary| summary.asked.clear(), "0 of 1 requests were made");
    }

    #[test]
    fn an_input_with_bad_lines_or_without_events_is_invalid() {
        let with = |events, bad_lines| Summary { input: Some(Input { name: "x".to_owned(), events, bad_lines }), ..summary() };
        assert_eq!([with(3, 0), with(3, 1), with(0, 0)].map(|summary| summary.exit()), [Exit::Done, Exit::Invalid, Exit::Invalid]);
        assert!(printed(&with(329, 1)).contains("329 events of x published, 1 bad line left out"));
    }
}
