//! What came of restarts.

use crate::{
    findings::{Findings, mib},
    ledger::Judgement,
    memory::Trend,
};
use std::time::Duration;

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
    pub(crate) fn findings(self) -> Findings {
        let Judgement { acknowledged, handled, lost, duplicates, out_of_order, strangers } = self.judgement;
        let rows = vec![
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
        ];
        let mut findings = Findings { server: self.server, rows, faults: Vec::new() };
        findings.unless(lost == 0, format!("{lost} acknowledged events were lost"));
        findings.unless(out_of_order == 0, format!("{out_of_order} events were handled out of order"));
        findings.unless(strangers == 0, format!("{strangers} deliveries were of events that nobody published"));
        findings.unless(self.dead_letters.unwrap_or_default() == 0, format!("{:?} events became dead letters", self.dead_letters));
        findings.unless(acknowledged > 0, "nothing was acknowledged".to_owned());
        for (whose, trend) in [("this process", self.own_memory), ("the server", self.server_memory)] {
            findings.unless(trend.is_none_or(Trend::is_flat), format!("the memory of {whose} grew"));
        }
        findings
    }
}

fn told(trend: Option<Trend>) -> String {
    trend.map_or_else(
        || "not measured".to_owned(),
        |Trend { first, last, most }| format!("{} early, {} late, {} at most", mib(first), mib(last), mib(most)),
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
        assert_eq!(report(fine, None).findings().faults, Vec::<String>::new());
        let grown = Trend { first: 50 << 20, last: 90 << 20, most: 90 << 20 };
        let told = report(Judgement { lost: 2, ..fine }, Some(grown)).findings().to_string();
        assert!(told.contains("FAILED: 2 acknowledged events were lost; the memory of this process grew"), "{told}");
    }
}
