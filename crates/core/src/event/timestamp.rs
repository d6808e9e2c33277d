//! Points in time as RFC 3339 writes them.

use crate::{Error, Result, event_type::Excerpt};
use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// When an event happened.
///
/// Written and read as RFC 3339 (section 5.6). What was read is written again letter by letter, so an offset and the number of
/// fractional digits survive. Timestamps are equal when they are the same instant.
#[derive(Clone)]
pub struct Timestamp {
    at: SystemTime,
    text: Option<Arc<str>>,
}

impl Timestamp {
    /// The system's time now.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Reads RFC 3339, keeping the text.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the text is not RFC 3339.
    pub fn parse(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|fault| {
            Error::invalid(format!("time {}: it must be RFC 3339, as in 2026-01-31T12:00:00Z", Excerpt(text))).caused_by(fault)
        })?;
        Ok(Self { at: parsed.into(), text: Some(Arc::from(text)) })
    }

    /// The instant, without offset and precision.
    #[must_use]
    pub fn to_system_time(&self) -> SystemTime {
        self.at
    }

    /// How long ago this was, or zero where it lies in the future.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        Self { at, text: None }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.at
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.pad(text),
            None => f.pad(&OffsetDateTime::from(self.at).format(&Rfc3339).map_err(|_| fmt::Error)?),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_precision_survive() {
        for text in ["2021-08-19T12:16:32.000-04:00", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.100+05:30"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn equality_is_of_the_instant() {
        assert_eq!(Timestamp::parse("2026-01-31T12:00:00+02:00").unwrap(), Timestamp::parse("2026-01-31T10:00:00.0Z").unwrap());
    }

    #[test]
    fn now_survives_its_own_text() {
        let now = Timestamp::now();
        assert_eq!(Timestamp::parse(now.to_string()).unwrap(), now);
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused_by_name() {
        for text in
            ["", "yesterday", "2026-01-31", "2026-01-31 12:00", "2026-02-30T00:00:00Z", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z"]
        {
            let error = Timestamp::parse(text).unwrap_err().to_string();
            assert!(error.contains("RFC 3339") && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
