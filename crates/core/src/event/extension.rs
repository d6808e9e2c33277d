//! Extension attributes: what CloudEvents allows beyond the attributes that [`Event`](crate::Event) names.

use crate::{Error, Result, event::rules, event_type::Excerpt};
use std::{collections::BTreeMap, fmt};

/// Extension attributes by name.
pub(crate) type Extensions = BTreeMap<Box<str>, ExtensionValue>;

/// The value of an extension attribute.
///
/// CloudEvents also knows URI, timestamp and binary values; on the wire they are strings and are kept as such. Values are equal
/// when their canonical strings are, because a binary-mode transport carries nothing else: `5` read from JSON equals `"5"` read
/// from a header.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ExtensionValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A signed 32-bit number.
    Integer(i32),
    /// A string without control characters.
    String(Box<str>),
}

impl ExtensionValue {
    /// The number, where this is one or spells one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i32> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::String(text) => text.parse().ok(),
            Self::Boolean(_) => None,
        }
    }

    /// The text, where this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Boolean(_) | Self::Integer(_) => None,
        }
    }

    pub(crate) fn check(&self, name: &str) -> Result<()> {
        self.as_str().map_or(Ok(()), |text| rules::text(name, text))
    }
}

impl PartialEq for ExtensionValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl Eq for ExtensionValue {}

impl fmt::Display for ExtensionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => fmt::Display::fmt(value, f),
            Self::Integer(value) => fmt::Display::fmt(value, f),
            Self::String(value) => f.pad(value),
        }
    }
}

impl From<bool> for ExtensionValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for ExtensionValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for ExtensionValue {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for ExtensionValue {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

/// The longest extension name that is written. Longer ones are read.
pub(crate) const WRITTEN_NAME: usize = 20;

/// Checks the name of an attribute as it is read: `[a-z0-9]+`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "it must not be empty"
    } else if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        "it may hold only a-z and 0-9"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("attribute name {}: {rule}", Excerpt(name))))
}

/// Checks the name of an extension that the caller sets: also not longer than 20, and not the name of something else.
pub(crate) fn check_own_name(name: &str) -> Result<()> {
    check_name(name)?;
    if name.len() > WRITTEN_NAME {
        return Err(Error::invalid(format!("attribute name {}: it may have at most {WRITTEN_NAME} characters", Excerpt(name))));
    }
    if crate::cloudevents::is_reserved(name) {
        return Err(Error::invalid(format!(
            "attribute name {name:?}: it has a method or field of its own and cannot be set as an extension"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_by_their_canonical_string() {
        assert_eq!(ExtensionValue::from(5), ExtensionValue::from("5"));
        assert_eq!(ExtensionValue::from(true), ExtensionValue::from("true"));
        assert_ne!(ExtensionValue::from(5), ExtensionValue::from("05"));
    }

    #[test]
    fn names_are_lower_case_letters_and_digits() {
        assert!(check_own_name("region2").is_ok());
        for (name, rule) in [
            ("", "empty"),
            ("Region", "a-z"),
            ("my-ext", "a-z"),
            ("é", "a-z"),
            ("id", "own"),
            ("data", "own"),
            ("userid", "own"),
            (&"a".repeat(21), "at most 20"),
        ] {
            let error = check_own_name(name).unwrap_err().to_string();
            assert!(error.contains(rule), "{name}: {error}");
        }
        assert!(check_name(&"a".repeat(60)).is_ok());
    }
}
