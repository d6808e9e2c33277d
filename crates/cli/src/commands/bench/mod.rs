//! `eventbus bench`: throughput and latency of a bus here.
//!
//! Three rounds: one to warm up, one as fast as the bus takes events, one at a rate that leaves it time. A round ends when every
//! subscription has got every event, and it is counted whether each came once.

mod report;
mod sample;

use self::{
    report::{Report, Throughput},
    sample::{Clock, Fill, Received, Round, Sample},
};
use super::publish::plural;
use crate::{
    args::BenchArgs,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    output::Output,
    pace::{Pace, Rate},
    run_id::RunId,
    session::{Session, shown_url},
};
use eventbus::{Bus, BusExt as _, Event, EventType, Subscribe, Subscription};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How many events warm up at most.
const WARM_UP: u64 = 20_000;
/// At most how many events per second the latency is measured at, and for how long.
const CALM: f64 = 5_000.0;
const CALM_FOR: f64 = 2.0;
/// How long nothing may arrive before a round counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(url: &str, args: &BenchArgs, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    if cfg!(debug_assertions) {
        out.warn("this program was built without optimisation; its figures say little");
    }
    let session = Session::open(url, out, interrupt).await?;
    let bus = Arc::clone(session.bus());
    session.run(async move { measure(bus, url, args, out).await }).await
}

async fn measure(bus: Arc<dyn Bus>, url: &str, args: &BenchArgs, out: &mut Output) -> Outcome {
    let bench = Bench::prepare(bus, args).await?;
    out.note(format_args!("warming up on {}", shown_url(url)));
    bench.round(Round::WarmUp, (args.count / 10).clamp(1, WARM_UP), None).await?;
    out.note(format_args!("publishing {} {} as fast as it goes", args.count, plural(args.count, "event")));
    let throughput = bench.round(Round::Throughput, args.count, None).await?;
    let rate = (throughput.published_per_second() / 4.0).min(CALM);
    let calm = ((rate * CALM_FOR) as u64).clamp(1, args.count);
    out.note(format_args!("publishing {calm} {} at {rate:.0} per second", plural(calm, "event")));
    let calmly = bench.round(Round::Latency, calm, Some(Rate::near(rate))).await?;
    for subscription in &bench.subscriptions {
        subscription.close().await?;
    }
    let latency = bench.latency();
    let report = Report { url: shown_url(url), backend: bench.bus.capabilities().backend, args, throughput, calm, rate, latency };
    report.print(out)?;
    let missing = report.throughput.missing + calmly.missing;
    if missing == 0 || !bench.bus.capabilities().at_least_once {
        // What the bus does not promise is reported, and no failure.
        return Ok(Exit::Done);
    }
    Err(Failure::failed(format_args!("{missing} {} missing", if missing == 1 { "delivery is" } else { "deliveries are" })))
}

struct Bench {
    bus: Arc<dyn Bus>,
    event_type: EventType,
    fill: Fill,
    clock: Clock,
    publishers: u64,
    received: Vec<Arc<Received>>,
    subscriptions: Vec<Subscription>,
}

impl Bench {
    async fn prepare(bus: Arc<dyn Bus>, args: &BenchArgs) -> Outcome<Self> {
        // A type of its own, so that two measurements on one broker do not meet.
        let event_type = EventType::new(format!("eventbus-bench-{}", RunId::new()))?;
        let clock = Clock::start();
        let (mut received, mut subscriptions) = (Vec::new(), Vec::new());
        for number in 0..args.subscribers {
            let counts = Arc::new(Received::new());
            received.push(Arc::clone(&counts));
            let subscribe = Subscribe::to(event_type.clone()).name(format!("eventbus-bench-{number}"));
            let handler = move |event: Event| {
                let outcome = event.decode::<Sample>().map(|sample| counts.count(&sample, clock.now()));
                async move { outcome }
            };
            subscriptions.push(bus.on(subscribe, handler).await?);
        }
        bus.start().await?;
        let fill = Fill::of_size(args.size as usize);
        Ok(Self { bus, event_type, fill, clock, publishers: u64::from(args.publishers), received, subscriptions })
    }

    /// Publishes `count` events and waits until all are delivered.
    async fn round(&self, round: Round, count: u64, rate: Option<Rate>) -> Outcome<Throughput> {
        let begun = Instant::now();
        let publishing: Vec<_> = (0..self.publishers).map(|publisher| self.publisher(round, publisher, count, rate)).collect();
        for publisher in publishing {
            publisher.await.map_err(Failure::failed)??;
        }
        self.bus.flush().await?;
        let published_in = begun.elapsed();
        self.delivered(round, count).await;
        let expected = count * self.received.len() as u64;
        let arrived: u64 = self.received.iter().map(|received| received.arrived(round)).sum();
        Ok(Throughput {
            published: count,
            published_in,
            delivered: arrived,
            delivered_in: self
                .received
                .iter()
                .map(|received| received.last(round))
                .max()
                .unwrap_or_default()
                .saturating_sub(self.clock.at(begun)),
            missing: self.received.iter().map(|received| count.saturating_sub(received.arrived(round))).sum(),
            repeated: arrived.saturating_sub(expected),
            each_once: self.received.iter().all(|received| received.got_each_once(round, count)),
        })
    }

    /// Publishes every event of a round that is this publisher's.
    fn publisher(&self, round: Round, publisher: u64, count: u64, rate: Option<Rate>) -> tokio::task::JoinHandle<eventbus::Result<()>> {
        let (bus, event_type, fill, clock) = (Arc::clone(&self.bus), self.event_type.clone(), self.fill.clone(), self.clock);
        let publishers = self.publishers;
        let mut pace = Pace::new(rate.map(|rate| Rate::near(rate.per_second() / publishers as f64)));
        tokio::spawn(async move {
            for number in (publisher..count).step_by(publishers as usize) {
                pace.next().await;
                let event = Event::new(fill.sample(round, number, clock.now())).with_type(event_type.clone());
                // The receipt is waited for by the flush.
                drop(bus.enqueue(event).await?);
            }
            Ok(())
        })
    }

    /// Waits until all is delivered, or nothing more comes.
    async fn delivered(&self, round: Round, count: u64) {
        let arrived = || self.received.iter().map(|received| received.arrived(round)).sum::<u64>();
        let (mut seen, mut since) = (0, Instant::now());
        while self.received.iter().any(|received| received.arrived(round) < count) && since.elapsed() < PATIENCE {
            // The times are taken by the subscribers; this only looks now and then whether they are done.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = arrived();
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    fn latency(&self) -> hdrhistogram::Histogram<u64> {
        let mut all = sample::histogram();
        for received in &self.received {
            // Both have the same bounds.
            let _ = all.add(&*received.latency());
        }
        all
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

    async fn measured(url: &str, line: &[&str], json: bool) -> Captured {
        let Command::Bench(args) = Cli::try_parse_from([&["eventbus", "bench"], line].concat()).unwrap().command else { unreachable!() };
        let (mut out, said) = Captured::output(json);
        let bus = eventbus::connect(url).await.unwrap();
        assert_eq!(measure(bus, url, &args, &mut out).await.unwrap(), Exit::Done);
        said
    }

    #[tokio::test]
    async fn every_delivery_is_counted_once() {
        for url in ["memory:", "memory:?strict=true"] {
            let said = measured(url, &["--count", "500", "--publishers", "3", "--subscribers", "2", "--size", "100"], true).await;
            let shown: serde_json::Value = serde_json::from_str(&said.stdout()).unwrap();
            assert_eq!((&shown["delivered"], &shown["missing"], &shown["each_once"]), (&1000.into(), &0.into(), &true.into()));
            assert!(shown["latency_us"]["p50"].as_f64().unwrap() <= shown["latency_us"]["p99.9"].as_f64().unwrap());
        }
    }

    #[tokio::test]
    async fn the_report_says_what_was_measured() {
        let said = measured("memory:", &["--count", "10"], false).await;
        for part in ["10 events of 64 bytes", "1 publisher", "events/s", "each once", "p50", "p99.9", "from before publish"] {
            assert!(said.stdout().contains(part), "{part}: {}", said.stdout());
        }
    }
}
