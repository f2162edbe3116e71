use std::collections::BTreeMap;
use std::fmt;

use market::Place;
use service::traces;
use tracing::Span;
use tracing::field::{Empty, display};

use crate::Batch;

/// The effect of a batch as a span, by OpenTelemetry's semantic conventions of messaging: linked
/// to the rounds of the ingestor that its records say they are of. None where it is not kept.
pub(crate) fn of(batch: &Batch, topic: &str) -> Span {
    let span = tracing::info_span!(
        target: traces::TARGET,
        "process batch",
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = Empty,
        messaging.batch.message_count = Empty,
        gostocks.batch.trades = Empty,
        gostocks.batch.partitions = Empty,
        gostocks.batch.offsets = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    for traceparent in &batch.traceparents {
        traces::link(&span, traceparent);
    }
    let span = traces::sampled(span);
    if !span.is_disabled() {
        span.record("messaging.destination.name", topic);
        span.record("messaging.batch.message_count", batch.records);
        span.record("gostocks.batch.trades", batch.trades.len());
        span.record("gostocks.batch.partitions", batch.places.len());
        span.record("gostocks.batch.offsets", display(Offsets(&batch.places)));
    }
    span
}

/// Says in a batch's span why it had no effect.
pub fn fail(span: &Span, error: &anyhow::Error) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", format_args!("{error:#}"));
}

/// `partition:offset,…` of each partition's last record.
struct Offsets<'a>(&'a BTreeMap<i32, Place>);

impl fmt::Display for Offsets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (partition, place)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{}", place.offset)?;
        }
        Ok(())
    }
}
