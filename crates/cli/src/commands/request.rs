//! `eventbus request`: publishes a request and gathers the replies.

use super::publish::event_with_data;
use crate::{
    args::RequestArgs,
    draft::Draft,
    event_text,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    json_text,
    output::Output,
    session::Session,
};
use eventbus::{Bus, BusExt as _, ErrorKind, Event, Gather, Replies, Reply};
use serde::Serialize;
use serde_json::value::RawValue;

pub(super) async fn run(url: &str, args: &RequestArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let session = Session::open_shared(url, out, interrupt, "nobody else can reply to what this command asks").await?;
    let bus = std::sync::Arc::clone(session.bus());
    session
        .run(async move {
            let event = event_with_data(Draft::default().text("type", args.event_type.as_str()), args.data.as_deref()).await?;
            ask(&*bus, event, args, out).await
        })
        .await
}

async fn ask(bus: &dyn Bus, event: Event, args: &RequestArgs, out: &mut Output) -> Outcome {
    let expected = args.expect.len();
    let at_least = args.at_least.map_or(expected.max(1), |at_least| at_least as usize);
    if expected > 0 && at_least > expected {
        return Err(Failure::invalid(format_args!("--at-least {at_least}: only {expected} are expected by --expect")));
    }
    // One reply is enough for the library, so that what did come is printed where more were needed.
    let gather = if expected > 0 { Gather::from(args.expect.clone()).at_least(1) } else { Gather::any(at_least).at_least(1) };
    let replies = match bus.request(event, gather.timeout(args.timeout)).await {
        Ok(replies) => Gathered::of(&replies),
        Err(error) if error.kind() == ErrorKind::Timeout => Gathered { replies: Vec::new(), missing: args.expect.clone() },
        Err(error) => return Err(error.into()),
    };
    replies.print(out)?;
    out.flush()?;
    let (count, failed) = (replies.replies.len(), replies.replies.iter().filter(|reply| reply.error.is_some()).count());
    if count < at_least {
        let missing = if replies.missing.is_empty() { String::new() } else { format!("; missing: {}", replies.missing.join(", ")) };
        return Err(Failure::Said(
            Exit::NothingArrived,
            format!("{count} of at least {at_least} replies within {:?}{missing}", args.timeout),
        ));
    }
    if !replies.missing.is_empty() {
        out.note(format_args!("no reply in time: {}", replies.missing.join(", ")));
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// What a request brought.
#[derive(Serialize)]
struct Gathered {
    replies: Vec<Answer>,
    missing: Vec<String>,
}

/// The reply of one responder.
#[derive(Serialize)]
struct Answer {
    responder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The data in words.
    #[serde(skip)]
    text: String,
}

impl Gathered {
    fn of(replies: &Replies) -> Self {
        Self { replies: replies.iter().map(Answer::of).collect(), missing: replies.missing().to_vec() }
    }

    fn print(&self, out: &mut Output) -> Outcome<()> {
        if out.json() {
            return out.document(self);
        }
        for Answer { responder, error, text, .. } in &self.replies {
            let paint = out.paint();
            match error {
                Some(error) => out.line(format_args!("{}: {} {error}", paint.bold(responder), paint.red("error:")))?,
                None => out.line(format_args!("{}: {text}", paint.bold(responder)))?,
            }
        }
        Ok(())
    }
}

impl Answer {
    fn of(reply: &Reply) -> Self {
        let data = reply.event().data();
        let json = data.to_bytes().ok().filter(|_| data.is_json()).and_then(|bytes| json_text::raw(&String::from_utf8_lossy(&bytes)));
        Self { responder: reply.responder().to_owned(), error: reply.error(), text: event_text::data(data), data: json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        output::Captured,
    };
    use clap::Parser as _;
    use std::sync::Arc;

    async fn asked(bus: &Arc<dyn Bus>, line: &[&str], json: bool) -> (Outcome, Captured) {
        let Command::Request(args) = Cli::try_parse_from([&["eventbus", "request"], line].concat()).unwrap().command else {
            unreachable!()
        };
        let (mut out, said) = Captured::output(json);
        let event = Event::json(args.event_type.as_str(), 1).unwrap();
        (ask(&**bus, event, &args, &mut out).await, said)
    }

    async fn bus() -> Arc<dyn Bus> {
        let bus = eventbus::connect("memory:").await.unwrap();
        bus.respond("ask", "a", || async { 1.5 }).await.unwrap();
        bus.respond("ask", "b", || async { "yes" }).await.unwrap();
        bus.respond("fail", "c", || async { Err::<(), _>(eventbus::Error::invalid("no")) }).await.unwrap();
        bus
    }

    #[tokio::test]
    async fn the_replies_of_everyone_are_printed() {
        let (outcome, said) = asked(&bus().await, &["ask", "--expect", "a,b", "--timeout", "10s"], false).await;
        assert_eq!(outcome.unwrap(), Exit::Done);
        let mut lines: Vec<_> = said.stdout().lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["a: 1.5", "b: \"yes\""]);
    }

    #[tokio::test]
    async fn the_missing_are_named_and_enough_is_enough() {
        let bus = bus().await;
        let (outcome, said) = asked(&bus, &["ask", "--expect", "a,x", "--at-least", "1", "--timeout", "100ms"], true).await;
        assert_eq!(outcome.unwrap(), Exit::Done);
        assert_eq!(said.stdout(), "{\"replies\":[{\"responder\":\"a\",\"data\":1.5}],\"missing\":[\"x\"]}\n");
        assert!(said.stderr().contains("no reply in time: x"), "{}", said.stderr());
    }

    #[tokio::test]
    async fn too_few_replies_are_printed_and_exit_with_3() {
        let bus = bus().await;
        let (outcome, said) = asked(&bus, &["ask", "--expect", "a,x", "--timeout", "100ms"], false).await;
        let Err(Failure::Said(Exit::NothingArrived, message)) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("1 of at least 2") && message.contains("missing: x"), "{message}");
        assert_eq!(said.stdout(), "a: 1.5\n");
        let (outcome, _) = asked(&bus, &["nobody", "--timeout", "20ms"], false).await;
        assert_eq!(outcome.unwrap_err().exit(), Exit::NothingArrived);
    }

    #[tokio::test]
    async fn a_responder_that_fails_is_a_failure() {
        let (outcome, said) = asked(&bus().await, &["fail"], false).await;
        assert_eq!(outcome.unwrap(), Exit::Failed);
        assert!(said.stdout().starts_with("c: error: ") && said.stdout().contains("no"), "{}", said.stdout());
    }

    #[tokio::test]
    async fn more_replies_than_expected_responders_cannot_be_asked_for() {
        let (outcome, _) = asked(&bus().await, &["ask", "--expect", "a", "--at-least", "2"], false).await;
        assert_eq!(outcome.unwrap_err().exit(), Exit::Invalid);
    }
}
