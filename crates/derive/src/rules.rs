//! What an event type may be, so that the error stands where the mistake is and says which rule it breaks.
//!
//! The rule itself is `eventbus_core`'s, which this crate cannot call. What is generated asks it again, and a test holds the two together.

use syn::{Error, LitStr, Result};

const MAX_TOKENS: usize = 16;
const MAX_LENGTH: usize = 255;

pub(crate) fn check_event_type(event_type: &LitStr) -> Result<()> {
    match broken_rule(&event_type.value()) {
        None => Ok(()),
        Some(rule) => Err(Error::new(event_type.span(), format!("{rule}: write something like type = \"order.placed\""))),
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:/@+~-.".contains(&byte);
    if name.is_empty() {
        return Some("an event type must not be empty");
    }
    if name.contains(['*', '>']) {
        return Some("an event type names one type; the wildcards * and > belong in the patterns of subscriptions");
    }
    if !name.bytes().all(is_allowed) {
        return Some("the tokens of an event type may hold only A-Z a-z 0-9 _ : / @ + ~ -");
    }
    if name.split('.').any(str::is_empty) {
        return Some("an event type must not begin or end with a dot, nor have two dots in a row");
    }
    if name.split('.').count() > MAX_TOKENS {
        return Some("an event type may have at most 16 tokens");
    }
    (name.len() > MAX_LENGTH).then_some("an event type may have at most 255 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_that_of_the_bus() {
        let (longest, too_long) = ("a".repeat(MAX_LENGTH), "a".repeat(MAX_LENGTH + 1));
        let (most, too_many) = (["a"; MAX_TOKENS].join("."), ["a"; MAX_TOKENS + 1].join("."));
        let mut names: Vec<String> = (0..=0x17f).filter_map(char::from_u32).map(|c| format!("a{c}b")).collect();
        names.extend(["", ".", ".a", "a.", "a..b", "a.b", "*", ">", "a.*", "🙂"].map(str::to_owned));
        names.extend([longest, too_long, most, too_many]);
        for name in names {
            assert_eq!(broken_rule(&name).is_none(), eventbus::is_valid_event_type(&name), "{name:?}");
        }
    }
}
