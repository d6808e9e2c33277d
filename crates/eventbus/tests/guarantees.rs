//! The written guarantees and the suites that check them speak of the same cases.
#![cfg(feature = "testing")]

use eventbus::testing::conformance::cases;
use std::collections::BTreeSet;

const GUARANTEES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guarantees.md");

/// What stands between backticks and looks like `chapter::case`.
fn named(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).filter(|code| code.contains("::") && !code.contains(char::is_uppercase)).collect()
}

#[test]
fn every_case_stands_beside_the_guarantee_that_it_checks() {
    let text = std::fs::read_to_string(GUARANTEES).unwrap();
    let (written, mut existing) = (named(&text), cases().iter().map(|case| case.name).collect::<BTreeSet<_>>());
    existing.extend(eventbus_testing::faults::cases());
    let missing: Vec<_> = existing.difference(&written).collect();
    let unknown: Vec<_> = written.difference(&existing).collect();
    assert!(missing.is_empty(), "docs/guarantees.md does not name {missing:#?}");
    assert!(unknown.is_empty(), "docs/guarantees.md names cases that there are not: {unknown:#?}");
}

#[test]
fn every_case_stands_in_the_section_of_its_line() {
    let text = std::fs::read_to_string(GUARANTEES).unwrap();
    for case in cases() {
        let item = text.split("\n### ").find(|item| named(item).contains(case.name)).unwrap_or_default();
        let number = item.split('.').next().unwrap_or_default();
        assert_eq!(number, case.line.to_string(), "{} is about line {}", case.name, case.line);
    }
}
