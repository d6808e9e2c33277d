//! Patterns, event types, and the table that routes by them.

use eventbus_core::{ErrorKind, EventType, Pattern, is_valid_event_type};
use eventbus_runtime::Router;

/// Patterns, one for each line, and on the last line an event type. Returns whether all were accepted.
///
/// # Panics
/// Where a promise is broken.
pub fn pattern(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let mut lines: Vec<_> = text.split('\n').collect();
    let name = lines.pop().unwrap_or_default();
    let event_type = check_event_type(name);
    let expected = lines.len();
    let patterns: Vec<_> = lines.into_iter().filter_map(check_pattern).collect();
    if let Some(event_type) = &event_type {
        check_matching(&patterns, event_type);
    }
    event_type.is_some() && patterns.len() == expected
}

fn check_event_type(name: &str) -> Option<EventType> {
    let parsed = EventType::new(name);
    assert_eq!(parsed.is_ok(), is_valid_event_type(name), "{name:?}");
    assert_eq!(parsed.is_ok(), rule_allows(name, is_literal), "{name:?}");
    let event_type = parsed.inspect_err(|error| assert_eq!(error.kind(), ErrorKind::Invalid)).ok()?;
    assert_eq!(event_type.to_string(), name);
    let exact = Pattern::new(name).expect("an event type is a pattern");
    assert!(exact.matches(&event_type));
    assert_eq!(exact.as_event_type().as_ref(), Some(&event_type));
    Some(event_type)
}

fn check_pattern(text: &str) -> Option<Pattern> {
    let parsed = Pattern::new(text);
    let inner = text.strip_suffix(".>").unwrap_or(text);
    let allowed = text.len() <= 255 && text.split('.').count() <= 16;
    let allowed = allowed && (text == ">" || rule_allows(inner, |token| token == "*" || is_literal(token)));
    assert_eq!(parsed.is_ok(), allowed, "{text:?}");
    let pattern = parsed.inspect_err(|error| assert_eq!(error.kind(), ErrorKind::Invalid)).ok()?;
    assert_eq!(pattern.to_string(), text);
    assert_eq!(pattern.to_string().parse::<Pattern>().as_ref().ok(), Some(&pattern));
    assert_eq!(pattern.as_event_type().is_some(), !text.contains(['*', '>']));
    Some(pattern)
}

/// The table finds what the patterns say, and what they say is what a plain reading of the rule says.
fn check_matching(patterns: &[Pattern], event_type: &EventType) {
    let types: Vec<_> = event_type.as_str().split('.').collect();
    let mut router = Router::new();
    for (number, pattern) in patterns.iter().enumerate() {
        let tokens: Vec<_> = pattern.as_str().split('.').collect();
        let reference = tokens == ["*"] || matches(&tokens, &types);
        assert_eq!(pattern.matches(event_type), reference, "{pattern} {event_type}");
        router.insert(pattern, number);
    }
    let expected = |first: usize, step: usize| -> Vec<usize> {
        (first..patterns.len()).step_by(step).filter(|&number| patterns[number].matches(event_type)).collect()
    };
    assert_eq!(router.matching(event_type), expected(0, 1), "{patterns:?} {event_type}");
    for number in (0..patterns.len()).step_by(2) {
        router.remove(&patterns[number], number);
    }
    assert_eq!(router.matching(event_type), expected(1, 2), "{patterns:?} {event_type}, after removing every other");
}

/// The rule, read plainly.
fn matches(pattern: &[&str], types: &[&str]) -> bool {
    match (pattern, types) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, types @ ..]) => matches(pattern, types),
        ([literal, pattern @ ..], [found, types @ ..]) => literal == found && matches(pattern, types),
        _ => false,
    }
}

fn rule_allows(text: &str, token: impl Fn(&str) -> bool) -> bool {
    text.len() <= 255 && text.split('.').count() <= 16 && text.split('.').all(token)
}

fn is_literal(token: &str) -> bool {
    !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric() || "_:/@+~-".contains(c))
}
