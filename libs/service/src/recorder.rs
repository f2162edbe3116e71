//! Where metrics are kept, and how Prometheus reads them.
//!
//! metrics-exporter-prometheus keeps every sample of a histogram until a periodic task sorts it
//! into buckets: eight bytes a trade and stage, megabytes a second here. These histograms are fixed
//! buckets of atomics: a sample costs one addition, a thousand equal ones cost the same, and memory
//! is constant.

mod histogram;
mod process;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Key, KeyName, Metadata, SharedString, Unit};

use crate::catalogue;
use histogram::Histogram;

#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    /// By name, then by rendered labels. Locked when a handle is made and when read, never when
    /// a handle is used.
    families: Arc<Mutex<BTreeMap<String, BTreeMap<String, Series>>>>,
}

#[derive(Clone, Debug)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Histogram>),
}

impl Recorder {
    fn series(&self, key: &Key, new: impl FnOnce() -> Series) -> Series {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(key.name().to_owned()).or_default();
        family.entry(labels(key)).or_insert_with(new).clone()
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter() {
            // Writing to a String cannot fail.
            let _ = render_family(&mut text, name, family);
        }
        drop(families);
        process::render(&mut text);
        text
    }
}

fn render_family(
    text: &mut String,
    name: &str,
    family: &BTreeMap<String, Series>,
) -> std::fmt::Result {
    let kind = match family.values().next() {
        Some(Series::Counter(_)) => "counter",
        Some(Series::Gauge(_)) => "gauge",
        Some(Series::Histogram(_)) => "histogram",
        None => return Ok(()),
    };
    if let Some(metric) = catalogue::ALL.iter().find(|metric| metric.name == name) {
        writeln!(text, "# HELP {name} {}", metric.help)?;
    }
    writeln!(text, "# TYPE {name} {kind}")?;
    for (labels, series) in family {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match series {
            Series::Counter(value) => {
                writeln!(text, "{name}{braced} {}", value.load(Ordering::Relaxed))?;
            }
            Series::Gauge(bits) => {
                let value = f64::from_bits(bits.load(Ordering::Relaxed));
                writeln!(text, "{name}{braced} {value}")?;
            }
            Series::Histogram(histogram) => histogram.render(text, name, labels)?,
        }
    }
    Ok(())
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

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.series(key, || Series::Counter(Arc::default())) {
            Series::Counter(value) => Counter::from_arc(value),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(bits) => Gauge::from_arc(bits),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let new = || Series::Histogram(Arc::new(Histogram::new(catalogue::buckets(key.name()))));
        match self.series(key, new) {
            Series::Histogram(histogram) => metrics::Histogram::from_arc(histogram),
            _ => metrics::Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_what_was_counted() {
        let recorder = Recorder::default();
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
