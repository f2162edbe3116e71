use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

/// Spans that ended and were not sent yet. Full means that the collector is away or behind: further
/// ones are dropped and counted, for nobody may wait for it.
const SPANS_WAITING: usize = 4_096;

/// Where spans go when they end: never waits.
///
/// The SDK has a processor with such a queue, which tells how much it dropped only once it ends.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

/// The queue's other end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spans: mpsc::Receiver<SpanData>,
    /// How many did not fit, since this was last set to 0.
    pub(super) dropped: Arc<AtomicU64>,
}

impl Queue {
    pub(super) fn new() -> (Self, Waiting) {
        let (sender, spans) = mpsc::channel(SPANS_WAITING);
        let dropped = Arc::<AtomicU64>::default();
        (Self { spans: sender, dropped: Arc::clone(&dropped) }, Waiting { spans, dropped })
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The program's end flushes, with a bound: see [`Exporting`](super::export::Exporting).
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, mut waiting) = Queue::new();
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        for _ in 0..SPANS_WAITING + 3 {
            tracer.start("span").end();
        }
        assert_eq!(waiting.dropped.load(Ordering::Relaxed), 3);
        assert!(waiting.spans.try_recv().is_ok());
        tracer.start("there is room again").end();
        assert_eq!(waiting.dropped.load(Ordering::Relaxed), 3);
    }
}
