//! Very many events that nobody has handled yet, and a group that takes a millisecond for each.

use crate::{
    findings::{Findings, mib},
    ledger::{Judgement, Ledger},
    memory,
    options::Backend,
    server::Server,
};
use eventbus::{Context, Error, Event, Handler, HandlerError, Start, Subscribe, async_trait};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How many handlers run at once.
const AT_ONCE: usize = 64;
const BATCH: u32 = 500;
const WORK: Duration = Duration::from_millis(1);
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(200);
/// How long nothing may be handled.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the process may grow by: what a buffer may hold.
const ROOM: u64 = 64 << 20;

pub(crate) async fn run(backend: Backend, events: u32) -> Result<Findings, Error> {
    let server = Server::start(backend).await;
    let bus = eventbus::connect(&server.url(events)).await?;
    let name = bus.health().await?.server.unwrap_or_else(|| "memory".to_owned());
    let ledger = Arc::new(Ledger::new(events as usize, 1));
    let publishing = Instant::now();
    for first in (0..events).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(events);
        let batch = numbers.clone().map(|number| Event::json("backlog.tick", number)).collect::<Result<_, _>>()?;
        bus.publish_all(batch).await.into_iter().collect::<Result<(), _>>()?;
        numbers.for_each(|number| ledger.acknowledged(number));
    }
    let publishing = publishing.elapsed();
    eprintln!("{name}: {events} events are there");

    let (before, handling) = (memory::own(), Instant::now());
    let group = Subscribe::to("backlog.*").group("backlog").from(Start::Earliest).concurrency(AT_ONCE);
    let subscription = bus.subscribe(group, Arc::new(Slow(Arc::clone(&ledger)))).await?;
    let (mut most, mut handled, mut progress) = (before, 0, Instant::now());
    while handled < u64::from(events) && progress.elapsed() < PATIENCE {
        sleep(LOOK).await;
        most = most.max(memory::own());
        let now = ledger.judge().handled;
        if now > std::mem::replace(&mut handled, now) {
            progress = Instant::now();
        }
    }
    let handling = handling.elapsed();
    subscription.close().await?;
    bus.close().await?;

    let Judgement { lost, duplicates, .. } = ledger.judge();
    let rate = |took: Duration| format!("{:.0} s, {:.0} each second", took.as_secs_f64(), f64::from(events) / took.as_secs_f64());
    let rows = vec![
        ("published", format!("{events} in {}", rate(publishing))),
        ("handled", format!("in {}; {WORK:?} each, {AT_ONCE} at once", rate(handling))),
        ("lost", lost.to_string()),
        ("handled twice", duplicates.to_string()),
        ("memory here", format!("{} before, {} at most", mib(before), mib(most))),
    ];
    let mut findings = Findings { server: name, rows, faults: Vec::new() };
    findings.unless(lost == 0, format!("{lost} events were not handled"));
    findings.unless(duplicates == 0, format!("{duplicates} events were handled twice though nothing was restarted"));
    findings.unless(most <= before + ROOM, "memory grew by more than the buffer".to_owned());
    Ok(findings)
}

struct Slow(Arc<Ledger>);

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, _: &Context, event: &Event) -> Result<(), HandlerError> {
        let number = *event.decode::<u32>()?;
        sleep(WORK).await;
        self.0.handled(number, 0);
        Ok(())
    }
}
