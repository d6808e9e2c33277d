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

mod attributes;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Declares a type as the data of one type of event. See the [crate's documentation](crate) for its attributes.
#[proc_macro_derive(EventData, attributes(event))]
pub fn derive_event_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
