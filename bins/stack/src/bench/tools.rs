//! wrk and ghz: what they are asked, and what they print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use servers::install::find_program;

const GHZ_MODULE: &str = "github.com/bojand/ghz/cmd/ghz@v0.93.0";

/// With their arguments, but for how long and where.
pub(crate) const WRK: &str = "wrk --threads 1 --connections 64 --latency";
pub(crate) const GHZ: &str = "ghz --insecure --concurrency 64 --connections 64 --format json";

/// What one of them has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests_a_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Answers that were errors.
    pub(crate) failed: u64,
}

impl Load {
    /// Of some rounds, each figure's median, and all that failed. (Of none: nothing.)
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        Self {
            requests_a_second: of(|load| load.requests_a_second),
            p50_ms: of(|load| load.p50_ms),
            p99_ms: of(|load| load.p99_ms),
            failed: rounds.iter().map(|load| load.failed).sum(),
        }
    }
}

/// `script` is Lua.
pub(crate) fn wrk(url: &str, seconds: u64, script: Option<&Path>) -> anyhow::Result<Load> {
    let mut words = WRK.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command.args(["--duration", &format!("{seconds}s")]);
    if let Some(script) = script {
        command.arg("--script").arg(script);
    }
    let output = command.arg(url).output().context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk {url}: {}", String::from_utf8_lossy(&output.stderr));
    parse_wrk(&text).with_context(|| format!("wrk printed {text}"))
}

fn parse_wrk(text: &str) -> Option<Load> {
    let after = |name: &str| {
        text.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.trim().to_owned()))
    };
    Some(Load {
        requests_a_second: after("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(&after("50%")?)?,
        p99_ms: milliseconds(&after("99%")?)?,
        failed: match after("Non-2xx or 3xx responses:") {
            Some(count) => count.parse().ok()?,
            None => 0,
        },
    })
}

/// `1.23ms`, as wrk writes it.
fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    match &text[unit..] {
        "us" => Some(number / 1e3),
        "ms" => Some(number),
        "s" => Some(number * 1e3),
        "m" => Some(number * 60e3),
        _ => None,
    }
}

/// `ghz`, built by Go where it is not in PATH. `None` where there is no Go either, or it does not
/// build: then the calls are not measured.
pub(crate) fn ghz(cache: &Path) -> Option<PathBuf> {
    let folder = cache.join("ghz");
    let built = folder.join("ghz");
    if let Some(found) = find_program("ghz").or_else(|| built.is_file().then(|| built.clone())) {
        return Some(found);
    }
    fs::create_dir_all(&folder).ok()?;
    let output =
        Command::new("go").args(["install", GHZ_MODULE]).env("GOBIN", &folder).output().ok()?;
    output.status.success().then_some(built)
}

/// A call again and again, found by reflection.
pub(crate) fn call(
    ghz: &Path,
    address: &str,
    (method, data): (&str, &str),
    seconds: u64,
) -> anyhow::Result<Load> {
    let output = Command::new(ghz)
        .args(GHZ.split(' ').skip(1))
        .args(["--call", method, "--data", data])
        .args(["--duration", &format!("{seconds}s"), "--duration-stop", "wait", address])
        .output()
        .context("cannot start ghz")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "ghz {method}: {}", String::from_utf8_lossy(&output.stderr));
    parse_ghz(&text).with_context(|| format!("ghz printed {text}"))
}

fn parse_ghz(text: &str) -> Option<Load> {
    let report: Value = serde_json::from_str(text).ok()?;
    let percentiles = report["latencyDistribution"].as_array()?;
    let at = |percent: u64| {
        let found = percentiles.iter().find(|it| it["percentage"] == percent)?;
        Some(found["latency"].as_f64()? / 1e6)
    };
    let statuses = report["statusCodeDistribution"].as_object()?;
    let failed = statuses.iter().filter(|(status, _)| *status != "OK");
    Some(Load {
        requests_a_second: report["rps"].as_f64()?,
        p50_ms: at(50)?,
        p99_ms: at(99)?,
        failed: failed.filter_map(|(_, count)| count.as_u64()).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_some_rounds_the_middle_counts() {
        let load = |requests_a_second, p99_ms, failed| Load {
            requests_a_second,
            p50_ms: 1.0,
            p99_ms,
            failed,
        };
        let rounds = [load(300.0, 9.0, 0), load(100.0, 2.0, 1), load(200.0, 1.0, 2)];
        assert_eq!(Load::median(&rounds), load(200.0, 2.0, 3));
    }

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread \
                    Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   617.20us    1.02ms  \
                    22.47ms   96.26%\n    Req/Sec   117.68k     7.46k  126.28k    76.19%\n  Latency \
                    Distribution\n     50%  511.00us\n     75%  603.00us\n     90%  731.00us\n     \
                    99%    4.83ms\n  245802 requests in 2.10s, 35.63MB read\n  Non-2xx or 3xx \
                    responses: 12\nRequests/sec: 117086.41\nTransfer/sec:     16.97MB\n";
        let load = Load { requests_a_second: 117_086.41, p50_ms: 0.511, p99_ms: 4.83, failed: 12 };
        assert_eq!(parse_wrk(text), Some(load));
        let none = text.replace("  Non-2xx or 3xx responses: 12\n", "");
        assert_eq!(parse_wrk(&none).map(|load| load.failed), Some(0));
        assert_eq!(parse_wrk("unable to connect"), None);
        assert_eq!(milliseconds("1.50s"), Some(1_500.0));
    }

    #[test]
    fn what_ghz_prints_is_read() {
        let text = r#"{"count":10,"rps":1234.5,"statusCodeDistribution":{"OK":9,"Unavailable":1},
            "latencyDistribution":[{"percentage":50,"latency":1500000},
            {"percentage":99,"latency":12250000}]}"#;
        let load = Load { requests_a_second: 1_234.5, p50_ms: 1.5, p99_ms: 12.25, failed: 1 };
        assert_eq!(parse_ghz(text), Some(load));
        assert_eq!(parse_ghz("{}"), None);
    }
}
