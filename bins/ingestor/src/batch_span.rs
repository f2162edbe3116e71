use broker::{Arrival, DeliveryFailed};
use service::traces::{self, TRACEPARENT};
use tracing::Span;
use tracing::field::Empty;
use wire::record::Gatherer;

use crate::encode::Log;

/// One round of the encoder, from its first frame until its last record is handed over, as a span
/// by OpenTelemetry's semantic conventions of messaging. Few rounds are kept, and only those pay:
/// each of their records has a header that says which round it is of.
pub(crate) struct BatchSpan(Span);

impl BatchSpan {
    pub(crate) fn begin() -> Self {
        Self(traces::sampled(tracing::info_span!(
            target: traces::TARGET,
            "send batch",
            otel.kind = "producer",
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.batch.message_count = Empty,
            gostocks.batch.trades = Empty,
        )))
    }

    /// Hands what was gathered over to the log.
    pub(crate) fn send(
        self,
        gatherer: &mut Gatherer,
        log: &impl Log,
    ) -> Result<(), DeliveryFailed> {
        let Self(span) = self;
        let traceparent = traces::traceparent(&span);
        let headers = traceparent.as_deref().map(|value| (TRACEPARENT, value));
        span.record("gostocks.batch.trades", gatherer.trades());
        let mut records = 0_u64;
        let sent = gatherer.drain(|key, value, received_at, trades| {
            records += 1;
            log.send(key, value, headers.as_slice(), Arrival { received_at, trades })
        });
        span.record("messaging.batch.message_count", records);
        sent
    }
}
