//! Event types: dot-separated tokens such as `order.placed`.

use crate::{Error, Result};
use std::{fmt, str::FromStr, sync::Arc};

/// The most tokens an event type or a pattern may have.
pub const MAX_TOKENS: usize = 16;
/// The most bytes an event type or a pattern may have.
pub const MAX_LENGTH: usize = 255;

/// The type of an event: 1 to 16 tokens of `[A-Za-z0-9_:/@+~-]`, joined by dots, at most 255 bytes.
///
/// The rule is the same for every backend, and is chosen so that a type is a NATS subject, a Redis channel and a CloudEvents
/// `type` without being changed. Case is kept and compared.
///
/// ```
/// use eventbus_core::EventType;
/// let placed: EventType = "order.placed".parse()?;
/// assert_eq!(placed.tokens().collect::<Vec<_>>(), ["order", "placed"]);
/// assert!("order..placed".parse::<EventType>().is_err());
/// # Ok::<(), eventbus_core::Error>(())
/// ```
#[derive(Clone)]
pub struct EventType(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    Shared(Arc<str>),
}

impl EventType {
    /// Checks and takes over a type name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the value and the rule it breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check(name.as_bytes()).map_err(|rule| rule.into_error("event type", name))?;
        Ok(Self(Repr::Shared(Arc::from(name))))
    }

    /// A type known at compile time, without an allocation.
    ///
    /// # Panics
    /// If the name breaks a rule; in a `const` that is a compile error.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_valid_event_type(name), "an event type is 1 to 16 tokens of [A-Za-z0-9_:/@+~-], joined by dots, at most 255 bytes");
        Self(Repr::Static(name))
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(name) => name,
            Repr::Shared(name) => name,
        }
    }

    /// The tokens between the dots.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.as_str().split('.')
    }
}

/// Whether `name` is a valid [`EventType`], usable in `const` contexts.
#[must_use]
pub const fn is_valid_event_type(name: &str) -> bool {
    check(name.as_bytes()).is_ok()
}

/// The rule that a name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Empty,
    TooLong,
    TooManyTokens,
    EmptyToken,
    Character,
    Wildcard,
}

impl Rule {
    pub(crate) fn into_error(self, what: &'static str, value: &str) -> Error {
        let rule = match self {
            Self::Empty => "it must not be empty",
            Self::TooLong => "it may have at most 255 bytes",
            Self::TooManyTokens => "it may have at most 16 tokens",
            Self::EmptyToken => "it must not begin or end with a dot, nor have two dots in a row",
            Self::Character => "its tokens may hold only A-Z a-z 0-9 _ : / @ + ~ -",
            Self::Wildcard => "wildcards belong into patterns; an event type names one type",
        };
        Error::invalid(format!("{what} {}: {rule}", Excerpt(value)))
    }
}

/// A value as it may stand in an error message: escaped, and cut where it is long.
pub(crate) struct Excerpt<'a>(pub(crate) &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self.0.char_indices().nth(SHOWN) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'/' | b'@' | b'+' | b'~' | b'-')
}

const fn check(name: &[u8]) -> std::result::Result<(), Rule> {
    if name.is_empty() {
        return Err(Rule::Empty);
    }
    if name.len() > MAX_LENGTH {
        return Err(Rule::TooLong);
    }
    let (mut tokens, mut in_token, mut at) = (1, false, 0);
    while at < name.len() {
        match name[at] {
            b'.' if !in_token => return Err(Rule::EmptyToken),
            b'.' => {
                in_token = false;
                tokens += 1;
            }
            b'*' | b'>' => return Err(Rule::Wildcard),
            byte if is_token_byte(byte) => in_token = true,
            _ => return Err(Rule::Character),
        }
        at += 1;
    }
    if !in_token {
        return Err(Rule::EmptyToken);
    }
    if tokens > MAX_TOKENS {
        return Err(Rule::TooManyTokens);
    }
    Ok(())
}

impl FromStr for EventType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&str> for EventType {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for EventType {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&String> for EventType {
    type Error = Error;

    fn try_from(name: &String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<&EventType> for EventType {
    fn from(name: &EventType) -> Self {
        name.clone()
    }
}

impl AsRef<str> for EventType {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::borrow::Borrow<str> for EventType {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EventType {}

impl PartialEq<str> for EventType {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for EventType {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for EventType {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventType {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for EventType {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(name: &str) -> String {
        EventType::new(name).unwrap_err().to_string()
    }

    #[test]
    fn every_character_of_the_alphabet_is_accepted_and_kept() {
        for name in ["a", "order.placed", "A-Z_0.9:/@+~-x", "com.example:v1/orders@eu"] {
            assert_eq!(EventType::new(name).unwrap(), name);
        }
    }

    #[test]
    fn the_limits_are_inclusive() {
        assert!(EventType::new("a".repeat(255)).is_ok());
        assert!(EventType::new("a".repeat(256)).is_err());
        assert!(EventType::new(["a"; 16].join(".")).is_ok());
        assert!(EventType::new(["a"; 17].join(".")).is_err());
    }

    #[test]
    fn a_rejection_names_the_value_and_the_rule() {
        assert!(rejection("").contains("must not be empty"));
        assert!(rejection("a..b").contains("two dots"));
        assert!(rejection(".a").contains("begin"));
        assert!(rejection("a.").contains("end"));
        assert!(rejection("a.*").contains("wildcards"));
        assert!(rejection(">").contains("wildcards"));
        for name in [" ", "a b", "a\0", "a\r\nb", "größe", "🙂", "a,b"] {
            let text = rejection(name);
            assert!(text.contains("may hold only") && text.contains(&format!("{name:?}")), "{text}");
        }
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let text = rejection(&"é".repeat(10_000));
        assert!(text.len() < 400 && text.contains("20000 bytes"), "{text}");
    }

    #[test]
    fn static_and_parsed_types_are_equal() {
        const PLACED: EventType = EventType::from_static("order.placed");
        assert_eq!(PLACED, EventType::new("order.placed").unwrap());
    }
}
