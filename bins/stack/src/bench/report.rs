//! `benches/RESULTS.md`. Pure.

use std::fmt::{self, Write};

use serde_json::Value;

use crate::bench::criterion::Median;
use crate::bench::tools::{GHZ, Load, WRK};

/// Everything that a run has found.
pub(crate) struct Results {
    pub(crate) is_quick: bool,
    /// Name and value.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) ways: Vec<Way>,
    pub(crate) floors: Floors,
    pub(crate) asked: Vec<Asked>,
    /// Resident megabytes of each program at the end.
    pub(crate) memory: Vec<(&'static str, f64)>,
    pub(crate) medians: Vec<Median>,
    /// Of benchmarks that are not criterion's: name, and what each printed.
    pub(crate) printed: Vec<(String, String)>,
}

/// A run of `loadgen bench`.
pub(crate) struct Way {
    pub(crate) title: &'static str,
    pub(crate) arguments: String,
    /// Its JSON.
    pub(crate) figures: Value,
}

/// What `loadgen floor` has printed of each.
pub(crate) struct Floors {
    pub(crate) broker: Value,
    pub(crate) redis: Value,
    pub(crate) commit: Value,
    pub(crate) copy: Value,
}

/// Requests of one kind.
pub(crate) struct Asked {
    pub(crate) what: &'static str,
    /// Whose share of the first one's requests a second is told; `None`: nobody's.
    pub(crate) floor: Option<&'static str>,
    pub(crate) load: Load,
}

impl Results {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let quick = if self.is_quick { " --quick" } else { "" };
        writeln!(
            out,
            "# Results\n\nWritten by `cargo stack bench{quick}`, which measures all of it again. Load \
             generator, servers and services share the machine.\n"
        )?;
        if self.is_quick {
            writeln!(out, "**A quick run: everything was held for seconds only.**\n")?;
        }
        writeln!(out, "| | |\n|---|---|")?;
        for (name, value) in &self.facts {
            writeln!(out, "| {name} | {value} |")?;
        }
        self.ratios(out)?;
        writeln!(
            out,
            "\n## The whole way\n\nAn open loop: `due` counts from when a trade was due to leave the \
             feed, `received` from when the ingestor read it, both seen from outside; `metrics` is what \
             the programs say of themselves, since received. A rate is held if no \
             stage is ever more than a second late, and none falls back over the last half. After each \
             rate the log, Redis and the firings held exactly what was sent: without that there are no \
             figures here.\n\n![percentiles over rate](latency.svg)"
        )?;
        self.ways.iter().try_for_each(|way| way.write(out))?;
        self.requests(out)?;
        let memory =
            self.memory.iter().map(|(name, megabytes)| format!("{name} {megabytes:.0} MB"));
        let memory: Vec<String> = memory.collect();
        writeln!(out, "\nResident at the end: {}.", memory.join(", "))?;
        self.criterion(out)
    }

    /// Each figure that has a floor, beside it.
    fn ratios(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "\n## Beside their floors\n\n| what | figure | floor | ratio |\n|---|---|---|---|"
        )?;
        let Floors { broker, redis, commit, copy } = &self.floors;
        let step = self.ways.first().map_or(&Value::Null, |way| &way.figures["steps"][0]);
        let at = |stage, field: &str| row(step, stage, "metrics")[field].as_f64();
        let rate = number(step["rate"].as_f64());
        for (field, name) in [("p50_ms", "p50"), ("p99_ms", "p99")] {
            line(
                out,
                &format!("received → visible in Redis at {rate} trades/s, {name} (metrics)"),
                (at("visible", field), "ms"),
                ("bare produce → consume of as many records", broker[field].as_f64()),
            )?;
        }
        let (trip, commit) = (broker["p99_ms"].as_f64(), commit["p99_ms"].as_f64());
        line(
            out,
            &format!("received → firing committed at {rate} trades/s, p99 (metrics)"),
            (at("fired", "p99_ms"), "ms"),
            ("2 × that round trip + one bare commit", trip.zip(commit).map(|(a, b)| 2.0 * a + b)),
        )?;
        line(
            out,
            "symbols written to Redis, guarded",
            (redis["guarded_a_second"].as_f64(), "/s"),
            ("the same by plain commands", redis["plain_a_second"].as_f64()),
        )?;
        for asked in &self.asked {
            let Some(floor) = asked.floor else { continue };
            let floor = self.asked.iter().find(|other| other.what == floor);
            line(
                out,
                asked.what,
                (Some(asked.load.requests_a_second), "/s"),
                (floor.map_or("", |floor| floor.what), floor.map(|it| it.load.requests_a_second)),
            )?;
        }
        for way in &self.ways {
            let Some(highest) = way.figures["highest"].as_f64() else { continue };
            let mut steps = way.figures["steps"].as_array().into_iter().flatten();
            let last = steps.rfind(|step| step["held"] == true);
            let bytes = last.and_then(|step| {
                Some(highest * step["record_bytes"].as_f64()? / step["trades"].as_f64()? / 1e6)
            });
            let memory = copy["gigabytes_a_second"].as_f64().map(|it| it * 1e3);
            line(
                out,
                &format!("{}: bytes on the log at {} trades/s", way.title, number(Some(highest))),
                (bytes, "MB/s"),
                ("memcpy", memory),
            )?;
        }
        let hset = number(redis["hset_a_second"].as_f64());
        let p50 = number(self.floors.commit["p50_ms"].as_f64());
        writeln!(
            out,
            "\nBare round trip: {} records/s of {} bytes, {} consumers of all of it. HSET of three fields \
             alone: {hset}/s. Bare commit: p50 {p50} ms. (`loadgen floor broker`, `redis`, `commit`, \
             `copy`, `http`.)",
            number(broker["records_a_second"].as_f64()),
            broker["bytes"],
            broker["consumers"],
        )
    }

    fn requests(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "\n## Requests\n\n64 connections, nothing else under way: `{WRK} URL` (for POST with a script \
             that sets method and body; of GET and the bare answer the medians of five rounds in turn), \
             `{GHZ} --call METHOD --data JSON ADDRESS`.\n\n| what | a \
             second | p50 ms | p99 ms | failed |\n|---|---|---|---|---|"
        )?;
        for Asked { what, load, .. } in &self.asked {
            let [rate, p50, p99] =
                [load.requests_a_second, load.p50_ms, load.p99_ms].map(|it| number(Some(it)));
            writeln!(out, "| {what} | {rate} | {p50} | {p99} | {} |", load.failed)?;
        }
        Ok(())
    }

    fn criterion(&self, out: &mut String) -> fmt::Result {
        for (name, printed) in &self.printed {
            let printed = printed.trim();
            writeln!(
                out,
                "\n## {name}\n\n`GOSTOCKS_BINARIES=target/dist cargo bench --package benches --bench {name}`\n\n\
                 ```text\n{printed}\n```"
            )?;
        }
        if self.medians.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n## Hot paths\n\nMedians of `cargo bench --package benches`.\n\n| benchmark | an iteration | \
             throughput |\n|---|---|---|"
        )?;
        for median in &self.medians {
            let per = |count: f64| count / median.nanoseconds * 1e9;
            let throughput = match (median.elements, median.bytes) {
                (Some(count), _) => {
                    let each = time(median.nanoseconds / count);
                    format!("{} M/s ({each} each)", number(Some(per(count) / 1e6)))
                }
                (None, Some(bytes)) => format!("{} MB/s", number(Some(per(bytes) / 1e6))),
                (None, None) => String::new(),
            };
            // A bar would end the cell.
            let name = median.name.replace('|', "\\|");
            writeln!(out, "| {name} | {} | {throughput} |", time(median.nanoseconds))?;
        }
        Ok(())
    }
}

impl Way {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n### {}\n\n`loadgen bench {}`\n", self.title, self.arguments)?;
        let steps = self.figures["steps"].as_array().map_or(&[][..], Vec::as_slice);
        if !self.arguments.contains("--search") {
            return table(out, steps);
        }
        let highest = self.figures["highest"].as_f64();
        match highest {
            Some(rate) => writeln!(out, "**Highest rate held: {} trades/s.**", number(Some(rate)))?,
            None => writeln!(out, "**No rate was held for the whole time.**")?,
        }
        writeln!(out, "\nTried, in this order:\n")?;
        for step in steps {
            let p99 = |stage| number(row(step, stage, "due")["p99_ms"].as_f64());
            writeln!(
                out,
                "- {} trades/s for {} s: {}; visible {}, published {} ms (p99, since due)",
                number(step["rate"].as_f64()),
                number(step["seconds"].as_f64()),
                verdict(step),
                p99("visible"),
                p99("published"),
            )?;
        }
        writeln!(out)?;
        match (highest, steps) {
            (Some(_), [.., last]) => table(out, std::slice::from_ref(last)),
            _ => Ok(()),
        }
    }
}

fn verdict(step: &Value) -> String {
    match step["held"].as_bool() {
        Some(true) => "held".to_owned(),
        _ => format!("not held, {}", step["why"].as_str().unwrap_or_default()),
    }
}

/// Every stage of some steps.
fn table(out: &mut String, steps: &[Value]) -> fmt::Result {
    writeln!(
        out,
        "| trades/s | for | stage | since | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | samples |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    )?;
    for step in steps {
        let (rate, seconds) = (number(step["rate"].as_f64()), number(step["seconds"].as_f64()));
        let mut begin = format!("{rate} | {seconds} s, {}", verdict(step));
        for row in step["rows"].as_array().into_iter().flatten() {
            let late = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];
            let late = late.map(|field| number(row[field].as_f64())).join(" | ");
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let (stage, since) = (text("stage"), text("since"));
            writeln!(out, "| {begin} | {stage} | {since} | {late} | {} |", row["samples"])?;
            begin = " | ".to_owned();
        }
    }
    Ok(())
}

fn row<'a>(step: &'a Value, stage: &str, since: &str) -> &'a Value {
    let mut rows = step["rows"].as_array().into_iter().flatten();
    rows.find(|row| row["stage"] == stage && row["since"] == since).unwrap_or(&Value::Null)
}

/// A figure and the floor under it, both in `unit`.
fn line(
    out: &mut String,
    what: &str,
    (figure, unit): (Option<f64>, &str),
    (floor_name, floor): (&str, Option<f64>),
) -> fmt::Result {
    let ratio = figure.zip(floor).map(|(figure, floor)| figure / floor);
    writeln!(
        out,
        "| {what} | {} {unit} | {floor_name}: {} {unit} | {} |",
        number(figure),
        number(floor),
        number(ratio)
    )
}

/// To three digits, with commas between thousands; a dash where there is none.
fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "–".to_owned() };
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = value.abs().log10().floor() as i32 - 2;
    if digits < 0 {
        return format!("{value:.*}", digits.unsigned_abs() as usize);
    }
    let unit = 10_f64.powi(digits);
    let text = format!("{:.0}", (value / unit).round() * unit);
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        1e9.. => (nanoseconds / 1e9, "s"),
        1e6.. => (nanoseconds / 1e6, "ms"),
        1e3.. => (nanoseconds / 1e3, "µs"),
        _ => (nanoseconds, "ns"),
    };
    format!("{} {unit}", number(Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let check = |value: f64, expected: &str| assert_eq!(number(Some(value)), expected);
        check(0.0, "0");
        check(0.012_345, "0.0123");
        check(1.5, "1.50");
        check(123.4, "123");
        check(1_234.0, "1,230");
        check(999_090.0, "999,000");
        check(1_234_567.0, "1,230,000");
        assert_eq!(number(None), "–");
        assert_eq!(time(1_234.5), "1.23 µs");
        assert_eq!(time(75.0), "75.0 ns");
    }

    #[test]
    fn each_figure_stands_beside_its_floor() {
        let row = |stage: &str, p50: f64, p99: f64| {
            json!({"stage": stage, "since": "metrics", "samples": 9, "p50_ms": p50, "p90_ms": p50,
                "p99_ms": p99, "p999_ms": null, "max_ms": null})
        };
        let rows = [row("visible", 3.0, 12.0), row("fired", 5.0, 30.0)];
        let step = json!({"rate": 20_000.0, "seconds": 60.0, "held": true, "why": "", "rows": rows,
            "trades": 100.0, "record_bytes": 6_400.0});
        let figures = json!({"steps": [step], "highest": 20_000.0});
        let arguments = "--rate 20000 --search".to_owned();
        let load =
            |requests_a_second| Load { requests_a_second, p50_ms: 0.5, p99_ms: 4.0, failed: 0 };
        let results = Results {
            is_quick: true,
            facts: vec![("kernel", "6.1".to_owned())],
            ways: vec![Way { title: "Uniform", arguments, figures }],
            floors: Floors {
                broker: json!({"p50_ms": 2.0, "p99_ms": 10.0, "records_a_second": 19_000.0, "bytes": 64,
                    "consumers": 2}),
                redis: json!({"guarded_a_second": 80.0, "plain_a_second": 100.0, "hset_a_second": 400.0}),
                commit: json!({"p50_ms": 1.0, "p99_ms": 5.0}),
                copy: json!({"gigabytes_a_second": 10.0}),
            },
            asked: vec![
                Asked { what: "bare", floor: None, load: load(100_000.0) },
                Asked { what: "GET /price", floor: Some("bare"), load: load(90_000.0) },
            ],
            memory: vec![("alert", 135.0)],
            medians: vec![Median {
                name: "fold".to_owned(),
                nanoseconds: 1_500.0,
                elements: Some(100.0),
                bytes: None,
            }],
            printed: vec![("alerts".to_owned(), "bulk: 7 rows/s\n".to_owned())],
        };
        let text = results.text();
        for expected in [
            "cargo stack bench --quick",
            "| kernel | 6.1 |",
            "visible in Redis at 20,000 trades/s, p50 (metrics) | 3.00 ms | bare produce → consume of as \
             many records: 2.00 ms | 1.50 |",
            "p99 (metrics) | 30.0 ms | 2 × that round trip + one bare commit: 25.0 ms | 1.20 |",
            "guarded | 80.0 /s | the same by plain commands: 100 /s | 0.800 |",
            "| GET /price | 90,000 /s | bare: 100,000 /s | 0.900 |",
            "bytes on the log at 20,000 trades/s | 1.28 MB/s | memcpy: 10,000 MB/s | 0.000128 |",
            "**Highest rate held: 20,000 trades/s.**",
            "- 20,000 trades/s for 60.0 s: held; visible –, published – ms",
            "| 20,000 | 60.0 s, held | visible | metrics | 3.00 | 3.00 | 12.0 | – | – | 9 |",
            "```text\nbulk: 7 rows/s\n```",
            "|  |  | fired |",
            "| fold | 1.50 µs | 66.7 M/s (15.0 ns each) |",
            "Resident at the end: alert 135 MB.",
        ] {
            assert!(text.contains(expected), "{expected}\n\n{text}");
        }
    }
}
