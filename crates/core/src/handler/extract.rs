//! What a handler function may take as arguments.

use super::{Context, HandlerError};
use crate::{Event, EventData};
use std::{ops::Deref, sync::Arc};

/// An argument of a handler function, made from the delivery.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take an argument of type `{Self}`",
    label = "not something that an event can be turned into",
    note = "a handler takes `Event`, `Context` and `Data<T>` where `T` derives `EventData`, in any order, by value"
)]
pub trait FromDelivery: Sized + Send {
    /// Makes the argument.
    ///
    /// # Errors
    /// Where the event does not fit. What is returned is the handler's outcome.
    fn from_delivery(ctx: &Context, event: &Event) -> Result<Self, HandlerError>;
}

impl FromDelivery for Event {
    fn from_delivery(_: &Context, event: &Event) -> Result<Self, HandlerError> {
        Ok(event.clone())
    }
}

impl FromDelivery for Context {
    fn from_delivery(ctx: &Context, _: &Event) -> Result<Self, HandlerError> {
        Ok(ctx.clone())
    }
}

/// The data of the event as a `T`. In process it is the publisher's own value, without a copy.
///
/// An event of another type than `T` declares, of a later schema version, or with data that is no `T` is rejected: it goes to the dead
/// letters at once, since trying again cannot help.
#[derive(Debug)]
pub struct Data<T>(pub Arc<T>);

impl<T> Clone for Data<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Data<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: EventData> FromDelivery for Data<T> {
    fn from_delivery(_: &Context, event: &Event) -> Result<Self, HandlerError> {
        if event.event_type().as_str() != T::TYPE {
            return Err(HandlerError::reject(format!(
                "the handler takes events of type {:?}, this one is {:?}",
                T::TYPE,
                event.event_type().as_str()
            )));
        }
        if event.schema_version() > T::VERSION {
            return Err(HandlerError::reject(format!(
                "the handler knows version {} of {:?}, this event has version {}",
                T::VERSION,
                T::TYPE,
                event.schema_version()
            )));
        }
        event.decode().map(Self).map_err(HandlerError::reject)
    }
}
