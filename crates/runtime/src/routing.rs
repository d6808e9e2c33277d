//! Which subscriptions an event type concerns, without looking at those it does not.

use eventbus_core::{EventType, Pattern, PatternToken};
use std::collections::HashMap;

/// A trie over the tokens of patterns. Finding what matches costs as much as there are tokens and matches, however many patterns there are.
#[derive(Debug)]
pub struct Router<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    /// What a pattern that ends here is for.
    here: Vec<T>,
    /// What a pattern is for that has `>` next.
    rest: Vec<T>,
    /// What follows a `*`.
    one: Option<Box<Node<T>>>,
    literals: HashMap<Box<str>, Node<T>, foldhash::fast::RandomState>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { here: Vec::new(), rest: Vec::new(), one: None, literals: HashMap::default() }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.one.is_none() && self.literals.is_empty()
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
                PatternToken::Literal(token) => node.literals.entry(token.into()).or_default(),
                PatternToken::One => node.one.get_or_insert_default(),
                _ => {
                    node.rest.push(target);
                    return;
                }
            };
        }
        node.here.push(target);
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

fn remove<T: PartialEq>(node: &mut Node<T>, tokens: &[PatternToken<'_>], target: T) {
    fn take<T: PartialEq>(from: &mut Vec<T>, target: &T) {
        if let Some(at) = from.iter().position(|held| held == target) {
            from.swap_remove(at);
        }
    }
    match tokens {
        [] => take(&mut node.here, &target),
        [PatternToken::Literal(token), tail @ ..] => {
            if let Some(next) = node.literals.get_mut(*token) {
                remove(next, tail, target);
                if next.is_empty() {
                    node.literals.remove(*token);
                }
            }
        }
        [PatternToken::One, tail @ ..] => {
            if let Some(next) = &mut node.one {
                remove(next, tail, target);
                if next.is_empty() {
                    node.one = None;
                }
            }
        }
        _ => take(&mut node.rest, &target),
    }
}

fn collect<T: Copy>(node: &Node<T>, tokens: &[&str], found: &mut Vec<T>) {
    let Some((token, tail)) = tokens.split_first() else {
        found.extend_from_slice(&node.here);
        return;
    };
    found.extend_from_slice(&node.rest);
    if let Some(next) = &node.one {
        collect(next, tail, found);
    }
    if let Some(next) = node.literals.get(*token) {
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
