//! From before a publish until its handler runs, at 10,000 events in a second.

use crate::{
    contest::{Contest, Result, Side, Unit, turn},
    traffic::{Tick, per_second},
};
use eventbus::{Bus, BusExt as _, Data, Event, EventData as _, MemoryBus};
use hdrhistogram::Histogram;
use std::{
    future::Future,
    hint::spin_loop,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const RATE: u64 = 10_000;

/// All of them.
pub fn contests() -> Vec<Contest> {
    [("p50", 0.5), ("p99", 0.99)]
        .map(|(name, quantile)| {
            Contest::new(format!("latency/{name} at 10,000 events/s"), Unit::Microseconds, RATE, ours(quantile)).against(
                "tokio mpsc",
                0.7,
                mpsc(quantile),
            )
        })
        .into()
}

/// What handlers saw. Events carry the nanoseconds since `begin`.
struct Seen {
    begin: Instant,
    latencies: Mutex<Histogram<u64>>,
}

impl Seen {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self { begin: Instant::now(), latencies: Mutex::new(Histogram::new_with_bounds(1, 10_000_000_000, 3)?) }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn note(&self, tick: &Tick) {
        let took = self.now().saturating_sub(tick.number());
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took.max(1));
    }

    /// Publishes from a thread of its own, which keeps the pace without a timer's help. Returns the quantile in microseconds.
    async fn round<F>(self: Arc<Self>, events: u64, quantile: f64, publish: impl Fn(Tick) -> F + Send + 'static) -> Result<f64>
    where
        F: Future<Output = Result<()>>,
    {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).reset();
        let (seen, runtime) = (Arc::clone(&self), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            for number in 0..events {
                wait_until(begun + Duration::from_nanos(1_000_000_000 / RATE * number));
                runtime.block_on(publish(Tick::new(seen.now())))?;
            }
            let rate = per_second(events, begun.elapsed());
            if rate < RATE as f64 * 0.95 {
                return Err(format!("it came to {rate:.0} events in a second only").into());
            }
            Result::<()>::Ok(())
        })
        .await??;
        let begun = Instant::now();
        loop {
            let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if latencies.len() == events {
                return Ok(latencies.value_at_quantile(quantile) as f64 / 1000.0);
            }
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("of {events} events came only {}", latencies.len()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sleeps as far as a sleep is sure not to take too long, and spins for the rest.
fn wait_until(due: Instant) {
    const LATE: Duration = Duration::from_micros(80);
    if let Some(long) = due.checked_duration_since(Instant::now() + LATE) {
        std::thread::sleep(long);
    }
    while Instant::now() < due {
        spin_loop();
    }
}

fn ours(quantile: f64) -> Side {
    Side::new(move || async move {
        let (bus, seen) = (MemoryBus::new(), Seen::new()?);
        let handler = {
            let seen = Arc::clone(&seen);
            move |Data(tick): Data<Tick>| {
                seen.note(&tick);
                async {}
            }
        };
        bus.on(Tick::TYPE, handler).await?;
        Ok(turn(move |events| {
            let bus = bus.clone();
            Arc::clone(&seen).round(events, quantile, move |tick| {
                let bus = bus.clone();
                async move { Ok(bus.publish(Event::new(tick)).await?) }
            })
        }))
    })
}

fn mpsc(quantile: f64) -> Side {
    Side::new(move || async move {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Tick>(crate::in_process::BUFFER);
        let seen = Seen::new()?;
        tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Some(tick) = receiver.recv().await {
                    seen.note(&tick);
                }
            }
        });
        Ok(turn(move |events| {
            let sender = sender.clone();
            Arc::clone(&seen).round(events, quantile, move |tick| {
                let sender = sender.clone();
                async move { Ok(sender.send(tick).await?) }
            })
        }))
    })
}
