//! What a trial came to, as a table and as a verdict.

use std::fmt;

#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) server: String,
    pub(crate) rows: Vec<(&'static str, String)>,
    /// What is wrong, if anything.
    pub(crate) faults: Vec<String>,
}

impl Findings {
    /// Notes a fault unless it is fine.
    pub(crate) fn unless(&mut self, fine: bool, fault: String) {
        if !fine {
            self.faults.push(fault);
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.faults.is_empty() { "passed".to_owned() } else { format!("FAILED: {}", self.faults.join("; ")) };
        writeln!(f, "{}", self.server)?;
        self.rows.iter().chain(&[("verdict", verdict)]).try_for_each(|(name, value)| writeln!(f, "  {name:<21} {value}"))
    }
}

/// Bytes as they are shown.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
