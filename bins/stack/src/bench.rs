//! All benchmarks on one machine, and what they have found as `benches/RESULTS.md`.

mod criterion;
mod machine;
mod report;
mod rig;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use serde_json::Value;
use servers::cargo;
use servers::install::{Purpose, install};
use servers::kafka::Distribution;

use crate::build::{BUILT, Profile, build};
use crate::cli::Bench;
use crate::paths::Paths;
use crate::ui::Ui;
use report::{Asked, Floors, Results, Way};
use rig::Rig;
use tools::{Load, call, ghz, wrk};

const SYMBOLS: usize = 500;

/// How often a query and its floor are asked, in turn: the machine is not as fast all the time.
const REQUEST_ROUNDS: u64 = 5;

/// How long everything is held, and how much of it there is.
struct Extent {
    /// Arguments of every `loadgen bench`.
    times: &'static str,
    /// Seconds before anything is measured.
    warm_up: u32,
    /// Before the latency that is compared with the bare broker's: Java compiles the broker's
    /// busiest code for two minutes, on the cores that it serves with.
    broker_warm_up: u32,
    alerts: u32,
    /// Of wrk, ghz and the bare round trip, in seconds.
    seconds: u64,
    /// Arguments of criterion's benchmarks.
    criterion: &'static [&'static str],
    /// How many alerts the others use; `None`: as many as they like.
    bench_alerts: Option<&'static str>,
}

const WHOLE: Extent = Extent {
    times: "--hold 60 --trial 10",
    warm_up: 5,
    broker_warm_up: 150,
    alerts: 1_000_000,
    seconds: 20,
    criterion: &["--", "--warm-up-time", "1", "--measurement-time", "3"],
    bench_alerts: None,
};
const QUICK: Extent = Extent {
    times: "--hold 6 --trial 3",
    warm_up: 2,
    broker_warm_up: 5,
    alerts: 50_000,
    seconds: 4,
    criterion: &["--", "--quick"],
    bench_alerts: Some("20000"),
};

pub(crate) fn run(paths: &Paths, options: &Bench) -> anyhow::Result<ExitCode> {
    let ui = Ui::new();
    let extent = if options.quick { QUICK } else { WHOLE };
    let task = ui.task("packages");
    install(Purpose::Bench, &paths.cache, &|what| task.announce(what))?;
    Distribution::install(&paths.cache)?;
    let ghz = ghz(&paths.cache);
    task.done(if ghz.is_some() { "all there" } else { "all there but ghz, which needs Go" });
    let binaries = build(paths, Profile::Dist, &ui, &AtomicBool::new(false))?.folder;
    // First, while nothing else runs.
    let hot = match options.no_hot_paths {
        true => HotPaths::default(),
        false => hot_paths(paths, &binaries, &extent, &ui)?,
    };

    let mut rig = Rig::start(paths, &binaries, SYMBOLS, &ui)?;
    rig.start_services(&ui)?;
    let latency = latency(&mut rig, &extent, &ui)?;
    // At once: what the broker's virtual machine has compiled by then counts for both.
    let floors = floors(&rig, &latency, &extent, &ui)?;
    let mut ways = vec![latency];
    ways.extend(rates(&mut rig, &extent, &ui)?);
    let plot = fs::read_to_string(rig.plot())?;
    let memory = rig.memory();
    let asked = asked(&mut rig, ghz.as_deref(), &extent, &ui)?;

    let librdkafka = floors.broker["librdkafka"].as_str().unwrap_or("unknown");
    let mut facts = machine::facts(&paths.root, rig.postgresql_version(), librdkafka);
    facts.push(("alerts armed throughout", extent.alerts.to_string()));
    let (is_quick, HotPaths { medians, printed }) = (options.quick, hot);
    let results = Results { is_quick, facts, ways, floors, asked, memory, medians, printed };
    let folder = paths.root.join("benches");
    let file = folder.join("RESULTS.md");
    fs::write(&file, results.text()).with_context(|| format!("cannot write {}", file.display()))?;
    fs::write(folder.join("latency.svg"), plot)?;
    ui.say(&format!("all of it is in {}", paths.short(&file).display()));
    Ok(ExitCode::SUCCESS)
}

/// What the benchmarks of `benches` have found: criterion's, and what others have printed.
#[derive(Default)]
struct HotPaths {
    medians: Vec<criterion::Median>,
    printed: Vec<(String, String)>,
}

fn hot_paths(paths: &Paths, binaries: &Path, extent: &Extent, ui: &Ui) -> anyhow::Result<HotPaths> {
    let folder = paths.root.join("benches");
    let (since, mut printed) = (SystemTime::now(), Vec::new());
    for name in criterion::benches(&fs::read_to_string(folder.join("Cargo.toml"))?) {
        let task = ui.task("hot paths");
        task.announce(&name);
        let source = fs::read_to_string(folder.join(format!("{name}.rs")))?;
        let is_criterion = source.contains("criterion_main!");
        let mut command = cargo();
        command
            .args(["bench", "--quiet", "--package", "benches", "--bench", &name])
            .args(if is_criterion { extent.criterion } else { &[] })
            .envs(extent.bench_alerts.map(|count| ("ALERTS", count)))
            .env(BUILT, binaries)
            .env("GOSTOCKS_CACHE", &paths.cache)
            .current_dir(&paths.root);
        let output = command.output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "the benchmark {name} has failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        if !is_criterion {
            printed.push((name.clone(), text.into_owned()));
        }
        task.done(name);
    }
    // Beside the folder of the programs.
    let measured = binaries.parent().map(|folder| folder.join("criterion"));
    let medians = criterion::medians(&measured.context("a folder of the build")?, since);
    Ok(HotPaths { medians, printed })
}

/// How late each stage is at a usual rate, with a broker that has warmed up.
fn latency(rig: &mut Rig, extent: &Extent, ui: &Ui) -> anyhow::Result<Way> {
    let Extent { times, broker_warm_up, alerts, .. } = extent;
    let arguments = format!("--rate 20000 --alerts {alerts} {times} --warm-up {broker_warm_up}");
    way(rig, "Latency at 20,000 trades a second", arguments, &[], ui)
}

/// The highest rates, and how late each stage is over the rate.
fn rates(rig: &mut Rig, extent: &Extent, ui: &Ui) -> anyhow::Result<Vec<Way>> {
    let Extent { times, warm_up, .. } = extent;
    let one_a_record = [("TICKS_PER_RECORD", "1".to_owned())];
    let runs = [
        ("Highest rate, all symbols alike", "--search --rate 100000", &[][..]),
        ("Highest rate, symbols as in a market", "--search --rate 100000 --spread zipf", &[]),
        ("Highest rate, a record a trade", "--search --rate 50000", &one_a_record[..]),
        ("Percentiles over rate", "--rate 1000,5000,20000,50000,100000,200000", &[]),
    ];
    let run = |(title, arguments, settings): (_, &str, &[_])| {
        way(rig, title, format!("{arguments} {times} --warm-up {warm_up}"), settings, ui)
    };
    runs.into_iter().map(run).collect()
}

/// `loadgen bench` with these arguments, and the ingestor with these settings.
fn way(
    rig: &mut Rig,
    title: &'static str,
    arguments: String,
    settings: &[(&'static str, String)],
    ui: &Ui,
) -> anyhow::Result<Way> {
    let task = ui.task("bench");
    task.announce(title);
    rig.start_ingestor(settings)?;
    let figures = rig.bench(&arguments, &task)?;
    task.done(format!("{title}: {}", said(&figures)));
    Ok(Way { title, arguments, figures })
}

/// A run in a few words.
fn said(figures: &Value) -> String {
    if let Some(highest) = figures["highest"].as_f64() {
        return format!("{highest} trades/s");
    }
    let steps = figures["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let held = steps.iter().filter(|step| step["held"] == true).count();
    format!("{held} of {} rates held", steps.len())
}

/// The bare round trip is of records like those of the first way: as many, and as large.
fn floors(rig: &Rig, way: &Way, extent: &Extent, ui: &Ui) -> anyhow::Result<Floors> {
    let task = ui.task("floors");
    let step = &way.figures["steps"][0];
    let of = |name: &str| step[name].as_f64().context("figures of the first way");
    let (trades, records, bytes) = (of("trades")?, of("records")?, of("record_bytes")?);
    let rate = of("rate")? * records / trades;
    let seconds = extent.seconds;
    task.step("broker");
    let broker = format!(
        "broker --rate {rate:.0} --bytes {:.0} --duration {seconds}",
        (bytes / records).max(8.0)
    );
    let broker = rig.floor(&broker)?;
    task.step("redis");
    let redis = rig.floor_redis()?;
    task.step("commit");
    let commit = rig.floor("commit")?;
    task.step("copy");
    let copy = rig.floor("copy")?;
    task.done("broker, Redis, PostgreSQL and memory by themselves");
    Ok(Floors { broker, redis, commit, copy })
}

/// Queries and CreateAlert.
fn asked(
    rig: &mut Rig,
    ghz: Option<&Path>,
    extent: &Extent,
    ui: &Ui,
) -> anyhow::Result<Vec<Asked>> {
    const BARE: &str = "a bare axum answer";
    let task = ui.task("requests");
    let seconds = extent.seconds;
    let gateway = format!("http://{}", rig.gateway);
    let mut asked = Vec::new();
    let each = (seconds / REQUEST_ROUNDS).max(1);
    let (bare, ours) = rig.with_bare_http(|address| {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..REQUEST_ROUNDS {
            task.step(BARE);
            bare.push(wrk(&format!("http://{address}/price/AAPL"), each, None)?);
            task.step("GET /price/AAPL");
            ours.push(wrk(&format!("{gateway}/price/AAPL"), each, None)?);
        }
        Ok((bare, ours))
    })?;
    asked.push(Asked { what: BARE, floor: None, load: Load::median(&bare) });
    asked.push(Asked { what: "GET /price/AAPL", floor: Some(BARE), load: Load::median(&ours) });
    task.step("POST /alerts");
    let script = posting(rig)?;
    let load = wrk(&format!("{gateway}/alerts"), seconds, Some(&script))?;
    asked.push(Asked { what: "POST /alerts", floor: None, load });
    if let Some(ghz) = ghz {
        let price = ("gostocks.market.v1.MarketService/GetPrice", r#"{"symbol":"AAPL"}"#);
        let alert = (
            "gostocks.alert.v1.AlertService/CreateAlert",
            r#"{"userId":1,"symbol":"AAPL","condition":"ALERT_CONDITION_ABOVE","targetPrice":9000000}"#,
        );
        for (what, address, method) in
            [("gRPC GetPrice", &rig.gateway_grpc, price), ("gRPC CreateAlert", &rig.alert, alert)]
        {
            task.step(what);
            let load = call(ghz, address, method, seconds)?;
            asked.push(Asked { what, floor: None, load });
        }
    }
    task.done("HTTP and gRPC");
    Ok(asked)
}

/// What wrk is to send, as Lua: an alert that never fires.
fn posting(rig: &Rig) -> anyhow::Result<PathBuf> {
    let script = rig.folder().join("post.lua");
    let text = r#"wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":9000000}'
"#;
    fs::write(&script, text)?;
    Ok(script)
}
