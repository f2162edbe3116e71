//! Where metrics are kept, and how Prometheus reads them.
//!
//! Counters and gauges are metrics-exporter-prometheus's. Histograms are ours: the exporter keeps
//! every sample until a periodic task sorts it into buckets, eight bytes a trade and stage,
//! megabytes a second here. These are fixed buckets of atomics: a sample costs one addition, a
//! thousand equal ones cost the same, and memory is constant.

mod histogram;
mod process;
mod runtime;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Key, KeyName, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::runtime::RuntimeMetrics;

use crate::catalogue;
use histogram::Histogram;

/// Histograms by rendered labels.
type Family = BTreeMap<String, Arc<Histogram>>;

#[derive(Clone)]
pub(crate) struct Recorder {
    exporter: Arc<PrometheusRecorder>,
    /// By name. Locked when a handle is made and when read, never when a handle is used.
    histograms: Arc<Mutex<BTreeMap<String, Family>>>,
    runtime: Arc<OnceLock<RuntimeMetrics>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("histograms", &self.histograms).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Knows the help of every metric of the catalogue.
    pub(crate) fn new() -> Self {
        let exporter = PrometheusBuilder::new().build_recorder();
        for metric in catalogue::ALL {
            let (name, help) = (KeyName::from_const_str(metric.name), metric.help.into());
            match metric.kind {
                catalogue::Kind::Counter => exporter.describe_counter(name, None, help),
                _ => exporter.describe_gauge(name, None, help),
            }
        }
        Self { exporter: Arc::new(exporter), histograms: Arc::default(), runtime: Arc::default() }
    }

    /// Also tells how this runtime does, from here on.
    pub(crate) fn watch(&self, runtime: RuntimeMetrics) {
        let _ = self.runtime.set(runtime);
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut text = self.exporter.handle().render();
        let histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in histograms.iter() {
            // Writing to a String cannot fail.
            let _ = render_family(&mut text, name, family);
        }
        drop(histograms);
        process::render(&mut text);
        if let Some(runtime) = self.runtime.get() {
            runtime::render(&mut text, runtime);
        }
        text
    }
}

fn render_family(text: &mut String, name: &str, family: &Family) -> fmt::Result {
    use std::fmt::Write;
    if let Some(metric) = catalogue::ALL.iter().find(|metric| metric.name == name) {
        writeln!(text, "# HELP {name} {}", metric.help)?;
    }
    writeln!(text, "# TYPE {name} histogram")?;
    family.iter().try_for_each(|(labels, histogram)| histogram.render(text, name, labels))
}

/// `a="x",b="y"`, escaped as the text format wants.
fn labels(key: &Key) -> String {
    let pair = |label: &metrics::Label| {
        let value = label.value().replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        format!("{}=\"{value}\"", label.key())
    };
    key.labels().map(pair).collect::<Vec<_>>().join(",")
}

impl metrics::Recorder for Recorder {
    // Help and units stand in the catalogue.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let mut histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        let family = histograms.entry(key.name().to_owned()).or_default();
        let new = || Arc::new(Histogram::new(catalogue::buckets(key.name())));
        metrics::Histogram::from_arc(Arc::clone(family.entry(labels(key)).or_insert_with(new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_what_was_counted() {
        let recorder = Recorder::new();
        metrics::with_local_recorder(&recorder, || {
            catalogue::FEED_FRAMES.counter().increment(3);
            catalogue::FEED_FRAMES.counter().increment(4);
            catalogue::FEED_CONNECTED.gauge().set(1.0);
            catalogue::FEED_FRAMES_REJECTED.with("reason", "a\"b\\c\nd").counter().increment(1);
            let batch = catalogue::BATCH_TRADES.histogram();
            batch.record(3.0);
            batch.record_many(1_000_000.0, 2);
            batch.record(f64::NAN);
            let stage = catalogue::TICK_STAGE.with("stage", "visible").histogram();
            stage.record(0.001);
        });
        let text = recorder.render();
        for line in [
            "# HELP gostocks_feed_frames_total Frames read from the feed's socket.",
            "# TYPE gostocks_feed_frames_total counter",
            "gostocks_feed_frames_total 7",
            "gostocks_feed_connected 1",
            r#"gostocks_feed_frames_rejected_total{reason="a\"b\\c\nd"} 1"#,
            "# TYPE gostocks_batch_trades histogram",
            r#"gostocks_batch_trades_bucket{le="2"} 0"#,
            r#"gostocks_batch_trades_bucket{le="4"} 1"#,
            r#"gostocks_batch_trades_bucket{le="65536"} 1"#,
            r#"gostocks_batch_trades_bucket{le="+Inf"} 3"#,
            "gostocks_batch_trades_sum 2000003",
            "gostocks_batch_trades_count 3",
            r#"gostocks_tick_stage_seconds_bucket{stage="visible",le="0.00001"} 0"#,
            r#"gostocks_tick_stage_seconds_count{stage="visible"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert_eq!(text.matches("# TYPE gostocks_feed_frames_total").count(), 1);
    }

    #[test]
    #[should_panic(expected = "the labels of gostocks_tick_stage_seconds")]
    fn a_handle_with_other_labels_than_the_catalogues_is_refused() {
        let _ = catalogue::TICK_STAGE.histogram();
    }
}
