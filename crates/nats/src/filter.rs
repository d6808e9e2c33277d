//! Which part of a subscription's patterns the server can filter by, and which is left to us.

use eventbus_core::{EventType, Pattern, PatternToken};

/// The subjects that a consumer is asked for. None means everything.
///
/// A server refuses subjects that overlap: one that another one covers is left out. Where two of them overlap in part, or the server takes
/// only one, a wider one stands for all of them.
pub(crate) fn subjects(prefix: &str, patterns: &[Pattern], several: bool) -> Vec<String> {
    let least = needed(patterns);
    if least.iter().any(|pattern| pattern.is_everything()) {
        return Vec::new();
    }
    if least.len() == 1 || several && are_apart(&least) {
        return least.iter().map(|pattern| format!("{prefix}.{pattern}")).collect();
    }
    let common = common_start(&least);
    if common.is_empty() { Vec::new() } else { vec![format!("{prefix}.{}.>", common.join("."))] }
}

/// Whether a server that takes several subjects can be asked for exactly what the patterns want.
pub(crate) fn is_narrow(patterns: &[Pattern]) -> bool {
    let least = needed(patterns);
    least.iter().any(|pattern| pattern.is_everything()) || are_apart(&least)
}

fn are_apart(patterns: &[&Pattern]) -> bool {
    patterns.iter().enumerate().all(|(at, one)| patterns[at + 1..].iter().all(|other| !overlap(one, other)))
}

/// The patterns without those that another one covers.
fn needed(patterns: &[Pattern]) -> Vec<&Pattern> {
    let is_covered = |at: usize, pattern: &Pattern| {
        patterns
            .iter()
            .enumerate()
            .any(|(other_at, other)| other_at != at && covers(other, pattern) && (!covers(pattern, other) || other_at < at))
    };
    patterns.iter().enumerate().filter(|(at, pattern)| !is_covered(*at, pattern)).map(|(_, pattern)| pattern).collect()
}

/// The tokens that all of them begin with, and after which all of them go on.
fn common_start<'a>(patterns: &[&'a Pattern]) -> Vec<&'a str> {
    let Some(first) = patterns.first() else { return Vec::new() };
    let mut common = Vec::new();
    for (at, token) in first.tokens().enumerate() {
        let PatternToken::Literal(literal) = token else { break };
        let goes_on =
            |pattern: &&Pattern| pattern.tokens().nth(at) == Some(PatternToken::Literal(literal)) && pattern.tokens().nth(at + 1).is_some();
        if !patterns.iter().all(goes_on) {
            break;
        }
        common.push(literal);
    }
    common
}

/// Whether one pattern matches all that another one matches.
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let mut narrow = narrow.tokens();
    for token in wide.tokens() {
        match (token, narrow.next()) {
            (PatternToken::Rest, Some(_)) => return true,
            (PatternToken::One, Some(PatternToken::One | PatternToken::Literal(_))) => {}
            (PatternToken::Literal(wide), Some(PatternToken::Literal(narrow))) if wide == narrow => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Whether there is an event type that both match.
fn overlap(one: &Pattern, other: &Pattern) -> bool {
    let (mut one, mut other) = (one.tokens(), other.tokens());
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(PatternToken::Rest), Some(_)) | (Some(_), Some(PatternToken::Rest)) => return true,
            (Some(PatternToken::Literal(one)), Some(PatternToken::Literal(other))) if one != other => return false,
            (Some(_), Some(_)) => {}
            _ => return false,
        }
    }
}

/// What is left to us of filtering.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    prefix: String,
    /// Empty where the server does all of it.
    patterns: Vec<Pattern>,
}

impl Filter {
    pub(crate) fn new(prefix: &str, patterns: &[Pattern], by_server: bool) -> Self {
        Self { prefix: format!("{prefix}."), patterns: if by_server { Vec::new() } else { patterns.to_vec() } }
    }

    /// What a subject says of an event's type.
    pub(crate) fn filed_under<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)
    }

    /// Whether the subscription wants what came under a subject.
    pub(crate) fn wants(&self, subject: &str) -> bool {
        if self.patterns.is_empty() || self.patterns.iter().any(Pattern::is_everything) {
            return true;
        }
        let filed = self.filed_under(subject).and_then(|name| EventType::new(name).ok());
        filed.is_some_and(|event_type| self.patterns.iter().any(|pattern| pattern.matches(&event_type)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(patterns: &[&str]) -> Vec<Pattern> {
        patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect()
    }

    #[test]
    fn a_server_gets_subjects_that_do_not_overlap() {
        for (wanted, expected) in [
            (vec!["a"], vec!["p.a"]),
            (vec!["*"], vec![]),
            (vec!["a", ">"], vec![]),
            (vec!["a.*", "b"], vec!["p.a.*", "p.b"]),
            (vec!["a.*", "a.x", "a.>"], vec!["p.a.>"]),
            (vec!["a.*", "*.b"], vec![]),
            (vec!["a.b.*", "a.*.c"], vec!["p.a.>"]),
            (vec!["a.b", "a.b"], vec!["p.a.b"]),
            (vec!["a.*.c", "a.b.d"], vec!["p.a.*.c", "p.a.b.d"]),
        ] {
            assert_eq!(subjects("p", &patterns(&wanted), true), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_server_that_takes_one_subject_gets_one_that_covers_all() {
        for (wanted, expected) in
            [(vec!["a.x", "a.y"], vec!["p.a.>"]), (vec!["a", "a.x"], vec![]), (vec!["a", "b"], vec![]), (vec!["a.x", "a.*"], vec!["p.a.*"])]
        {
            assert_eq!(subjects("p", &patterns(&wanted), false), expected, "{wanted:?}");
        }
    }

    #[test]
    fn what_the_server_lets_through_is_filtered_here() {
        let filter = Filter::new("p", &patterns(&["a.*", "b"]), false);
        for (subject, wanted) in [("p.a.x", true), ("p.b", true), ("p.a", false), ("p.a.x.y", false), ("q.b", false), ("p.größe", false)]
        {
            assert_eq!(filter.wants(subject), wanted, "{subject}");
        }
        assert!(Filter::new("p", &patterns(&["a"]), true).wants("p.größe"), "what the server has chosen is taken");
        assert!(Filter::new("p", &patterns(&[">"]), false).wants("p.größe"));
    }
}
