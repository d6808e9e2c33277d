//! Which subscriptions an event type concerns, without looking at those it does not.

use eventbus_core::{EventType, Pattern, PatternToken};
use std::collections::HashMap;

/// A trie over the tokens of patterns. Finding what matches costs as much as there are tokens and matches, however many patterns there are.
#[derive(Debug)]
pub struct Router<T> {
    root: Node<T>,
}

/// Small, since a process may have very many.
#[derive(Debug)]
struct Node<T> {
    /// What patterns are for that end here.
    ends: Vec<(End, T)>,
    /// What follows a `*`.
    one: Option<Box<Node<T>>>,
    literals: Option<Box<Literals<T>>>,
}

type Literals<T> = HashMap<Box<str>, Node<T>, foldhash::fast::RandomState>;

/// How a pattern ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the tokens before it.
    Here,
    /// With `>`.
    Rest,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), one: None, literals: None }
    }
}

impl<T: Copy> Node<T> {
    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.one.is_none() && self.literals.is_none()
    }

    fn add(&mut self, end: End, target: T) {
        if self.ends.is_empty() {
            self.ends.reserve_exact(1);
        }
        self.ends.push((end, target));
    }

    fn ending(&self, with: End) -> impl Iterator<Item = T> {
        self.ends.iter().filter(move |(end, _)| *end == with).map(|(_, target)| *target)
    }
}

impl<T: Copy + Ord> Router<T> {
    /// An empty router.
    #[must_use]
    pub fn new() -> Self {
        Self { root: Node::default() }
    }

    /// Adds a target under a pattern.
    pub fn insert(&mut self, pattern: &Pattern, target: T) {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            node = match token {
                PatternToken::Literal(token) => node.literals.get_or_insert_default().entry(token.into()).or_default(),
                PatternToken::One => node.one.get_or_insert_default(),
                _ => return node.add(End::Rest, target),
            };
        }
        node.add(End::Here, target);
    }

    /// Removes a target from under a pattern, and every node that is then needless.
    pub fn remove(&mut self, pattern: &Pattern, target: T) {
        let tokens: Vec<_> = pattern.tokens().collect();
        remove(&mut self.root, &tokens, target);
    }

    /// The targets whose patterns match, sorted, each once.
    #[must_use]
    pub fn matching(&self, event_type: &EventType) -> Vec<T> {
        let tokens: Vec<_> = event_type.tokens().collect();
        let mut found = Vec::new();
        collect(&self.root, &tokens, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<T: Copy + Ord> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn remove<T: Copy + PartialEq>(node: &mut Node<T>, tokens: &[PatternToken<'_>], target: T) {
    let end = match tokens {
        [PatternToken::Literal(token), tail @ ..] => {
            let Some(literals) = &mut node.literals else { return };
            if let Some(next) = literals.get_mut(*token) {
                remove(next, tail, target);
                if next.is_empty() {
                    literals.remove(*token);
                }
            }
            if literals.is_empty() {
                node.literals = None;
            }
            return;
        }
        [PatternToken::One, tail @ ..] => {
            if let Some(next) = &mut node.one {
                remove(next, tail, target);
                if next.is_empty() {
                    node.one = None;
                }
            }
            return;
        }
        [] => End::Here,
        _ => End::Rest,
    };
    if let Some(at) = node.ends.iter().position(|held| *held == (end, target)) {
        node.ends.swap_remove(at);
    }
}

fn collect<T: Copy>(node: &Node<T>, tokens: &[&str], found: &mut Vec<T>) {
    let Some((token, tail)) = tokens.split_first() else {
        found.extend(node.ending(End::Here));
        return;
    };
    found.extend(node.ending(End::Rest));
    if let Some(next) = &node.one {
        collect(next, tail, found);
    }
    if let Some(next) = node.literals.as_ref().and_then(|literals| literals.get(*token)) {
        collect(next, tail, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router(patterns: &[&str]) -> Router<usize> {
        let mut router = Router::new();
        for (target, pattern) in patterns.iter().enumerate() {
            router.insert(&Pattern::new(pattern).unwrap(), target);
        }
        router
    }

    fn matching(router: &Router<usize>, event_type: &str) -> Vec<usize> {
        router.matching(&EventType::new(event_type).unwrap())
    }

    #[test]
    fn targets_are_found_by_every_kind_of_pattern() {
        let router = router(&["order.placed", "order.*", "order.>", "*", ">", "*.placed", "invoice.sent", "order"]);
        assert_eq!(matching(&router, "order.placed"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(matching(&router, "order.item.added"), [2, 3, 4]);
        assert_eq!(matching(&router, "order"), [3, 4, 7]);
    }

    #[test]
    fn a_target_under_several_matching_patterns_is_found_once() {
        let mut router = Router::new();
        for pattern in ["a.*", "a.b", ">"] {
            router.insert(&Pattern::new(pattern).unwrap(), 7);
        }
        assert_eq!(router.matching(&EventType::new("a.b").unwrap()), [7]);
    }

    #[test]
    fn removing_everything_leaves_nothing() {
        let patterns = ["a.b.c", "a.*.c", "a.>", "*", "a.b"];
        let mut router = router(&patterns);
        for (target, pattern) in patterns.iter().enumerate() {
            router.remove(&Pattern::new(pattern).unwrap(), target);
        }
        assert!(router.root.is_empty());
    }

    fn pattern() -> impl Strategy<Value = String> {
        (prop::collection::vec(prop_oneof![3 => "[ab]", 1 => Just("*".to_owned())], 1..4), any::<bool>())
            .prop_map(|(tokens, rest)| if rest { format!("{}.>", tokens.join(".")) } else { tokens.join(".") })
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_asking_every_pattern(
            patterns in prop::collection::vec(pattern(), 0..12),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            event_type in prop::collection::vec("[ab]", 1..5),
        ) {
            let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new(pattern).unwrap()).collect();
            let mut router = Router::new();
            let mut held: Vec<(usize, &Pattern)> = patterns.iter().enumerate().collect();
            for (target, pattern) in &held {
                router.insert(pattern, *target);
            }
            for index in removed {
                if held.is_empty() { break; }
                let (target, pattern) = held.swap_remove(index.index(held.len()));
                router.remove(pattern, target);
            }
            let event_type = EventType::new(event_type.join(".")).unwrap();
            let mut expected: Vec<_> = held.iter().filter(|(_, pattern)| pattern.matches(&event_type)).map(|(target, _)| *target).collect();
            expected.sort_unstable();
            prop_assert_eq!(router.matching(&event_type), expected);
        }
    }
}
