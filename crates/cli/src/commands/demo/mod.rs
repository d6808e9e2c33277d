//! `eventbus demo`: services at work on a bus, shown as it happens, and checked in the end.
//!
//! Everything that is published is written to [books](ledger) before the bus has it. In the end, what the services handled and what the
//! bus holds as dead letters must be what was published.

mod flow;
mod ledger;
mod live;
mod occurrence;
mod picture;
mod replay;
mod shop;
mod stage;
mod summary;
mod view;

use self::{
    occurrence::{Asked, Occurrence},
    replay::Read,
    stage::Stage,
    summary::{Input, Summary},
    view::View,
};
use crate::{
    args::DemoArgs,
    exit::{Exit, Failure, Outcome},
    input::Lines,
    interrupt::Interrupt,
    output::Output,
    pace::Rate,
    run_id::RunId,
    session::{Session, shown_url},
};
use eventbus::{DeadLetterFilter, DeadLetterReason, EventType};
use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How many events per second are published where somebody watches.
const WATCHABLE: f64 = 25.0;
/// How long nothing may happen before the demo gives up waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what is under way when the demo is ended early.
const HASTE: Duration = Duration::from_secs(10);
/// How long a dead letter may take to be found.
const STORED_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run(url: &str, args: &DemoArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let lines = args.input.as_deref().map(Lines::open).transpose()?;
    let (session, url) = open(url, out, interrupt).await?;
    let outcome = show(&session, &url, lines, args.rate, out, interrupt).await;
    session.end(outcome).await
}

/// Connects. A `nats-server` with its default settings has no JetStream: the demo then shows what core NATS does, and says so.
async fn open<'a>(url: &'a str, out: &mut Output, interrupt: &Interrupt) -> Outcome<(Session, Cow<'a, str>)> {
    let refused = match Session::open(url, out, interrupt).await {
        Ok(session) => return Ok((session, Cow::Borrowed(url))),
        Err(refused) => refused,
    };
    let Failure::Said(Exit::Invalid, why) = &refused else { return Err(refused) };
    if !url.starts_with("nats://") || url.contains('?') {
        return Err(refused);
    }
    let core = format!("{url}?mode=core");
    let Ok(session) = Session::open(&core, out, interrupt).await else { return Err(refused) };
    out.warn(format_args!("{why}\n  what follows is the demo on core NATS, which keeps nothing and tries nothing again"));
    Ok((session, Cow::Owned(core)))
}

/// What drives the demo.
enum Plot {
    Shop,
    Replay(Lines, Arc<Read>),
}

async fn show(session: &Session, url: &str, lines: Option<Lines>, rate: Option<Rate>, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let begun = Instant::now();
    let read = Arc::new(Read::default());
    let name = lines.as_ref().map(|lines| lines.name().to_owned());
    let plot = lines.map_or(Plot::Shop, |lines| Plot::Replay(lines, Arc::clone(&read)));
    let (stage, told) = Stage::new(Arc::clone(session.bus()), RunId::new(), Interrupt::never());
    let view = View::new(out, shown_url(url), begun);
    let rate = rate.or_else(|| view.is_live().then(|| Rate::near(WATCHABLE)));
    let playing = tokio::spawn(play(Arc::clone(&stage), plot, rate));
    let asked = watch(&stage, playing, told, view, out, interrupt).await?;
    let input = name.map(|name| Input { name, events: read.events.load(Relaxed), bad_lines: read.bad_lines.load(Relaxed) });
    let requests = if input.is_some() { 1 } else { shop::REQUESTS };
    let summary = Summary {
        url: shown_url(url),
        run: stage.run().to_string(),
        took: begun.elapsed(),
        ended_early: stage.stop.is_asked(),
        input,
        published: stage.ledger.published(),
        accounts: close_accounts(&stage).await?,
        requests: stage.may_ask().then_some(requests),
        asked,
        left_out: left_out(&stage),
    };
    stage.clear().await?;
    summary.print(out)?;
    out.flush()?;
    if interrupt.is_asked() {
        return Err(Failure::Interrupted);
    }
    Ok(summary.exit())
}

/// Shows what happens until the play is over, or the user has seen enough.
async fn watch(
    stage: &Stage,
    mut playing: tokio::task::JoinHandle<Outcome<Vec<Asked>>>,
    mut told: mpsc::UnboundedReceiver<Occurrence>,
    mut view: View,
    out: &mut Output,
    interrupt: &Interrupt,
) -> Outcome<Vec<Asked>> {
    let mut batch = Vec::new();
    let played = loop {
        tokio::select! {
            biased;
            () = interrupt.wait(), if !stage.stop.is_asked() => stage.stop.trigger(),
            () = view.frame_is_due() => view.draw(stage, interrupt, out),
            played = &mut playing => break played,
            _ = told.recv_many(&mut batch, 64) => {}
        }
        if let Err(failure) = view.show(batch.drain(..), out) {
            // Nobody watches any more.
            stage.stop.trigger();
            playing.abort();
            return Err(failure);
        }
    };
    while let Ok(occurrence) = told.try_recv() {
        batch.push(occurrence);
    }
    view.show(batch.drain(..), out)?;
    view.end(out);
    played.map_err(Failure::failed)?
}

/// The whole play. Returns what was asked and replied.
async fn play(stage: Arc<Stage>, plot: Plot, rate: Option<Rate>) -> Outcome<Vec<Asked>> {
    let asked = match plot {
        Plot::Shop => {
            shop::open(&stage).await?;
            stage.bus().start().await?;
            let asked = shop::trade(&stage, rate).await?;
            settle(&stage).await;
            // A stolen card stays stolen.
            redrive(&stage, "the bank opens", |reason| reason == DeadLetterReason::Exhausted).await?;
            asked
        }
        Plot::Replay(lines, read) => {
            replay::open(&stage).await?;
            stage.bus().start().await?;
            replay::feed(&stage, lines, rate, &read).await?;
            settle(&stage).await;
            redrive(&stage, "the receiver is back", |_| true).await?;
            if stage.may_ask() && !stage.stop.is_asked() {
                vec![replay::roll_call(&stage, read.events.load(Relaxed)).await?]
            } else {
                Vec::new()
            }
        }
    };
    settle(&stage).await;
    Ok(asked)
}

/// Waits until everything that was promised is settled. What is not by then, the summary tells.
async fn settle(stage: &Stage) {
    tokio::select! {
        _ = stage.ledger.settled(PATIENCE) => {}
        () = stage.stop.wait() => {
            let _ = tokio::time::timeout(HASTE, stage.ledger.settled(PATIENCE)).await;
        }
    }
}

/// Mends what failed on purpose, and has the dead letters of it published again.
async fn redrive(stage: &Stage, mended: &str, which: impl Fn(DeadLetterReason) -> bool) -> Outcome<()> {
    if !stage.may_fail() || stage.stop.is_asked() {
        return Ok(());
    }
    stage.mend();
    let mut chosen = Vec::new();
    for (place, service, subscription) in stage.ledger.subscriptions() {
        let letters = stored_letters(stage, place, &subscription).await?;
        chosen.extend(letters.into_iter().filter(|letter| which(letter.reason)).map(|letter| (place, service, letter)));
    }
    if chosen.is_empty() {
        return Ok(());
    }
    stage.tell(Occurrence::Part(format!(
        "{mended}: {} {} redriven",
        chosen.len(),
        if chosen.len() == 1 { "dead letter is" } else { "dead letters are" }
    )));
    for (place, service, letter) in &chosen {
        stage.redrive(*place, service, letter).await?;
    }
    settle(stage).await;
    Ok(())
}

/// The dead letters of a subscription, once those that it has given up are stored.
async fn stored_letters(stage: &Stage, place: usize, subscription: &str) -> Outcome<Vec<eventbus::DeadLetter>> {
    let begun = Instant::now();
    loop {
        let letters = stage.letters(subscription).await?;
        if letters.len() as u64 >= stage.ledger.given_up(place) || begun.elapsed() > STORED_WITHIN {
            return Ok(letters);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Compares the books with what the bus holds, and leaves no dead letters behind.
async fn close_accounts(stage: &Stage) -> Outcome<Vec<ledger::Closed>> {
    let keeps_letters = stage.bus().capabilities().dead_letters;
    let mut accounts = Vec::new();
    for (place, _, subscription) in stage.ledger.subscriptions() {
        let mut letters = HashSet::new();
        if keeps_letters {
            letters.extend(stored_letters(stage, place, &subscription).await?.iter().map(|letter| letter.event.id().to_owned()));
        }
        if !letters.is_empty() {
            stage.bus().dead_letters()?.remove(DeadLetterFilter::all().of_subscription(subscription)).await?;
        }
        accounts.push(stage.ledger.close(place, &letters));
    }
    Ok(accounts)
}

/// What this bus cannot do, and was not asked to.
fn left_out(stage: &Stage) -> Vec<String> {
    let mut left_out = Vec::new();
    let backend = stage.bus().capabilities().backend;
    if !stage.may_fail() {
        left_out.push(format!("nothing failed on purpose: {backend} does not redeliver and keep dead letters"));
    }
    if !stage.may_ask() {
        left_out.push(format!("nothing was asked: {backend} has no requests"));
    }
    left_out
}

/// Stands before the type of every event of a demo, so that the handlers of others on the same bus do not take it for the truth.
const NAMESPACE: &str = "demo.";

/// An event type without what the demo puts before it.
fn shown_type(event_type: &EventType) -> &str {
    event_type.as_str().strip_prefix(NAMESPACE).unwrap_or(event_type.as_str())
}

#[cfg(test)]
mod tests;
