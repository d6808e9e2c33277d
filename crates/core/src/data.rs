//! Types that are the data of an event.

use serde::{Serialize, de::DeserializeOwned};

/// A type that is the data of one type of event.
///
/// Derive it:
///
/// ```ignore
/// #[derive(Serialize, Deserialize, EventData)]
/// #[event(type = "order.placed", version = 1, subject = "order_id")]
/// struct OrderPlaced { order_id: String, total_cents: u64 }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as the data of an event",
    label = "this type has no event type",
    note = "add `#[derive(EventData)] #[event(type = \"some.type\")]` to `{Self}`, or use `Event::json(\"some.type\", value)`"
)]
pub trait EventData: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The [event type](crate::EventType), such as `order.placed`.
    const TYPE: &'static str;

    /// The version of the schema, from 1. A handler refuses data of a later version than it knows.
    const VERSION: u32 = 1;

    /// What the event is about.
    fn subject(&self) -> Option<String> {
        None
    }

    /// The key within which order is kept, where that is not the subject.
    fn partition_key(&self) -> Option<String> {
        None
    }
}
