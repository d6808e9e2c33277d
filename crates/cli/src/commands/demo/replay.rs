//! A demo that the events of a file drive.

use super::{
    NAMESPACE,
    occurrence::{Asked, Occurrence},
    stage::{Service, Stage},
};
use crate::{
    draft,
    exit::{Failure, Outcome, with_causes},
    input::Lines,
    pace::{Pace, Rate},
};
use eventbus::{Context, Error, ErrorKind, Event, EventType, ExtensionValue, Reply};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The attribute that tells a handler which event of the file it has, counted from 1.
const NUMBER: &str = "demonumber";
const ARCHIVE: &str = "archive";
const INDEX: &str = "index";
const NOTIFY: &str = "notify";
/// Who is asked in the end how many events each service has handled.
const DESKS: [(&str, &str); 3] = [("archive-desk", ARCHIVE), ("index-desk", INDEX), ("notify-desk", NOTIFY)];
const ROLL_CALL: &str = "demo-roll-call";
const ROLL_CALL_WITHIN: Duration = Duration::from_secs(10);

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) events: AtomicU64,
    pub(super) bad_lines: AtomicU64,
}

/// What goes wrong, and when. In the end everything is handled.
mod script {
    use eventbus::HandlerError;

    pub(super) fn index(number: u64, attempt: u32) -> Result<(), HandlerError> {
        match number {
            n if n % 10 == 3 && attempt == 1 => Err(HandlerError::retry("the index is locked")),
            _ => Ok(()),
        }
    }

    pub(super) fn notify(number: u64, mended: bool) -> Result<(), HandlerError> {
        match number {
            n if n % 50 == 4 && !mended => Err(HandlerError::retry("the receiver does not answer")),
            n if n % 100 == 6 && !mended => Err(HandlerError::reject("the receiver refuses the certificate")),
            _ => Ok(()),
        }
    }
}

/// Brings the services to the bus.
pub(super) async fn open(stage: &Arc<Stage>) -> Result<(), Error> {
    let everything = &["demo.>"];
    stage.serve(Service::new(ARCHIVE, everything).alone(), async || ()).await?;
    let on = Arc::clone(stage);
    let indexing = move |ctx: Context, event: Event| {
        let outcome = if on.may_fail() { script::index(number(&event), ctx.attempt()) } else { Ok(()) };
        async move { outcome }
    };
    stage.serve(Service::new(INDEX, everything), indexing).await?;
    let on = Arc::clone(stage);
    let notifying = move |event: Event| {
        let outcome = if on.may_fail() { script::notify(number(&event), on.is_mended()) } else { Ok(()) };
        async move { outcome }
    };
    stage.serve(Service { attempts: 3, ..Service::new(NOTIFY, everything) }, notifying).await?;
    if stage.may_ask() {
        for (desk, service) in DESKS {
            let on = Arc::clone(stage);
            stage.respond(Service::new(desk, &[ROLL_CALL]), move || std::future::ready(on.ledger.handled(service))).await?;
        }
    }
    Ok(())
}

fn number(event: &Event) -> u64 {
    event.extension(NUMBER).and_then(ExtensionValue::as_integer).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

/// Publishes the events of the file.
pub(super) async fn feed(stage: &Arc<Stage>, mut lines: Lines, rate: Option<Rate>, read: &Read) -> Outcome<()> {
    stage.tell(Occurrence::Part(format!("publishing the events of {}", lines.name())));
    let mut pace = Pace::new(rate);
    while let Ok(line) = stage.stop.or(lines.next()).await {
        let Some(line) = line? else { break };
        let bad = |fault: String| {
            read.bad_lines.fetch_add(1, Relaxed);
            stage.tell(Occurrence::BadLine { input: lines.name().to_owned(), line: line.number, fault });
        };
        let next = read.events.load(Relaxed) + 1;
        let event = match draft::event(&line.bytes).and_then(|event| prepared(event, stage, next)) {
            Ok(event) => event,
            Err(fault) => {
                bad(fault);
                continue;
            }
        };
        if stage.stop.or(pace.next()).await.is_err() {
            break;
        }
        match stage.publish(event).await {
            Ok(()) => {
                read.events.fetch_add(1, Relaxed);
            }
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. } | ErrorKind::Invalid | ErrorKind::Encode) => {
                bad(error.message().to_owned());
            }
            Err(error) => return Err(Failure::failed(format_args!("{}: line {}: {}", lines.name(), line.number, with_causes(&error)))),
        }
    }
    Ok(())
}

/// An event of the file as one of this run: under the demo's types, with an id that no other run and no other line has.
fn prepared(event: Event, stage: &Stage, number: u64) -> Result<Event, String> {
    let event_type = EventType::new(format!("{NAMESPACE}{}", event.event_type()))
        .map_err(|error| format!("{}, after \"{NAMESPACE}\" was put before it", error.message()))?;
    let id = format!("{}-{number}-{}", stage.run(), event.id());
    let event = event.with_type(event_type).with_id(id).with_extension(NUMBER, i32::try_from(number).unwrap_or(i32::MAX));
    event.check().map_err(|error| error.message().to_owned())?;
    Ok(event)
}

/// The id that an event had in the file; of other events, their own.
pub(super) fn given_id(event: &Event) -> &str {
    let given = event.extension(NUMBER).and_then(|_| event.id().splitn(3, '-').nth(2));
    given.unwrap_or(event.id())
}

/// Asks every service how many events it has handled. All of them must say the same.
pub(super) async fn roll_call(stage: &Stage, expected: u64) -> Outcome<Asked> {
    let event = Event::json(ROLL_CALL, expected)?.with_source("/demo");
    let desks = DESKS.map(|(desk, _)| desk);
    let read = |reply: &Reply| reply.decode::<u64>().map_or_else(|error| error.message().to_owned(), |count| count.to_string());
    let question = "how many events have you handled?".to_owned();
    let mut asked = stage.ask(question, event, &desks, desks.len(), ROLL_CALL_WITHIN, read).await;
    if asked.fault.is_none() && asked.replies.iter().any(|(_, count)| *count != expected.to_string()) {
        asked.fault = Some(format!("{expected} were published"));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus::{HandlerError, Verdict};

    #[test]
    fn the_id_of_the_file_is_the_one_that_is_shown() {
        let event = Event::builder("demo.a").id("1a2b3c4d-7-e-1").json_text("1").build().unwrap();
        assert_eq!(given_id(&event), "1a2b3c4d-7-e-1");
        assert_eq!(given_id(&event.with_extension(NUMBER, 7)), "e-1");
    }

    #[test]
    fn the_script_retries_and_gives_up_and_mends() {
        let verdict = |outcome: Result<(), HandlerError>| outcome.map_err(|error| error.verdict());
        assert_eq!(verdict(script::index(13, 1)), Err(Verdict::Retry));
        assert_eq!(verdict(script::index(13, 2)), Ok(()));
        assert_eq!(verdict(script::notify(54, false)), Err(Verdict::Retry));
        assert_eq!(verdict(script::notify(106, false)), Err(Verdict::Reject));
        assert!((1..=1000).all(|number| script::notify(number, true).is_ok()));
    }
}
