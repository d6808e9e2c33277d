//! Spans, with the attribute names of OpenTelemetry's messaging conventions. They are of level DEBUG and target `eventbus`.

use eventbus_core::Event;
use tracing::{Level, Span};

/// The span around one attempt of a handler.
pub(super) fn process(backend: &'static str, subscription: &str, event: &Event, attempt: u32) -> Span {
    if !tracing::enabled!(target: "eventbus", Level::DEBUG) {
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
