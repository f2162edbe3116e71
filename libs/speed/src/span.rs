use tracing::Span;
use tracing::field::{Empty, display};

use crate::Unavailable;

/// The span of one exchange with Redis, for a collector, where the program has one: `otel` is the
/// target of such spans. A child of whatever span the caller is in. Attributes as OpenTelemetry's
/// semantic conventions of database client spans name them.
pub(crate) fn of(operation: &'static str) -> Span {
    tracing::info_span!(
        target: "otel",
        "redis",
        otel.name = operation,
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = operation,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// The same, where the caller is in a span: what a reader asks for by itself, all the time, is
/// nobody's trace.
pub(crate) fn within_a_request(operation: &'static str) -> Span {
    if Span::current().is_none() { Span::none() } else { of(operation) }
}

pub(crate) fn fail(span: &Span, error: &Unavailable) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(error));
}
