//! `loadgen bench` between real programs: it finds what it has sent, and refuses to tell figures where
//! it does not. How high they are is for a quiet machine to judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{Alerts, Exit, Pipeline, Program, kafka, postgresql};

const PATIENCE: Duration = Duration::from_secs(120);

/// Two days before any trade of a test: no program touches it.
const OLD_CANDLE: [&str; 2] =
    ["1600041600000", "1.0 1.0 1.0 1.0 5.0 7 1600041600000@0.0 1600041600000@0.0"];

/// Everything that a benchmark needs, running.
struct Rig {
    way: Pipeline,
    alerts: Alerts,
    /// The ingestor's last: without a benchmark it has no feed.
    programs: Vec<Program>,
}

impl Rig {
    fn start() -> Self {
        let way = Pipeline::new(kafka().brokers(), "bench");
        let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
        let output = Command::new(testkit::binary("loadgen")).args(["symbols", "20"]).output();
        let symbols = String::from_utf8(output.expect("loadgen").stdout).expect("UTF-8");
        let mut programs = vec![
            alerts.service(),
            way.processor("processor-group"),
            way.gateway(&[("ALERT_SERVICE_ADDR", &alerts.address())]),
        ];
        for program in &mut programs {
            program.wait_ready();
        }
        programs.push(way.ingestor(symbols.trim(), &[]));
        Self { way, alerts, programs }
    }

    fn bench(&mut self, arguments: &str) -> Program {
        let listen = format!("127.0.0.1:{}", self.way.feed_port());
        let metrics: Vec<&str> = self.programs.iter().map(Program::metrics).collect();
        let redis = self.way.redis().address().to_owned();
        let settings = [
            ("KAFKA_BROKERS", self.way.kafka().brokers()),
            ("KAFKA_TOPIC", self.way.topic()),
            ("KAFKA_FIRINGS_TOPIC", self.alerts.firings_topic()),
            ("REDIS_ADDR", &redis),
            ("ALERT_SERVICE_ADDR", &self.alerts.address()),
        ];
        let fixed = "bench --symbols 20 --warm-up 1 --firings 10";
        let gateway = self.way.gateway_address();
        let metrics = metrics.join(",");
        let places = ["--listen", &listen, "--gateway", &gateway, "--metrics", &metrics];
        let arguments: Vec<&str> =
            fixed.split(' ').chain(places).chain(arguments.split(' ')).collect();
        Program::start("loadgen", &arguments, &settings)
    }

    fn redis(&mut self, command: &[&str]) {
        let client = redis::Client::open(format!("redis://{}", self.way.redis().address()));
        let mut connection = client.expect("an address").get_connection().expect("a Redis");
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query::<i64>(&mut connection).expect("an answer");
    }
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("gostocks-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_benchmark_finds_what_it_has_sent() {
    let mut rig = Rig::start();
    let (json, plot) = (Scratch::new("figures.json"), Scratch::new("plot.svg"));
    let arguments = format!(
        "--rate 500,1000 --hold 2 --alerts 200 --spread zipf --json {} --plot {}",
        json.path().display(),
        plot.path().display()
    );
    let mut bench = rig.bench(&arguments);
    let exit = bench.wait_exit(PATIENCE);
    let log = bench.log();
    assert_eq!(exit, Exit::Code(0), "{log}");
    let text = fs::read_to_string(json.path()).expect("figures");
    let figures: Value = serde_json::from_str(&text).expect("JSON");
    let steps = figures["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 2);
    for (step, trades) in steps.iter().zip([1_500, 3_000]) {
        assert_eq!((&step["trades"], &step["firings"]), (&trades.into(), &20.into()), "{step:#}");
        let samples = |stage: &str, since: &str| {
            let mut rows = step["rows"].as_array().expect("rows").iter();
            let row = rows.find(|row| row["stage"] == stage && row["since"] == since);
            row.map_or(0, |row| row["samples"].as_u64().expect("a number"))
        };
        // All symbols are watched; both clients see them.
        let measured = trades - trades / 3;
        for stage in ["visible", "delivered"] {
            assert_eq!(samples(stage, "due"), measured, "{stage}: {step:#}");
            assert_eq!(samples(stage, "received"), measured, "{stage}");
        }
        assert_eq!(samples("published", "due"), 20);
        // The metrics are asked for at about the end of the warm-up.
        let counted = samples("visible", "metrics");
        assert!((measured / 2..trades).contains(&counted), "{counted} of {trades}: {step:#}");
        assert!((10..=20).contains(&samples("fired", "metrics")), "{step:#}");
        let followed = samples("log", "due");
        assert!((1..measured).contains(&followed), "{followed} on one partition");
    }
    assert!(log.contains("1000 trades/s for 2 s: "), "{log}");
    let plot = fs::read_to_string(plot.path()).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.contains(">delivered<"));

    // A second one on the same services finds its own trades, and nobody else's.
    let mut bench = rig.bench("--rate 500 --hold 1");
    assert_eq!(bench.wait_exit(PATIENCE), Exit::Code(0), "{}", bench.log());
}

#[test]
fn a_benchmark_tells_no_figures_where_something_is_lost() {
    let mut rig = Rig::start();
    let mut bench = rig.bench("--rate 500 --hold 1");
    assert_eq!(bench.wait_exit(PATIENCE), Exit::Code(0), "{}", bench.log());
    let key = "candles:{AAPL}:1d";
    rig.redis(&["HSET", key, OLD_CANDLE[0], OLD_CANDLE[1]]);
    let json = Scratch::new("wrong.json");
    let mut bench = rig.bench(&format!("--rate 500 --hold 4 --json {}", json.path().display()));
    bench.wait_for_log("500 trades/s: ");
    rig.redis(&["HDEL", key, OLD_CANDLE[0]]);
    let exit = bench.wait_exit(PATIENCE);
    let log = bench.log();
    assert_eq!(exit, Exit::Code(1), "{log}");
    assert!(log.contains("WRONG: 1 symbols with another number of trades in Redis: AAPL"), "{log}");
    assert!(log.contains("WRONG: 1 symbols with another sum of volumes in Redis: AAPL"), "{log}");
    assert!(!log.contains("p50 ms") && !json.path().exists(), "{log}");
}
