//! Very many subscriptions of one bus, and as many groups that come and go while events are published.

use crate::{
    findings::{Findings, mib},
    memory::{self, Samples},
    options::Backend,
    server::{FEW, Server},
};
use eventbus::{Bus, Context, Error, Event, Handler, HandlerError, Subscribe, Subscription, async_trait};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinSet, time::sleep};

/// How many subscribe, or close, or come and go at once.
const AT_ONCE: u32 = 16;
/// How many are published together.
const BATCH: u32 = 500;
/// How long the last event, or the last task, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Tasks that may be left: what a connection does now and then.
const TASKS: usize = 4;

pub(crate) async fn run(backend: Backend, subscriptions: u32) -> Result<Findings, Error> {
    let server = Server::start(backend).await;
    let bus = eventbus::connect(&server.url(FEW)).await?;
    let name = bus.health().await?.server.unwrap_or_else(|| "memory".to_owned());
    let mut findings = Findings { server: name, rows: Vec::new(), faults: Vec::new() };
    many_at_once(&bus, subscriptions, &mut findings).await?;
    come_and_go(&bus, subscriptions, &mut findings).await?;
    bus.close().await?;
    Ok(findings)
}

/// Each gets the one event that is for it.
async fn many_at_once(bus: &Arc<dyn Bus>, subscriptions: u32, findings: &mut Findings) -> Result<(), Error> {
    let (memory_before, tasks_before, begun) = (memory::own(), tasks(), Instant::now());
    let came = Arc::new(AtomicU64::new(0));
    let there = side_by_side(subscriptions, |number| {
        let (bus, handler) = (Arc::clone(bus), Arc::new(Counting(Arc::clone(&came))));
        async move { bus.subscribe(Subscribe::to(&*format!("crowd.{number}")), handler).await }
    })
    .await?;
    let subscribing = begun.elapsed();
    eprintln!("{}: {subscriptions} subscriptions are there", findings.server);
    let grown = memory::own().saturating_sub(memory_before);
    let publishing = Instant::now();
    for first in (0..subscriptions).step_by(BATCH as usize) {
        let one = |number| Event::json(&*format!("crowd.{number}"), number);
        let batch = (first..(first + BATCH).min(subscriptions)).map(one).collect::<Result<_, _>>()?;
        bus.publish_all(batch).await.into_iter().collect::<Result<(), _>>()?;
    }
    wait_until(|| came.load(SeqCst) >= u64::from(subscriptions)).await;
    let handling = publishing.elapsed();
    let mut there: Vec<Option<Subscription>> = there.into_iter().map(Some).collect();
    side_by_side(subscriptions, |number| {
        let subscription = there[number as usize].take();
        async move {
            match subscription {
                Some(subscription) => subscription.close().await,
                None => Ok(()),
            }
        }
    })
    .await?;
    wait_until(|| tasks() <= tasks_before + TASKS).await;
    let (came, left) = (came.load(SeqCst), tasks().saturating_sub(tasks_before));
    findings.rows.extend([
        (
            "subscriptions",
            format!("{subscriptions} made in {:.0} s, each with {:.1} KiB", subscribing.as_secs_f64(), kib(grown, subscriptions)),
        ),
        ("an event for each", format!("{came} handled after {:.1} s", handling.as_secs_f64())),
        ("tasks left", left.to_string()),
    ]);
    findings.unless(came == u64::from(subscriptions), format!("{came} of {subscriptions} events were handled"));
    findings.unless(left <= TASKS, format!("{left} tasks were left"));
    Ok(())
}

/// Groups come and go, a few at once, and one that stays gets everything.
async fn come_and_go(bus: &Arc<dyn Bus>, groups: u32, findings: &mut Findings) -> Result<(), Error> {
    let (steady, passing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stays = bus.subscribe(Subscribe::to("churn").group("steady"), Arc::new(Counting(Arc::clone(&steady)))).await?;
    let over = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (bus, over) = (Arc::clone(bus), Arc::clone(&over));
        async move {
            let mut published = 0_u64;
            while !over.load(SeqCst) {
                bus.publish(Event::json("churn", published)?).await?;
                published += 1;
                sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, Error>(published)
        }
    });
    let (tasks_before, begun) = (tasks(), Instant::now());
    let samples = Arc::new(Mutex::new(Samples::with_capacity(groups as usize)));
    side_by_side(groups, |number| {
        let (bus, handler, samples) = (Arc::clone(bus), Arc::new(Counting(Arc::clone(&passing))), Arc::clone(&samples));
        async move {
            let group = format!("passing-{number}");
            bus.subscribe(Subscribe::to("churn").group(&group), handler).await?.close().await?;
            bus.delete_group(&group).await?;
            samples.lock().unwrap_or_else(PoisonError::into_inner).take(memory::own());
            Ok(())
        }
    })
    .await?;
    let churning = begun.elapsed();
    over.store(true, SeqCst);
    let published = publishing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    wait_until(|| steady.load(SeqCst) >= published && tasks() <= tasks_before + TASKS).await;
    let (handled, left) = (steady.load(SeqCst), tasks().saturating_sub(tasks_before));
    let there = bus.stats().await?.groups.len();
    stays.close().await?;
    let trend = samples.lock().unwrap_or_else(PoisonError::into_inner).trend();
    let memory = trend.map_or_else(|| "not measured".to_owned(), |trend| format!("{} early, {} late", mib(trend.first), mib(trend.last)));
    findings.rows.extend([
        ("came and went", format!("{groups} groups in {:.0} s, beside {published} publishes", churning.as_secs_f64())),
        ("the one that stayed", format!("handled {handled}")),
        ("memory meanwhile", memory),
        ("tasks left", left.to_string()),
    ]);
    findings.unless(handled == published, format!("{handled} of {published} events were handled beside those that came and went"));
    findings.unless(left <= TASKS, format!("{left} tasks were left of those that went"));
    findings.unless(there == 1, format!("{there} groups are left of one that stayed"));
    findings.unless(trend.is_none_or(memory::Trend::is_flat), "memory grew while they came and went".to_owned());
    Ok(())
}

/// Does something for each number from 0 on, a few at once.
async fn side_by_side<T, F>(numbers: u32, mut act: impl FnMut(u32) -> F) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    let (mut acting, mut done) = (JoinSet::new(), Vec::with_capacity(numbers as usize));
    for number in 0..numbers {
        if number >= AT_ONCE
            && let Some(one) = acting.join_next().await
        {
            done.push(one.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        }
        acting.spawn(act(number));
    }
    while let Some(one) = acting.join_next().await {
        done.push(one.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
    }
    Ok(done)
}

/// Waits for so long as there is hope.
async fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

fn kib(bytes: u64, shared_by: u32) -> f64 {
    bytes as f64 / 1024.0 / f64::from(shared_by)
}

struct Counting(Arc<AtomicU64>);

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, _: &Context, _: &Event) -> Result<(), HandlerError> {
        self.0.fetch_add(1, SeqCst);
        Ok(())
    }
}
