//! Patterns over event types: `order.placed`, `order.*`, `order.>`, `*`.

use crate::{
    Error, EventType, Result,
    event_type::{MAX_LENGTH, MAX_TOKENS, Rule, is_token_byte},
};
use std::{fmt, hash, str::FromStr, sync::Arc};

/// A pattern over event types.
///
/// The tokens of an [`EventType`], and besides them `*`, which stands for exactly one token, and a final `>`, which stands for
/// one or more. A `*` alone means every event, as does `>`. A wildcard is a whole token: `order*` is refused.
///
/// ```
/// use eventbus_core::{EventType, Pattern};
/// let pattern: Pattern = "order.*".parse()?;
/// assert!(pattern.matches(&EventType::new("order.placed")?));
/// assert!(!pattern.matches(&EventType::new("order.item.added")?));
/// # Ok::<(), eventbus_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
}

/// One token of a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternToken<'a> {
    /// This very token.
    Literal(&'a str),
    /// `*`: any one token.
    One,
    /// `>`: one or more tokens. Always the last.
    Rest,
}

impl Pattern {
    /// Checks and takes over a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the value and the rule it breaks.
    pub fn new(pattern: impl AsRef<str>) -> Result<Self> {
        let text = pattern.as_ref();
        check(text).map_err(|fault| fault.into_error(text))?;
        Ok(Self { text: Arc::from(text) })
    }

    /// The pattern that matches every event.
    #[must_use]
    pub fn everything() -> Self {
        Self { text: Arc::from(">") }
    }

    /// The pattern that matches exactly one event type.
    #[must_use]
    pub fn exactly(event_type: &EventType) -> Self {
        Self { text: Arc::from(event_type.as_str()) }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this pattern matches every event, written either way.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(&*self.text, "*" | ">")
    }

    /// The event type, where the pattern has no wildcard.
    #[must_use]
    pub fn as_event_type(&self) -> Option<EventType> {
        EventType::new(&*self.text).ok()
    }

    /// The tokens. The one-token pattern `*` yields [`PatternToken::Rest`], which is what it means.
    pub fn tokens(&self) -> impl Iterator<Item = PatternToken<'_>> {
        let lone = self.is_everything();
        self.text.split('.').map(move |token| match token {
            ">" => PatternToken::Rest,
            "*" if lone => PatternToken::Rest,
            "*" => PatternToken::One,
            literal => PatternToken::Literal(literal),
        })
    }

    /// Whether `event_type` falls under this pattern.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        if self.is_everything() {
            return true;
        }
        let mut types = event_type.tokens();
        for token in self.text.split('.') {
            match (token, types.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(found)) if literal == found => {}
                _ => return false,
            }
        }
        types.next().is_none()
    }
}

enum Fault {
    Rule(Rule),
    RestNotLast,
    PartialWildcard,
}

impl Fault {
    fn into_error(self, text: &str) -> Error {
        let rule = match self {
            Self::Rule(rule) => return rule.into_error("pattern", text),
            Self::RestNotLast => "'>' may only be the last token",
            Self::PartialWildcard => "a wildcard is a whole token, as in 'order.*' or 'order.>'",
        };
        Error::invalid(format!("pattern {}: {rule}", crate::event_type::Excerpt(text)))
    }
}

fn check(text: &str) -> std::result::Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::Rule(Rule::Empty));
    }
    if text.len() > MAX_LENGTH {
        return Err(Fault::Rule(Rule::TooLong));
    }
    if text.split('.').count() > MAX_TOKENS {
        return Err(Fault::Rule(Rule::TooManyTokens));
    }
    let mut rest_seen = false;
    for token in text.split('.') {
        if rest_seen {
            return Err(Fault::RestNotLast);
        }
        match token {
            "" => return Err(Fault::Rule(Rule::EmptyToken)),
            ">" => rest_seen = true,
            "*" => {}
            literal if literal.bytes().all(is_token_byte) => {}
            literal if literal.bytes().all(|byte| is_token_byte(byte) || matches!(byte, b'*' | b'>')) => {
                return Err(Fault::PartialWildcard);
            }
            _ => return Err(Fault::Rule(Rule::Character)),
        }
    }
    Ok(())
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(pattern: &str) -> Result<Self> {
        Self::new(pattern)
    }
}

impl TryFrom<&str> for Pattern {
    type Error = Error;

    fn try_from(pattern: &str) -> Result<Self> {
        Self::new(pattern)
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(pattern: String) -> Result<Self> {
        Self::new(pattern)
    }
}

impl TryFrom<&String> for Pattern {
    type Error = Error;

    fn try_from(pattern: &String) -> Result<Self> {
        Self::new(pattern)
    }
}

impl From<EventType> for Pattern {
    fn from(event_type: EventType) -> Self {
        Self::exactly(&event_type)
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Patterns are equal when they match the same event types: `*` equals `>`.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || (self.is_everything() && other.is_everything())
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        canonical(self).cmp(canonical(other))
    }
}

impl hash::Hash for Pattern {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        canonical(self).hash(state);
    }
}

fn canonical(pattern: &Pattern) -> &str {
    if pattern.is_everything() { ">" } else { &pattern.text }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(&EventType::new(event_type).unwrap())
    }

    #[test]
    fn star_is_exactly_one_token() {
        assert!(matches("order.*", "order.placed"));
        assert!(matches("*.placed", "order.placed"));
        assert!(matches("*.*", "order.placed"));
        assert!(!matches("order.*", "order"));
        assert!(!matches("order.*", "order.item.added"));
        assert!(!matches("*.*", "order"));
    }

    #[test]
    fn rest_is_one_or_more_tokens() {
        assert!(matches("order.>", "order.placed"));
        assert!(matches("order.>", "order.item.added"));
        assert!(!matches("order.>", "order"));
        assert!(!matches("order.>", "orders.placed"));
        assert!(matches("*.item.>", "order.item.added"));
    }

    #[test]
    fn a_lone_star_and_a_lone_rest_match_everything_and_are_equal() {
        for event_type in ["order", "order.placed", "a.b.c.d"] {
            assert!(matches("*", event_type) && matches(">", event_type));
        }
        assert_eq!(Pattern::new("*").unwrap(), Pattern::new(">").unwrap());
        assert_eq!(Pattern::new("*").unwrap().as_str(), "*");
    }

    #[test]
    fn tokens_do_not_match_by_prefix() {
        assert!(!matches("order", "order.placed"));
        assert!(!matches("order.placed", "order"));
        assert!(!matches("ord", "order"));
    }

    #[test]
    fn a_rejection_names_the_value_and_the_rule() {
        for (pattern, rule) in [
            ("", "must not be empty"),
            (" ", "may hold only"),
            ("a..b", "two dots"),
            (".", "two dots"),
            (">.a", "last token"),
            ("a.>.b", "last token"),
            (">>", "whole token"),
            ("order*", "whole token"),
            ("a.b>", "whole token"),
            ("a.🙂", "may hold only"),
            ("a.\0", "may hold only"),
        ] {
            let text = Pattern::new(pattern).unwrap_err().to_string();
            assert!(text.contains(rule) && text.contains(&format!("{pattern:?}")), "{text}");
        }
        assert!(Pattern::new("a".repeat(256)).is_err());
        assert!(Pattern::new(["*"; 17].join(".")).is_err());
    }

    fn token() -> impl Strategy<Value = String> {
        "[abc]{1,2}"
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_naive_model(
            pattern in prop::collection::vec(prop_oneof![4 => token(), 2 => Just("*".to_owned())], 1..5),
            rest in any::<bool>(),
            event_type in prop::collection::vec(token(), 1..6),
        ) {
            let mut tokens = pattern;
            if rest { tokens.push(">".to_owned()); }
            let everything = tokens == ["*"];
            let model = everything || {
                let fixed = if rest { &tokens[..tokens.len() - 1] } else { &tokens[..] };
                let length_fits = if rest { event_type.len() > fixed.len() } else { event_type.len() == fixed.len() };
                length_fits && fixed.iter().zip(&event_type).all(|(p, t)| p == "*" || p == t)
            };
            let pattern = Pattern::new(tokens.join(".")).unwrap();
            prop_assert_eq!(pattern.matches(&EventType::new(event_type.join(".")).unwrap()), model);
        }

        #[test]
        fn every_event_type_is_a_pattern_that_matches_it_alone(tokens in prop::collection::vec("[A-Za-z0-9_:/@+~-]{1,6}", 1..6)) {
            let event_type = EventType::new(tokens.join(".")).unwrap();
            let pattern = Pattern::new(event_type.as_str()).unwrap();
            prop_assert!(pattern.matches(&event_type));
            prop_assert_eq!(pattern.as_event_type(), Some(event_type));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = Pattern::new(&text);
            let _ = EventType::new(&text);
        }
    }
}
