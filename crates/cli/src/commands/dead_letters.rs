//! `eventbus dlq`: looks after dead letters.

use super::publish::plural;
use crate::{
    args::{ChangedLetters, DlqCommand},
    event_text,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    json_text,
    output::Output,
    session::Session,
    table::Table,
};
use eventbus::{Bus, DeadLetter, DeadLetterFilter, DeadLetters};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// How much of an error a list shows.
const EXCERPT: usize = 60;

pub(super) async fn run(url: &str, command: &DlqCommand, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let session = Session::open_shared(url, out, interrupt, "it has no dead letters but those of this command").await?;
    let bus = Arc::clone(session.bus());
    session.run(async move { obey(&*bus, command, out).await }).await
}

async fn obey(bus: &dyn Bus, command: &DlqCommand, out: &mut Output) -> Outcome {
    let letters = bus.dead_letters()?;
    match command {
        DlqCommand::Ls(which) => list(letters, which.filter(), out).await,
        DlqCommand::Show(which) => show(letters, which.filter(), out).await,
        DlqCommand::Redrive(which) => change(letters, Change::Redrive, which, out).await,
        DlqCommand::Drop(which) => change(letters, Change::Drop, which, out).await,
    }
}

async fn list(letters: &dyn DeadLetters, filter: DeadLetterFilter, out: &mut Output) -> Outcome {
    let found = letters.list(filter).await?;
    if out.json() {
        return print_json(&found, out);
    }
    if found.is_empty() {
        out.note("there are no dead letters");
        return Ok(Exit::Done);
    }
    print_table(&found, out)?;
    Ok(Exit::Done)
}

async fn show(letters: &dyn DeadLetters, filter: DeadLetterFilter, out: &mut Output) -> Outcome {
    let found = found(letters, filter).await?;
    if out.json() {
        return print_json(&found, out);
    }
    for (position, letter) in found.iter().enumerate() {
        if position > 0 {
            out.line("")?;
        }
        let paint = out.paint();
        let DeadLetter { event, reason, error, attempts, subscription, time, .. } = letter;
        out.line(event_text::readable(event, paint))?;
        out.line(format_args!(
            "  {} by {subscription} at {time}, after {attempts} {}",
            paint.red(reason),
            plural(u64::from(*attempts), "attempt")
        ))?;
        out.line(format_args!("  {error}"))?;
    }
    if found.is_empty() {
        out.note("there are no dead letters");
    }
    Ok(Exit::Done)
}

/// The letters that are meant. One that is named must be there.
async fn found(letters: &dyn DeadLetters, filter: DeadLetterFilter) -> Outcome<Vec<DeadLetter>> {
    let id = filter.event_id.clone();
    let found = letters.list(filter).await?;
    match id {
        Some(id) if found.is_empty() => Err(Failure::failed(format_args!("there is no such dead letter of the event {id:?}"))),
        _ => Ok(found),
    }
}

#[derive(Clone, Copy)]
enum Change {
    Redrive,
    Drop,
}

/// What a change came to.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Changed {
    Redriven(usize),
    Dropped(usize),
}

async fn change(letters: &dyn DeadLetters, change: Change, which: &ChangedLetters, out: &mut Output) -> Outcome {
    let filter = which.named.filter();
    if which.dry_run || filter.event_id.is_some() {
        let meant = found(letters, filter.clone()).await?;
        if which.dry_run {
            return rehearse(change, &meant, out);
        }
    }
    let changed = match change {
        Change::Redrive => Changed::Redriven(letters.redrive(filter).await?),
        Change::Drop => Changed::Dropped(letters.remove(filter).await?),
    };
    if out.json() {
        out.document(&changed)?;
        return Ok(Exit::Done);
    }
    let (done, count) = match changed {
        Changed::Redriven(count) => ("redriven", count),
        Changed::Dropped(count) => ("dropped", count),
    };
    out.line(format_args!("{done} {count} {}", plural(count as u64, "dead letter")))?;
    Ok(Exit::Done)
}

/// Says what would be changed.
fn rehearse(change: Change, meant: &[DeadLetter], out: &mut Output) -> Outcome {
    if out.json() {
        return print_json(meant, out);
    }
    if !meant.is_empty() {
        print_table(meant, out)?;
    }
    let would = match change {
        Change::Redrive => "would redrive",
        Change::Drop => "would drop",
    };
    out.note(format_args!("{would} {} {}; nothing was changed", meant.len(), plural(meant.len() as u64, "dead letter")));
    Ok(Exit::Done)
}

fn print_table(letters: &[DeadLetter], out: &mut Output) -> Outcome<()> {
    let mut table = Table::new(&["EVENT", "TYPE", "SUBSCRIPTION", "REASON", ">ATTEMPTS", "GIVEN UP", "ERROR"]);
    for DeadLetter { event, reason, error, attempts, subscription, time, .. } in letters {
        let given_up = format!("{} ago", super::groups::age(time.elapsed()));
        let cells = [event.id(), event.event_type().as_str(), subscription, reason.as_str()].map(str::to_owned);
        table.row(cells.into_iter().chain([attempts.to_string(), given_up, excerpt(error)]));
    }
    table.print(out)
}

fn excerpt(error: &str) -> String {
    let line = error.replace(char::is_control, " ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn print_json(letters: &[DeadLetter], out: &mut Output) -> Outcome {
    #[derive(Serialize)]
    struct Shown<'a> {
        reason: &'static str,
        error: &'a str,
        attempts: u32,
        subscription: &'a str,
        time: String,
        event: Option<Box<RawValue>>,
    }
    for letter in letters {
        out.document(&Shown {
            reason: letter.reason.as_str(),
            error: &letter.error,
            attempts: letter.attempts,
            subscription: &letter.subscription,
            time: letter.time.to_string(),
            event: json_text::raw(&event_text::json_line(&letter.event)?),
        })?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        output::Captured,
    };
    use clap::Parser as _;
    use eventbus::{BusExt as _, Event, HandlerError, Subscribe};
    use std::time::Duration;

    /// A bus where `billing` has given up the events e-1 and e-2 of the types `order.a` and `order.b`.
    async fn bus() -> Arc<dyn Bus> {
        let bus = eventbus::connect("memory:").await.unwrap();
        bus.on(Subscribe::to("order.*").group("billing"), async || Err::<(), _>(HandlerError::reject("no such currency"))).await.unwrap();
        for (event_type, id) in [("order.a", "e-1"), ("order.b", "e-2")] {
            bus.publish(Event::builder(event_type).id(id).json_text("[1.10]").build().unwrap()).await.unwrap();
        }
        until_letters(&bus, 2).await;
        bus
    }

    async fn until_letters(bus: &Arc<dyn Bus>, count: usize) {
        let all = async {
            while bus.dead_letters().unwrap().list(DeadLetterFilter::all()).await.unwrap().len() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
    }

    async fn told(bus: &Arc<dyn Bus>, line: &[&str], json: bool) -> (Outcome, Captured) {
        let Command::Dlq(command) = Cli::try_parse_from([&["eventbus", "dlq"], line].concat()).unwrap().command else { unreachable!() };
        let (mut out, said) = Captured::output(json);
        (obey(&**bus, &command, &mut out).await, said)
    }

    #[tokio::test]
    async fn letters_are_listed_as_the_filter_says() {
        let bus = bus().await;
        let lines = async |line: &[&str]| told(&bus, line, true).await.1.stdout().lines().count();
        assert_eq!(lines(&["ls"]).await, 2);
        assert_eq!(lines(&["ls", "--type", "*.b"]).await, 1);
        assert_eq!(lines(&["ls", "--limit", "1"]).await, 1);
        assert_eq!(lines(&["ls", "--subscription", "other"]).await, 0);
        let (_, said) = told(&bus, &["ls"], false).await;
        assert!(
            said.stdout().contains("e-1") && said.stdout().contains("rejected") && said.stdout().contains("no such currency"),
            "{}",
            said.stdout()
        );
    }

    #[tokio::test]
    async fn a_letter_is_shown_with_its_story_and_its_event_letter_by_letter() {
        let bus = bus().await;
        let (_, said) = told(&bus, &["show", "e-2"], false).await;
        for part in ["order.b", "[1.10]", "rejected by billing at ", "after 1 attempt\n", "no such currency"] {
            assert!(said.stdout().contains(part), "{part}: {}", said.stdout());
        }
        let (_, said) = told(&bus, &["show", "e-2"], true).await;
        assert!(said.stdout().contains(r#""subscription":"billing""#) && said.stdout().contains(r#""data":[1.10]"#), "{}", said.stdout());
        assert_eq!(told(&bus, &["show", "e-3"], false).await.0.unwrap_err().exit(), Exit::Failed);
    }

    #[tokio::test]
    async fn a_dry_run_changes_nothing() {
        let bus = bus().await;
        for command in ["drop", "redrive"] {
            let (outcome, said) = told(&bus, &[command, "--dry-run", "--limit", "1"], false).await;
            assert_eq!(outcome.unwrap(), Exit::Done);
            assert!(said.stderr().contains(&format!("would {command} 1 dead letter; nothing was changed")), "{}", said.stderr());
        }
        until_letters(&bus, 2).await;
    }

    #[tokio::test]
    async fn letters_are_dropped() {
        let bus = bus().await;
        assert_eq!(told(&bus, &["drop", "e-1"], false).await.1.stdout(), "dropped 1 dead letter\n");
        assert_eq!(told(&bus, &["drop"], true).await.1.stdout(), "{\"dropped\":1}\n");
        assert_eq!(told(&bus, &["drop"], false).await.1.stdout(), "dropped 0 dead letters\n");
        assert_eq!(told(&bus, &["drop", "e-1"], false).await.0.unwrap_err().exit(), Exit::Failed);
    }

    #[tokio::test]
    async fn a_redriven_letter_is_published_again_under_its_id() {
        let bus = bus().await;
        let mut stream = bus.stream("order.a").await.unwrap();
        assert_eq!(told(&bus, &["redrive", "--type", "order.a"], true).await.1.stdout(), "{\"redriven\":1}\n");
        let delivery = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
        assert_eq!(delivery.event().id(), "e-1");
        delivery.ack().unwrap();
        until_letters(&bus, 2).await;
    }
}
