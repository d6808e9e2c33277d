//! How the values of options are read. Each mistake names the rule; the argument parser adds the option and the value.

use eventbus::{EventType, MAX_DURATION, Pattern, Start, Timestamp};
use std::time::Duration;

pub(crate) fn event_type(text: &str) -> Result<EventType, String> {
    EventType::new(text).map_err(|error| error.message().to_owned())
}

pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.message().to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let rule = "it must be a duration such as 500ms, 30s or 2m, from 1ms to 30d";
    let parsed = humantime::parse_duration(text).map_err(|_| rule.to_owned())?;
    if (Duration::from_millis(1)..=MAX_DURATION).contains(&parsed) { Ok(parsed) } else { Err(rule.to_owned()) }
}

pub(crate) fn start(text: &str) -> Result<Start, String> {
    match text {
        "new" => return Ok(Start::New),
        "earliest" => return Ok(Start::Earliest),
        _ => {}
    }
    if let Ok(sequence) = text.parse::<u64>() {
        return if sequence > 0 {
            Ok(Start::Sequence(sequence))
        } else {
            Err("sequences start at 1; for the oldest event write earliest".to_owned())
        };
    }
    Timestamp::parse(text)
        .map(Start::Time)
        .map_err(|_| "it must be new, earliest, a sequence such as 42, or a time such as 2026-01-31T12:00:00Z (RFC 3339)".to_owned())
}

/// `name=value`.
pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be name=value".to_owned()),
    }
}

/// A name that must say something.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_a_number_or_a_time() {
        assert_eq!(start("new"), Ok(Start::New));
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("42"), Ok(Start::Sequence(42)));
        assert!(matches!(start("2026-01-31T12:00:00Z"), Ok(Start::Time(_))));
        assert!(start("0").unwrap_err().contains("start at 1"));
        for bad in ["", "latest", "-1", "2026-01-31", "99999999999999999999999"] {
            assert!(start(bad).unwrap_err().contains("earliest"), "{bad}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_bounds() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "0s", "1ns", "31d", "-1s", "soon"] {
            assert!(duration(bad).unwrap_err().contains("30s"), "{bad}");
        }
    }

    #[test]
    fn an_attribute_has_a_name() {
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(attribute("a="), Ok(("a".to_owned(), String::new())));
        assert!(attribute("a").is_err() && attribute("=b").is_err());
    }
}
