//! What a measurement comes to, with what exactly was measured.

use crate::{
    args::BenchArgs,
    commands::{doctor::short, publish::plural},
    exit::Outcome,
    output::Output,
};
use hdrhistogram::Histogram;
use serde_json::json;
use std::time::Duration;

/// A round that went as fast as the bus could.
#[derive(Debug)]
pub(super) struct Throughput {
    pub(super) published: u64,
    /// Until all were acknowledged.
    pub(super) published_in: Duration,
    pub(super) delivered: u64,
    /// From the first publish until the last delivery.
    pub(super) delivered_in: Duration,
    pub(super) missing: u64,
    pub(super) repeated: u64,
    pub(super) each_once: bool,
}

impl Throughput {
    pub(super) fn published_per_second(&self) -> f64 {
        per_second(self.published, self.published_in)
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

pub(super) struct Report<'a> {
    pub(super) url: String,
    pub(super) backend: &'static str,
    pub(super) args: &'a BenchArgs,
    pub(super) throughput: Throughput,
    /// How many events the latency was measured with, and at which rate.
    pub(super) calm: u64,
    pub(super) rate: f64,
    pub(super) latency: Histogram<u64>,
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

impl Report<'_> {
    pub(super) fn print(&self, out: &mut Output) -> Outcome<()> {
        if out.json() {
            return out.document(&self.document());
        }
        let (paint, throughput) = (out.paint(), &self.throughput);
        let BenchArgs { size, count, publishers, subscribers } = *self.args;
        let named = |number: u32, noun| format!("{number} {}", plural(u64::from(number), noun));
        let mut fact = |name: &str, value: String| out.line(format_args!("{} {value}", paint.bold(format_args!("{name:<10}"))));
        fact("bus", format!("{} ({})", self.url, self.backend))?;
        fact(
            "measured",
            format!(
                "{count} {} of {size} bytes, {}, {}{}; building and decoding them is part of it",
                plural(count, "event"),
                named(publishers, "publisher"),
                named(subscribers, "subscriber"),
                if subscribers == 1 { "" } else { " that each get every event" },
            ),
        )?;
        let line = |rate: f64, what: String, time: Duration| format!("{:>12} events/s   {what} in {}", grouped(rate as u64), short(time));
        fact(
            "published",
            line(throughput.published_per_second(), format!("{} acknowledged", throughput.published), throughput.published_in),
        )?;
        let expected = throughput.published * u64::from(subscribers);
        let whole = match throughput {
            Throughput { each_once: true, .. } => "each once".to_owned(),
            Throughput { missing, repeated, .. } => format!("{missing} missing, {repeated} repeated"),
        };
        let delivered = format!("{} of {expected}, {whole},", throughput.delivered);
        fact("delivered", line(per_second(throughput.delivered, throughput.delivered_in), delivered, throughput.delivered_in))?;
        let quantiles: Vec<String> =
            QUANTILES.iter().map(|(name, quantile)| format!("{name} {}", short(self.quantile(*quantile)))).collect();
        fact("latency", format!("{}  max {}", quantiles.join("  "), short(Duration::from_nanos(self.latency.max()))))?;
        let samples = self.latency.len();
        fact("", format!("from before publish to its handler, {samples} {} at {:.0} events/s", plural(samples, "sample"), self.rate))
    }

    fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    fn document(&self) -> serde_json::Value {
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1e3;
        let mut latency: serde_json::Map<_, _> =
            QUANTILES.iter().map(|(name, quantile)| ((*name).to_owned(), micros(self.quantile(*quantile)).into())).collect();
        latency.insert("max".to_owned(), micros(Duration::from_nanos(self.latency.max())).into());
        let throughput = &self.throughput;
        json!({
            "url": self.url,
            "backend": self.backend,
            "size": self.args.size,
            "count": self.args.count,
            "publishers": self.args.publishers,
            "subscribers": self.args.subscribers,
            "published": throughput.published,
            "published_seconds": throughput.published_in.as_secs_f64(),
            "published_per_second": throughput.published_per_second(),
            "delivered": throughput.delivered,
            "delivered_seconds": throughput.delivered_in.as_secs_f64(),
            "delivered_per_second": per_second(throughput.delivered, throughput.delivered_in),
            "missing": throughput.missing,
            "repeated": throughput.repeated,
            "each_once": throughput.each_once,
            "latency_us": latency,
            "latency_samples": self.latency.len(),
            "latency_events": self.calm,
            "latency_events_per_second": self.rate,
        })
    }
}

/// A number with a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
