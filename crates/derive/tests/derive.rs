//! What `#[derive(EventData)]` makes of correct declarations.

use eventbus::{Event, EventData};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt::Display;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, EventData)]
#[event(type = "order.placed", version = 3, subject = "order_id", partition_key = "customer")]
struct OrderPlaced {
    order_id: String,
    customer: u64,
}

#[test]
fn type_version_subject_and_key_reach_the_event() {
    let event = Event::new(OrderPlaced { order_id: "o-1".into(), customer: 7 });
    assert_eq!((event.event_type().as_str(), event.schema_version()), ("order.placed", 3));
    assert_eq!((event.subject(), event.partition_key()), (Some("o-1"), Some("7")));
    assert_eq!(*event.decode::<OrderPlaced>().unwrap(), OrderPlaced { order_id: "o-1".into(), customer: 7 });
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "shop.opened")]
struct ShopOpened;

#[test]
fn only_the_type_is_required() {
    let event = Event::new(ShopOpened);
    assert_eq!((ShopOpened::TYPE, ShopOpened::VERSION), ("shop.opened", 1));
    assert_eq!((event.subject(), event.partition_key()), (None, None));
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "note.written", subject = "about", partition_key = "author")]
struct NoteWritten {
    about: Option<String>,
    author: Option<u32>,
}

#[test]
fn an_optional_field_may_be_none() {
    let with = NoteWritten { about: Some("x".into()), author: Some(1) };
    assert_eq!((with.subject().as_deref(), with.partition_key().as_deref()), (Some("x"), Some("1")));
    let without = NoteWritten { about: None, author: None };
    assert_eq!((without.subject(), without.partition_key()), (None, None));
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "pair.made", subject = "1")]
struct PairMade(u8, String);

#[test]
fn a_field_of_a_tuple_is_named_by_its_position() {
    assert_eq!(PairMade(1, "second".into()).subject().as_deref(), Some("second"));
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "keyword.used", subject = "type")]
struct KeywordUsed {
    r#type: String,
}

#[test]
fn a_field_named_like_a_keyword_is_named_without_its_prefix() {
    assert_eq!(KeywordUsed { r#type: "x".into() }.subject().as_deref(), Some("x"));
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "order.changed", version = 2)]
enum OrderChanged {
    Paid { cents: u64 },
    Shipped,
}

#[test]
fn an_enum_is_the_data_of_one_type_of_event() {
    let event = Event::new(OrderChanged::Paid { cents: 5 });
    assert_eq!(event.event_type().as_str(), "order.changed");
    assert!(matches!(*event.decode::<OrderChanged>().unwrap(), OrderChanged::Paid { cents: 5 }));
    assert_eq!(Event::new(OrderChanged::Shipped).schema_version(), 2);
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "item.changed", subject = "id")]
#[serde(bound = "")]
struct ItemChanged<Id, const N: usize>
where
    Id: Display + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    id: Id,
    counts: Vec<[u8; 2]>,
}

#[test]
fn type_and_const_parameters_and_where_clauses_are_kept() {
    let event = Event::new(ItemChanged::<u64, 3> { id: 9, counts: vec![[1, 2]] });
    assert_eq!(event.subject(), Some("9"));
    assert_eq!(event.decode::<ItemChanged<u64, 3>>().unwrap().counts, [[1, 2]]);
    assert_eq!(ItemChanged::<String, 0>::TYPE, "item.changed");
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "version.with.suffix", version = 2u64)]
#[event(subject = "a")]
struct SuffixedAndSplit {
    a: char,
}

#[test]
fn attributes_may_be_split_and_a_number_may_have_a_suffix() {
    assert_eq!((SuffixedAndSplit::VERSION, SuffixedAndSplit { a: 'x' }.subject().as_deref()), (2, Some("x")));
}

mod bus {
    pub(crate) use eventbus::{EventData, is_valid_event_type};
}

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "elsewhere", crate = "crate::bus")]
struct Elsewhere;

#[test]
fn the_trait_may_be_found_elsewhere() {
    assert_eq!(Elsewhere::TYPE, "elsewhere");
}

/// Names that a macro could trip over.
mod shadowed {
    #![allow(dead_code, non_camel_case_types)]
    use super::{Deserialize, EventData, Serialize};

    struct String;
    struct Option;
    struct Some;

    #[derive(Serialize, Deserialize, EventData)]
    #[event(type = "shadowed", subject = "id")]
    pub(super) struct Shadowed {
        pub(super) id: u8,
    }
}

#[test]
fn the_prelude_may_be_shadowed() {
    assert_eq!(shadowed::Shadowed { id: 1 }.subject().as_deref(), Some("1"));
}
