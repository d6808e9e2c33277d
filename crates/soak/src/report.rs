//! What came of it, as a table and as a verdict.

use crate::{ledger::Judgement, memory::Trend};
use std::{fmt, time::Duration};

/// What came of one backend.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) server: String,
    pub(crate) length: Duration,
    pub(crate) stopped: u32,
    pub(crate) killed: u32,
    pub(crate) published: u32,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) dead_letters: Option<u64>,
    pub(crate) slowest: Duration,
    pub(crate) judgement: Judgement,
    pub(crate) own_memory: Option<Trend>,
    pub(crate) server_memory: Option<Trend>,
}

impl Report {
    /// What is wrong, if anything.
    pub(crate) fn faults(&self) -> Vec<String> {
        let Judgement { lost, out_of_order, strangers, .. } = self.judgement;
        let mut faults = Vec::new();
        let mut unless = |fine: bool, fault: String| {
            if !fine {
                faults.push(fault);
            }
        };
        unless(lost == 0, format!("{lost} acknowledged events were lost"));
        unless(out_of_order == 0, format!("{out_of_order} events were handled out of order"));
        unless(strangers == 0, format!("{strangers} deliveries were of events that nobody published"));
        unless(self.dead_letters.unwrap_or_default() == 0, format!("{:?} events became dead letters", self.dead_letters));
        unless(self.judgement.acknowledged > 0, "nothing was acknowledged".to_owned());
        for (whose, trend) in [("this process", self.own_memory), ("the server", self.server_memory)] {
            unless(trend.is_none_or(Trend::is_flat), format!("the memory of {whose} grew"));
        }
        faults
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judgement { acknowledged, handled, lost, duplicates, out_of_order, .. } = self.judgement;
        let faults = self.faults();
        let rows = [
            ("time", format!("{:.1} minutes", self.length.as_secs_f64() / 60.0)),
            ("restarts", format!("{} graceful, {} by SIGKILL", self.stopped, self.killed)),
            ("published", format!("{}, of which {acknowledged} acknowledged and {} failed", self.published, self.failed)),
            ("slowest publish", format!("{:.1} s", self.slowest.as_secs_f64())),
            ("handled", format!("{handled}; {} more deliveries failed on purpose and came again", self.refused)),
            ("lost", lost.to_string()),
            ("handled twice", duplicates.to_string()),
            ("out of order", out_of_order.to_string()),
            ("dead letters", self.dead_letters.map_or_else(|| "not kept".to_owned(), |letters| letters.to_string())),
            ("memory here", told(self.own_memory)),
            ("memory of the server", told(self.server_memory)),
            ("verdict", if faults.is_empty() { "passed".to_owned() } else { format!("FAILED: {}", faults.join("; ")) }),
        ];
        writeln!(f, "{}", self.server)?;
        rows.iter().try_for_each(|(name, value)| writeln!(f, "  {name:<21} {value}"))
    }
}

fn told(trend: Option<Trend>) -> String {
    let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    trend.map_or_else(
        || "not measured".to_owned(),
        |Trend { first, last, most }| format!("{:.1} MiB early, {:.1} MiB late, {:.1} MiB at most", mb(first), mb(last), mb(most)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(judgement: Judgement, own_memory: Option<Trend>) -> Report {
        let (length, slowest) = (Duration::from_secs(60), Duration::ZERO);
        let server = "a server".to_owned();
        let (stopped, killed, published, failed, refused) = (1, 1, 10, 0, 0);
        Report {
            server,
            length,
            stopped,
            killed,
            published,
            failed,
            refused,
            dead_letters: Some(0),
            slowest,
            judgement,
            own_memory,
            server_memory: None,
        }
    }

    #[test]
    fn a_loss_and_growth_are_faults_and_duplicates_are_none() {
        let fine = Judgement { acknowledged: 10, handled: 10, duplicates: 3, ..Judgement::default() };
        assert_eq!(report(fine, None).faults(), Vec::<String>::new());
        let grown = Trend { first: 50 << 20, last: 90 << 20, most: 90 << 20 };
        let told = report(Judgement { lost: 2, ..fine }, Some(grown)).to_string();
        assert!(told.contains("FAILED: 2 acknowledged events were lost; the memory of this process grew"), "{told}");
    }
}
