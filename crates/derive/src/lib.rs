//! `#[derive(EventData)]`: declares a type as the data of one type of event.
//!
//! ```
//! use eventbus::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, EventData)]
//! #[event(type = "order.placed", version = 2, subject = "order_id", partition_key = "customer")]
//! struct OrderPlaced { order_id: String, customer: u64, total_cents: u64 }
//!
//! let event = Event::new(OrderPlaced { order_id: "o-1".into(), customer: 7, total_cents: 4200 });
//! assert_eq!(event.subject(), Some("o-1"));
//! assert_eq!(event.partition_key(), Some("7"));
//! ```
//!
//! | attribute | meaning | default |
//! |---|---|---|
//! | `type = "…"` | the event type | required |
//! | `version = N` | the version of the schema, from 1 | 1 |
//! | `subject = "field"` | the field that is the event's subject; an `Option` may be `None` | none |
//! | `partition_key = "field"` | the field that is the event's partition key; an `Option` may be `None` | none |
//! | `crate = "path"` | where `EventData` is found | `::eventbus` |
//!
//! A subject or partition key is the text of its field, so the field's type must implement `Display`:
//!
//! ```compile_fail
//! # use eventbus::prelude::*; use serde::{Deserialize, Serialize};
//! #[derive(Serialize, Deserialize, EventData)]
//! #[event(type = "order.placed", subject = "items")]
//! struct OrderPlaced { items: Vec<String> }
//! ```
//!
//! Type parameters need the bounds that the data of every event has, and serde has to be told not to add its own:
//!
//! ```
//! use eventbus::prelude::*;
//! use serde::{Deserialize, Serialize, de::DeserializeOwned};
//!
//! #[derive(Serialize, Deserialize, EventData)]
//! #[event(type = "page.read")]
//! #[serde(bound = "")]
//! struct PageRead<T: Serialize + DeserializeOwned + Send + Sync + 'static> { items: Vec<T> }
//!
//! assert_eq!(PageRead::<u64>::TYPE, "page.read");
//! ```

mod attributes;
mod expand;
mod rules;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Declares a type as the data of one type of event. See the [crate's documentation](crate) for its attributes.
#[proc_macro_derive(EventData, attributes(event))]
pub fn derive_event_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
