//! The data of what goes through a server.

use eventbus::EventData;
use serde::{Deserialize, Serialize};

/// A number, filled up to a size.
#[derive(Debug, Clone, Serialize, Deserialize, EventData, ruststream::Outgoing)]
#[event(type = "sample")]
pub struct Sample {
    number: u64,
    fill: String,
}

/// Makes all numbers equally long as text.
const BASE: u64 = 1_000_000_000;

impl Sample {
    /// The sample with this number, with exactly `size` bytes as JSON.
    #[must_use]
    pub fn new(number: u64, size: usize) -> Self {
        const BARE: usize = r#"{"number":1000000000,"fill":""}"#.len();
        Self { number: BASE + number, fill: "x".repeat(size.saturating_sub(BARE)) }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number - BASE
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// The sizes that are measured, with their names.
#[must_use]
pub fn sizes() -> [(&'static str, usize); 2] {
    [("256 B", 256), ("4 KiB", 4096)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_exactly_as_large_as_asked_for() {
        for (_, size) in sizes() {
            assert_eq!(Sample::new(7, size).json().unwrap().len(), size);
        }
    }
}
