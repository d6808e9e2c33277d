//! `eventbus doctor`: connects, measures the round trip, and says what the bus can do and what looks wrong.

use super::{groups::age, publish::plural};
use crate::{
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    output::Output,
    run_id::RunId,
    session::{Session, is_in_process, shown_url},
};
use eventbus::{Bus, BusExt as _, BusStats, Capabilities, Event, Health, HealthState, Subscribe};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How many round trips are measured.
const TRIPS: usize = 21;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An event that has waited for longer than this looks forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

pub(super) async fn run(url: &str, out: &mut Output, interrupt: &Interrupt) -> Outcome {
    let begun = Instant::now();
    let session = Session::open(url, out, interrupt).await?;
    let connected = begun.elapsed();
    let bus = Arc::clone(session.bus());
    session.run(async move { examine(&*bus, url, connected, out).await }).await
}

async fn examine(bus: &dyn Bus, url: &str, connected: Duration, out: &mut Output) -> Outcome {
    let health = bus.health().await?;
    // Before the measurement, which leaves traces of its own.
    let stats = bus.stats().await?;
    let trips = round_trips(bus).await;
    let findings = Findings { url: shown_url(url), connected, wrong: wrong(bus, &health, &stats, &trips), health, stats, trips };
    if out.json() {
        out.document(&findings.document(bus.capabilities()))?;
    } else {
        findings.print(bus, out)?;
    }
    match &findings.trips {
        Err(fault) => Err(Failure::failed(format_args!("an event that was published did not come back: {fault}"))),
        Ok(_) if findings.health.state != HealthState::Connected => {
            Err(Failure::failed(format_args!("the bus is {}", state(findings.health.state))))
        }
        Ok(_) => Ok(Exit::Done),
    }
}

/// How long events take from before their publish until their delivery, the fastest first.
async fn round_trips(bus: &dyn Bus) -> Result<Vec<Duration>, String> {
    let event_type = format!("eventbus-doctor-{}", RunId::new());
    let trip = async |trips: &mut Vec<Duration>| {
        let mut stream = bus.stream(Subscribe::to(&event_type).name("eventbus-doctor")).await?;
        for _ in 0..TRIPS {
            let event = Event::json(&event_type, TRIPS)?;
            let begun = Instant::now();
            bus.publish(event).await?;
            let Some(delivery) = stream.next().await else { return stream.subscription().ended().await };
            trips.push(begun.elapsed());
            delivery.ack()?;
        }
        stream.subscription().close().await
    };
    let mut trips = Vec::new();
    match tokio::time::timeout(PATIENCE, trip(&mut trips)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(crate::exit::with_causes(&error)),
        Err(_) => return Err(format!("{} of {TRIPS} came back within {PATIENCE:?}", trips.len())),
    }
    trips.sort();
    Ok(trips)
}

/// What looks wrong, in words.
fn wrong(bus: &dyn Bus, health: &Health, stats: &BusStats, trips: &Result<Vec<Duration>, String>) -> Vec<String> {
    let mut wrong = health.warnings.clone();
    if health.state != HealthState::Connected {
        wrong.push(format!("the connection is {}", state(health.state)));
    }
    if let Err(fault) = trips {
        wrong.push(format!("an event that was published did not come back: {fault}"));
    }
    let capabilities = bus.capabilities();
    if !capabilities.at_least_once {
        wrong.push("events are delivered at most once: what a subscriber misses is lost".to_owned());
    }
    if let Some(letters @ 1..) = stats.dead_letters {
        wrong.push(format!("{letters} {} waiting; see eventbus dlq ls", plural(letters, "dead letter")));
    }
    for group in &stats.groups {
        if group.lag > 0 && group.members == 0 {
            wrong.push(format!("the group {} has nobody in it and {} {} waiting", group.name, group.lag, plural(group.lag, "event")));
        }
        if let Some(oldest) = group.oldest_unacknowledged.filter(|oldest| *oldest > FORGOTTEN) {
            wrong.push(format!("the group {} has an event that waits for {}", group.name, age(oldest)));
        }
    }
    wrong
}

struct Findings {
    url: String,
    connected: Duration,
    health: Health,
    stats: BusStats,
    trips: Result<Vec<Duration>, String>,
    wrong: Vec<String>,
}

impl Findings {
    fn document(&self, capabilities: &Capabilities) -> Value {
        let micros = |duration: &Duration| duration.as_nanos() as f64 / 1e3;
        let trips = self.trips.as_deref().ok().map(|trips| {
            json!({"trips": trips.len(), "min_us": trips.first().map(micros), "median_us": middle(trips).map(|trip| micros(&trip)), "max_us": trips.last().map(micros)})
        });
        let can = abilities(capabilities).into_iter().map(|(name, _, can)| (name.to_owned(), can.into()));
        let mut can: serde_json::Map<String, Value> = can.collect();
        can.insert("dedup_window_ms".to_owned(), capabilities.dedup_window.map(|window| window.as_millis() as u64).into());
        can.insert("max_payload".to_owned(), capabilities.max_payload.into());
        json!({
            "url": self.url,
            "backend": capabilities.backend,
            "server": self.health.server,
            "state": state(self.health.state),
            "connect_us": micros(&self.connected),
            "health_us": self.health.round_trip.as_ref().map(micros),
            "round_trip": trips,
            "capabilities": can,
            "groups": self.stats.groups.len(),
            "dead_letters": self.stats.dead_letters,
            "wrong": self.wrong,
        })
    }

    fn print(&self, bus: &dyn Bus, out: &mut Output) -> Outcome<()> {
        let (paint, capabilities) = (out.paint(), bus.capabilities());
        let server = self.health.server.clone();
        let server =
            server.unwrap_or_else(|| if is_in_process(bus) { "none, the bus is in this process".to_owned() } else { "unknown".to_owned() });
        let mut fact = |name: &str, value: String| out.line(format_args!("{} {value}", paint.bold(format_args!("{name:<11}"))));
        fact("bus", self.url.clone())?;
        fact("backend", format!("{}, eventbus {}", capabilities.backend, env!("CARGO_PKG_VERSION")))?;
        fact("server", server)?;
        fact("state", format!("{}, in {}", state(self.health.state), short(self.connected)))?;
        if let Some(trips) = self.trips.as_deref().ok().filter(|trips| !trips.is_empty()) {
            let [first, middle, last] =
                [trips.first().copied(), middle(trips), trips.last().copied()].map(|trip| short(trip.unwrap_or_default()));
            fact("round trip", format!("{middle} from publish to delivery (median of {}; {first} to {last})", trips.len()))?;
        }
        if let Some(groups @ 1..) = capabilities.groups.then_some(self.stats.groups.len()) {
            fact("groups", groups.to_string())?;
        }
        out.line("")?;
        for (_, words, can) in abilities(capabilities) {
            let mark = if can { paint.green("yes") } else { paint.dim("no ") };
            out.line(format_args!("  {mark}  {words}"))?;
        }
        let window = capabilities.dedup_window.map_or_else(|| "no ".to_owned(), |_| "yes".to_owned());
        let within = capabilities.dedup_window.map(|window| format!(" within {}", age(window))).unwrap_or_default();
        out.line(format_args!("  {window}  the same source and id are stored once{within}"))?;
        out.line(format_args!("       payloads up to {} bytes", capabilities.max_payload))?;
        out.line("")?;
        if self.wrong.is_empty() {
            return out.line(format_args!("{} nothing looks wrong", paint.green("✓")));
        }
        self.wrong.iter().try_for_each(|wrong| out.line(format_args!("{} {wrong}", paint.yellow("!"))))
    }
}

/// What a backend can or cannot do: for programs, for people, and whether.
fn abilities(capabilities: &Capabilities) -> [(&'static str, &'static str, bool); 12] {
    let c = capabilities;
    [
        ("at_least_once", "events are delivered until they are acknowledged or given up", c.at_least_once),
        ("persistent", "events outlive the process", c.persistent),
        ("groups", "durable groups", c.groups),
        ("replay", "replay of earlier events", c.replay),
        ("replay_by_sequence", "replay from a sequence", c.replay_by_sequence),
        ("replay_by_time", "replay from a time", c.replay_by_time),
        ("redelivery", "redelivery after a delay, attempts counted", c.redelivery),
        ("dead_letters", "dead letters: list, redrive, remove", c.dead_letters),
        ("drops", "full buffers may drop events where asked to", c.drops),
        ("requests", "requests and replies", c.requests),
        ("hold", "held until started", c.hold),
        ("confirmed_acks", "acknowledgements are confirmed", c.confirmed_acks),
    ]
}

fn state(state: HealthState) -> &'static str {
    match state {
        HealthState::Connected => "connected",
        HealthState::Reconnecting => "reconnecting",
        HealthState::Draining => "draining",
        HealthState::Closed => "closed",
        _ => "in an unknown state",
    }
}

fn middle(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len() / 2).copied()
}

/// A short duration with three significant digits or so.
pub(super) fn short(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    match nanos {
        0.0..1e3 => format!("{nanos:.0} ns"),
        1e3..1e6 => format!("{:.1} µs", nanos / 1e3),
        1e6..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Captured;
    use eventbus::HandlerError;

    #[tokio::test]
    async fn a_bus_that_works_is_described() {
        let bus = eventbus::connect("memory:").await.unwrap();
        let (mut out, said) = Captured::output(false);
        assert_eq!(examine(&*bus, "memory:", Duration::from_millis(1), &mut out).await.unwrap(), Exit::Done);
        for part in [
            "in this process",
            "connected, in 1.0 ms",
            "median of 21",
            "yes  durable groups",
            "no   events outlive the process",
            "nothing looks wrong",
        ] {
            assert!(said.stdout().contains(part), "{part}: {}", said.stdout());
        }
    }

    #[tokio::test]
    async fn what_looks_wrong_is_said() {
        let bus = eventbus::connect("memory:").await.unwrap();
        let subscription = bus.on(Subscribe::to("a").group("billing"), async || Err::<(), _>(HandlerError::reject("no"))).await.unwrap();
        bus.publish(Event::json("a", 1).unwrap()).await.unwrap();
        let given_up = async {
            while bus.stats().await.unwrap().dead_letters != Some(1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), given_up).await.unwrap();
        subscription.close().await.unwrap();
        bus.publish(Event::json("a", 2).unwrap()).await.unwrap();
        let (mut out, said) = Captured::output(true);
        examine(&*bus, "memory:", Duration::ZERO, &mut out).await.unwrap();
        let shown: Value = serde_json::from_str(&said.stdout()).unwrap();
        let wrong = shown["wrong"].to_string();
        assert!(
            wrong.contains("1 dead letter waiting") && wrong.contains("the group billing has nobody in it and 1 event waiting"),
            "{wrong}"
        );
        assert_eq!(shown["capabilities"]["persistent"], false);
    }

    #[test]
    fn short_durations_have_fitting_units() {
        let shown = [5, 1_500, 2_000_000, 3_000_000_000].map(|nanos| short(Duration::from_nanos(nanos)));
        assert_eq!(shown, ["5 ns", "1.5 µs", "2.0 ms", "3.00 s"]);
    }
}
