//! Spans, with the attribute names of OpenTelemetry's messaging conventions. They are of level DEBUG and target `eventbus`; where nobody
//! wants them, they cost a look at a flag.
//!
//! | name | kind | around |
//! |---|---|---|
//! | `publish` | producer | one publish, until the backend has accepted the event |
//! | `receive` | client | what one fetch brought, being put where handlers take it |
//! | `process` | consumer | one attempt of a handler |
//! | `settle` | client | outcomes being handed to the backend |

use eventbus_core::Event;
use tracing::{Level, Span};

/// The span around one publish. A backend opens it.
#[must_use]
pub fn publish(backend: &'static str, event: &Event) -> Span {
    if !wanted() {
        return Span::none();
    }
    tracing::debug_span!(
        target: "eventbus",
        "publish",
        otel.name = %format_args!("publish {}", event.event_type()),
        otel.kind = "producer",
        messaging.system = backend,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = %event.event_type(),
        messaging.message.id = event.id(),
        messaging.message.conversation_id = event.correlation_id(),
        cloudevents.event_source = event.source(),
        traceparent = event.traceparent(),
    )
}

/// The span around one attempt of a handler.
pub(crate) fn process(backend: &'static str, subscription: &str, event: &Event, attempt: u32) -> Span {
    if !wanted() {
        return Span::none();
    }
    tracing::debug_span!(
        target: "eventbus",
        "process",
        otel.name = %format_args!("process {}", event.event_type()),
        otel.kind = "consumer",
        messaging.system = backend,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = %event.event_type(),
        messaging.destination.subscription.name = subscription,
        messaging.message.id = event.id(),
        messaging.message.conversation_id = event.correlation_id(),
        cloudevents.event_source = event.source(),
        traceparent = event.traceparent(),
        attempt,
    )
}

/// A span around what a subscription and its backend exchange: many events at once. The name of a span is a literal.
macro_rules! exchange {
    ($operation:literal, $backend:expr, $subscription:expr, $events:expr) => {
        if wanted() {
            tracing::debug_span!(
                target: "eventbus",
                $operation,
                otel.kind = "client",
                messaging.system = $backend,
                messaging.operation.name = $operation,
                messaging.operation.type = $operation,
                messaging.destination.subscription.name = $subscription,
                messaging.batch.message_count = $events,
            )
        } else {
            Span::none()
        }
    };
}

/// The span around taking in what one fetch brought.
pub(crate) fn receive(backend: &'static str, subscription: &str, events: u64) -> Span {
    exchange!("receive", backend, subscription, events)
}

/// The span around handing outcomes to the backend.
pub(crate) fn settle(backend: &'static str, subscription: &str, events: u64) -> Span {
    exchange!("settle", backend, subscription, events)
}

fn wanted() -> bool {
    tracing::enabled!(target: "eventbus", Level::DEBUG)
}
