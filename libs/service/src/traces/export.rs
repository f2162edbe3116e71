use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use metrics::Counter;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::queue::Waiting;
use crate::catalogue;

/// Spans in one request to the collector at most.
const BATCH: usize = 512;

/// How long a span may wait for company.
const LINGER: Duration = Duration::from_secs(1);

/// How long the collector may take for one request, further attempts included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// While the collector is away every request to it fails: a line now and then says why.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Spans that wait for the thread that sends them.
#[derive(Debug)]
pub(crate) struct Export {
    endpoint: String,
    resource: Resource,
    waiting: Waiting,
}

/// The thread that sends spans, on a runtime of its own: a program whose workers are all busy
/// still tells what with, and a collector that is slow keeps none of them.
#[derive(Debug)]
pub(crate) struct Exporting {
    finish: CancellationToken,
    /// Ends when the thread does.
    finished: Receiver<()>,
}

impl Export {
    pub(super) fn new(endpoint: String, resource: Resource, waiting: Waiting) -> Self {
        Self { endpoint, resource, waiting }
    }

    /// Begins to send; what ended before is sent, too. Connects when first needed, and again by
    /// itself. The metrics recorder must be installed.
    ///
    /// # Errors
    /// Where the system gives no thread, or another of OpenTelemetry's own variables, such as
    /// `OTEL_EXPORTER_OTLP_HEADERS`, is wrong.
    pub(crate) fn start(self) -> anyhow::Result<Exporting> {
        let runtime = runtime()?;
        let exporter = {
            let _within = runtime.enter();
            let exporter = OtlpExporter::builder().with_tonic().with_timeout(EXPORT_TIMEOUT);
            exporter.with_endpoint(self.endpoint).build()
        };
        let mut exporter = exporter.context("cannot export traces")?;
        exporter.set_resource(&self.resource);
        Exporting::begin(runtime, exporter, self.waiting)
    }
}

impl Exporting {
    fn begin(
        runtime: Runtime,
        exporter: impl SpanExporter + 'static,
        waiting: Waiting,
    ) -> anyhow::Result<Self> {
        let finish = CancellationToken::new();
        let (ends, finished) = channel();
        let sending = Sending::new(exporter, waiting).run(finish.clone(), ends);
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || runtime.block_on(sending))
            .context("cannot start the thread of the trace export")?;
        Ok(Self { finish, finished })
    }

    /// Sends what waits, for at most `patience`; the rest is lost, which is logged.
    pub(crate) fn finish(self, patience: Duration) {
        self.finish.cancel();
        if self.finished.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last spans were not exported: no answer within {patience:?}");
        }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    let builder = Builder::new_current_thread().enable_all().build();
    builder.context("cannot start the runtime of the trace export")
}

struct Sending<E> {
    exporter: E,
    waiting: Waiting,
    exported: Counter,
    failed: Counter,
    dropped: Counter,
    lost: Lost,
}

/// What was lost since the last line about it.
#[derive(Default)]
struct Lost {
    failed: u64,
    dropped: u64,
    error: String,
    logged: Option<Instant>,
}

impl<E: SpanExporter> Sending<E> {
    fn new(exporter: E, waiting: Waiting) -> Self {
        let spans = |outcome| catalogue::TRACE_SPANS.with("outcome", outcome).counter();
        Self {
            exporter,
            waiting,
            exported: spans("exported"),
            failed: spans("failed"),
            dropped: spans("dropped"),
            lost: Lost::default(),
        }
    }

    /// Until `finish`, and then until nothing waits. `ends` is dropped at the end.
    async fn run(mut self, finish: CancellationToken, ends: Sender<()>) {
        while let Some(first) = self.next(&finish).await {
            let mut batch = vec![first];
            let gathering = async {
                while batch.len() < BATCH
                    && let Some(span) = self.next(&finish).await
                {
                    batch.push(span);
                }
            };
            // Once time is up, what has gathered goes alone.
            let _ = timeout(LINGER, gathering).await;
            self.send(batch).await;
        }
        self.tell(true);
        drop(ends);
    }

    /// The next span that waits; `None` where there is none any more after `finish`.
    async fn next(&mut self, finish: &CancellationToken) -> Option<SpanData> {
        tokio::select! {
            biased;
            span = self.waiting.spans.recv() => span,
            () = finish.cancelled() => {
                self.waiting.spans.close();
                self.waiting.spans.recv().await
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let error = match timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {EXPORT_TIMEOUT:?}")),
        };
        match error {
            None => self.exported.increment(count),
            Some(error) => {
                self.failed.increment(count);
                self.lost.failed += count;
                self.lost.error = error;
            }
        }
        let dropped = self.waiting.dropped.swap(0, Ordering::Relaxed);
        self.dropped.increment(dropped);
        self.lost.dropped += dropped;
        if dropped > 0 && self.lost.error.is_empty() {
            self.lost.error = "too many waited for it".to_owned();
        }
        self.tell(false);
    }

    fn tell(&mut self, at_last: bool) {
        let Lost { failed, dropped, error, logged } = &mut self.lost;
        let is_due = at_last || logged.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if !is_due || *failed + *dropped == 0 {
            return;
        }
        tracing::warn!(failed, dropped, "spans were lost on the way to the collector: {error}");
        self.lost = Lost { logged: Some(Instant::now()), ..Lost::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Queue;
    use super::*;
    use opentelemetry::trace::{Span, Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    /// Takes batches, or never answers.
    #[derive(Debug)]
    struct Collector {
        batches: Sender<usize>,
        answers: bool,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.send(batch.len()).expect("the test waits");
            if !self.answers {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }

    /// So many spans have ended when the sending begins.
    fn begin(spans: usize, answers: bool) -> (Exporting, Receiver<usize>) {
        let (queue, waiting) = Queue::new();
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        (0..spans).for_each(|_| tracer.start("span").end());
        let (batches, sent) = channel();
        let runtime = runtime().expect("a runtime");
        let exporting = Exporting::begin(runtime, Collector { batches, answers }, waiting);
        (exporting.expect("a thread"), sent)
    }

    #[test]
    fn what_waits_at_the_end_is_sent_in_batches() {
        let (exporting, sent) = begin(2 * BATCH + 1, true);
        exporting.finish(Duration::from_secs(30));
        assert_eq!(sent.iter().collect::<Vec<_>>(), [BATCH, BATCH, 1]);
    }

    #[test]
    fn a_collector_that_never_answers_is_waited_for_no_longer_than_said() {
        let (exporting, sent) = begin(BATCH + 1, false);
        assert_eq!(sent.recv(), Ok(BATCH));
        let asked = std::time::Instant::now();
        exporting.finish(Duration::from_millis(20));
        assert!(asked.elapsed() < EXPORT_TIMEOUT / 2, "{:?}", asked.elapsed());
    }
}
