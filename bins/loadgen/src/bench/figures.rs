//! What a run has found, as JSON and as a table.

use std::fmt::Write;

use serde::Serialize;

use crate::bench::lateness::{Lateness, Micros};
use crate::probe::{Stages, of_buckets};

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Unix seconds.
    pub(crate) began: u64,
    pub(crate) symbols: usize,
    pub(crate) spread: &'static str,
    pub(crate) trades_per_frame: u64,
    /// That never fire.
    pub(crate) idle_alerts: u64,
    pub(crate) steps: Vec<StepFigures>,
    /// Of a search: the highest rate that has held for the whole time, trades a second.
    pub(crate) highest: Option<f64>,
}

/// Trades at one rate.
#[derive(Debug, Serialize)]
pub(crate) struct StepFigures {
    /// Trades a second.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) held: bool,
    /// Why it has not held; empty where it has.
    pub(crate) why: String,
    /// Sent, warm-up included.
    pub(crate) trades: u64,
    /// What they were on the log.
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    pub(crate) firings: u64,
    pub(crate) rows: Vec<Row>,
}

/// One place on a trade's way, since one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) stage: &'static str,
    pub(crate) since: Since,
    pub(crate) samples: u64,
    #[serde(flatten)]
    pub(crate) late: Percentiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Since {
    /// It was due to leave the feed; seen from outside.
    Due,
    /// The ingestor has read it; seen from outside.
    Received,
    /// The ingestor has read it, by the programs' own metrics.
    Metrics,
}

/// Milliseconds. The metrics' buckets have no p99.9 worth telling, and no maximum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
}

impl Percentiles {
    pub(crate) fn of(micros: &Micros) -> Self {
        let at = |q| micros.value_at_quantile(q) as f64 / 1e3;
        let max_ms = Some(micros.max() as f64 / 1e3);
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: Some(at(0.999)),
            max_ms,
        }
    }
}

/// A stage as seen from outside, since each moment of which there are samples.
pub(crate) fn outside(stage: &'static str, lateness: &Lateness) -> impl Iterator<Item = Row> {
    let row = |since, micros: &Micros| {
        let (samples, late) = (micros.len(), Percentiles::of(micros));
        (samples > 0).then_some(Row { stage, since, samples, late })
    };
    let due = row(Since::Due, &lateness.since_due);
    due.into_iter().chain(row(Since::Received, &lateness.since_received))
}

/// What the programs say, stage by stage, of about the measured trades.
pub(crate) fn metrics(stages: &Stages) -> impl Iterator<Item = Row> {
    const STAGES: [&str; 7] =
        ["produced", "consumed", "visible", "evaluated", "fired", "published", "delivered"];
    STAGES.into_iter().filter_map(|stage| {
        let at = |q| of_buckets(stages.buckets(stage), q).map(|seconds| seconds * 1e3);
        let (p50_ms, p90_ms, p99_ms) = (at(0.5)?, at(0.9)?, at(0.99)?);
        let late = Percentiles { p50_ms, p90_ms, p99_ms, p999_ms: None, max_ms: None };
        let samples = stages.count(stage) as u64;
        Some(Row { stage, since: Since::Metrics, samples, late })
    })
}

impl Figures {
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "{} symbols, {}, {} trades a frame, {} alerts that never fire",
            self.symbols, self.spread, self.trades_per_frame, self.idle_alerts
        )?;
        for step in &self.steps {
            let verdict = match step.held {
                true => "held".to_owned(),
                false => format!("NOT held: {}", step.why),
            };
            writeln!(
                text,
                "\n{} trades/s for {:.0} s: {verdict} ({} trades in {} records, {} firings)",
                step.rate, step.seconds, step.trades, step.records, step.firings
            )?;
            writeln!(
                text,
                "{:<11} {:<9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
                "stage", "since", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "samples"
            )?;
            for row in &step.rows {
                row.write(text)?;
            }
        }
        if let Some(highest) = self.highest {
            writeln!(text, "\nthe highest rate that has held: {highest} trades/s")?;
        }
        Ok(())
    }
}

impl Row {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let since = match self.since {
            Since::Due => "due",
            Since::Received => "received",
            Since::Metrics => "(metrics)",
        };
        let Percentiles { p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = self.late;
        write!(text, "{:<11} {since:<9}", self.stage)?;
        for value in [Some(p50_ms), Some(p90_ms), Some(p99_ms), p999_ms, max_ms] {
            match value {
                Some(value) => write!(text, " {value:>9.3}")?,
                None => write!(text, " {:>9}", "–")?,
            }
        }
        writeln!(text, " {:>10}", self.samples)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(stage: &'static str, p50_ms: f64, p99_ms: f64) -> Row {
        let late =
            Percentiles { p50_ms, p90_ms: p99_ms, p99_ms, p999_ms: Some(p99_ms), max_ms: None };
        Row { stage, since: Since::Due, samples: 1_000, late }
    }

    pub(crate) fn figures(steps: &[(f64, Vec<Row>)]) -> Figures {
        let step = |(rate, rows): &(f64, Vec<Row>)| StepFigures {
            rate: *rate,
            seconds: 60.0,
            held: true,
            why: String::new(),
            trades: 1_000,
            records: 900,
            record_bytes: 60_000,
            firings: 7,
            rows: rows.clone(),
        };
        Figures {
            began: 1_800_000_000,
            symbols: 500,
            spread: "uniform",
            trades_per_frame: 10,
            idle_alerts: 0,
            steps: steps.iter().map(step).collect(),
            highest: None,
        }
    }

    #[test]
    fn figures_are_a_table_and_json() {
        let figures = figures(&[(20_000.0, vec![row("visible", 1.5, 12.25)])]);
        let table = figures.table();
        assert!(table.contains("20000 trades/s for 60 s: held (1000 trades in 900 records"));
        assert!(
            table.contains(
                "visible     due           1.500    12.250    12.250    12.250         –       1000"
            ),
            "{table}"
        );
        let json = serde_json::to_value(&figures).expect("JSON");
        assert_eq!(json["steps"][0]["rows"][0]["since"], "due");
        assert_eq!(json["steps"][0]["rows"][0]["p99_ms"], 12.25);
    }

    #[test]
    fn percentiles_are_those_of_the_histogram() {
        let mut micros = crate::bench::lateness::micros();
        (1..=1_000).for_each(|micro| micros.saturating_record(micro * 1_000));
        let Percentiles { p50_ms, p99_ms, max_ms, .. } = Percentiles::of(&micros);
        let is_near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 2e-3;
        assert!(is_near(p50_ms, 500.0) && is_near(p99_ms, 990.0), "{p50_ms} {p99_ms}");
        assert!(max_ms.is_some_and(|max| is_near(max, 1_000.0)), "{max_ms:?}");
    }
}
