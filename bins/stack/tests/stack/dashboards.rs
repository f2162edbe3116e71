//! Grafana's dashboards: Grafana's own types accept them, each panel explains itself, and every
//! query has an answer from a real Prometheus that reads a stack under load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use servers::{http, poll};
use service::catalogue::{self, Kind};

use crate::support::{Stack, root, text};

/// Two rates over half a minute, once the first alerts have fired, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

struct Board {
    name: String,
    text: String,
    content: Value,
}

fn boards() -> Vec<Board> {
    let folder = root().join("grafana/dashboards");
    let mut boards: Vec<Board> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a dashboard");
            let content = serde_json::from_str(&text).expect("JSON");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            Board { name, text, content }
        })
        .collect();
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    boards
}

impl Board {
    /// Those that show something.
    fn panels(&self) -> impl Iterator<Item = &Value> {
        let panels = self.content["panels"].as_array().expect("panels");
        panels.iter().filter(|panel| panel["type"] != "row")
    }

    /// The title and the query of each target.
    fn queries(&self) -> impl Iterator<Item = (String, &str)> {
        self.panels().flat_map(|panel| {
            let title = panel["title"].as_str().expect("a title");
            let targets = panel["targets"].as_array().expect("targets");
            let query = |target: &Value| target["legendFormat"].as_str().unwrap_or("").to_owned();
            targets.iter().map(move |target| {
                let expr = target["expr"].as_str().expect("a query");
                (format!("{title} | {}", query(target)), expr)
            })
        })
    }
}

#[test]
fn every_panel_explains_itself() {
    let boards = boards();
    let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
    assert_eq!(names, ["alerts", "gateway", "overview", "pipeline", "tick-latency"]);
    let mut uids = BTreeSet::new();
    for board in &boards {
        let uid = board.content["uid"].as_str().expect("a uid");
        assert!(uids.insert(uid.to_owned()), "{uid} stands twice");
        assert_eq!(board.content["links"][0]["tags"], json!(["gostocks"]), "{}", board.name);
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in board.content["panels"].as_array().expect("panels") {
            assert!(ids.insert(panel["id"].as_u64()), "{}: {}", board.name, panel["id"]);
            let place = &panel["gridPos"];
            let right = place["x"].as_u64().expect("x") + place["w"].as_u64().expect("w");
            assert!(right <= 24, "{}: {}", board.name, panel["title"]);
        }
        for panel in board.panels() {
            let title = panel["title"].as_str().expect("a title");
            assert!(titles.insert(title), "{}: {title} stands twice", board.name);
            let description = panel["description"].as_str().unwrap_or("");
            assert!(description.ends_with('.'), "{}: {title} has no description", board.name);
            let unit = match panel["type"].as_str() {
                Some("heatmap") => &panel["options"]["yAxis"]["unit"],
                _ => &panel["fieldConfig"]["defaults"]["unit"],
            };
            assert!(unit.is_string(), "{}: {title} has no unit", board.name);
        }
    }
}

#[test]
fn queries_ask_for_the_catalogues_metrics_and_no_metric_is_left_out() {
    let rules = fs::read_to_string(root().join("grafana/rules/recording.yml")).expect("rules");
    let mut asked = BTreeSet::new();
    for board in boards() {
        for (panel, query) in board.queries() {
            for word in query.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c)) {
                if word.starts_with("gostocks:") {
                    assert!(rules.contains(&format!("record: {word}\n")), "{panel}: {word}");
                } else if word.starts_with("gostocks_") {
                    let family = family(word).unwrap_or_else(|| panic!("{panel}: {word}"));
                    asked.insert(family);
                }
            }
        }
    }
    let all: BTreeSet<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
    let unasked: Vec<_> = all.difference(&asked).collect();
    assert!(unasked.is_empty(), "on no dashboard: {unasked:?}");
}

/// The metric of the catalogue that has this series.
fn family(series: &str) -> Option<&'static str> {
    let is_it = |metric: &&catalogue::Metric| match metric.kind {
        Kind::Counter | Kind::Gauge => series == metric.name,
        Kind::LatencyHistogram | Kind::SizeHistogram => series
            .strip_prefix(metric.name)
            .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
    };
    catalogue::ALL.iter().find(is_it).map(|metric| metric.name)
}

#[test]
fn grafanas_own_types_accept_them() {
    let Some(cache) = std::env::var_os("GOSTOCKS_CACHE").map(PathBuf::from) else {
        eprintln!("skipped: `cargo stack test` fetches Grafana's types");
        return;
    };
    let modules = cache.join("grafana-types/node_modules");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grafana-types");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an empty folder");
    }
    fs::create_dir_all(&folder).expect("a folder");
    std::os::unix::fs::symlink(&modules, folder.join("node_modules")).expect("a link");
    fs::write(folder.join("grafana.ts"), include_str!("dashboards/grafana.ts")).expect("written");
    for board in boards() {
        let output = compile(&modules, &folder, &board.name, &board.text);
        assert!(output.status.success(), "{}:\n{}", board.name, text(&output.stdout));
    }
    // The types do refuse: what is misspelt, what is missing, what is none of an enum's values.
    let board = boards().into_iter().find(|board| board.name == "tick-latency").expect("it");
    for (good, bad) in [
        ("\"lineWidth\": 1", "\"lineWith\": 1"),
        ("\"schemaVersion\": 39,", ""),
        ("\"format\": \"heatmap\"", "\"format\": \"heat\""),
        ("\"type\": \"bargauge\"", "\"type\": \"bargage\""),
    ] {
        assert!(board.text.contains(good), "{good}");
        let output = compile(&modules, &folder, "bad", &board.text.replace(good, bad));
        assert!(!output.status.success(), "{bad} was accepted");
    }
}

fn compile(modules: &Path, folder: &Path, name: &str, content: &str) -> Output {
    let file = format!("{name}.ts");
    let source = format!(
        "import type {{ Dashboard }} from './grafana';\nexport const board: Dashboard = {content};\n"
    );
    fs::write(folder.join(&file), source).expect("written");
    Command::new(modules.join(".bin/tsc"))
        .args(["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"])
        .args(["--module", "nodenext", "--moduleResolution", "nodenext"])
        .arg(&file)
        .current_dir(folder)
        .output()
        .expect("tsc, which `cargo stack test` fetches")
}

#[test]
fn every_query_has_an_answer_from_a_stack_under_load() {
    let Some(stack) = Stack::new("answers") else { return };
    stack.run(&["up", "--detach", "--rate", "2000"]);
    let status = stack.status();
    let address = |name: &str| status[name]["address"].as_str().expect("an address").to_owned();
    let (prometheus, gateway) = (address("prometheus"), address("gateway"));
    // It ends with the gateway, at the latest.
    let mut client = Command::new("curl")
        .args(["-sN", "-o", "/dev/null", &format!("http://{gateway}/stream?symbols=AAPL")])
        .spawn()
        .expect("curl");
    let mut waiting: BTreeMap<String, String> = boards()
        .iter()
        .flat_map(|board| {
            let name = &board.name;
            let queries =
                board.queries().map(|(panel, query)| (format!("{name} | {panel}"), query));
            queries.map(|(panel, query)| (panel, fill_in(query))).collect::<Vec<_>>()
        })
        .collect();
    assert!(waiting.len() > 100, "{}", waiting.len());
    let mut table = Vec::new();
    let answered = poll(PATIENCE, || {
        make_calls(&gateway);
        waiting.retain(|panel, query| match ask(&prometheus, query) {
            Some(value) => {
                table.push(format!("{panel} | `{query}` | {value}"));
                false
            }
            None => true,
        });
        waiting.is_empty().then_some(())
    });
    client.kill().expect("it still follows");
    client.wait().expect("it has ended");
    assert!(answered.is_some(), "without an answer: {waiting:#?}");
    table.sort();
    // For the table that a release note shows.
    println!("{}", table.join("\n"));
}

/// As Grafana does for a look at everything, every five seconds scraped.
fn fill_in(query: &str) -> String {
    query
        .replace("$__rate_interval", "30s")
        .replace("$service", ".+")
        .replace("$partition", ".+")
        .replace("$stage", "visible")
}

/// What a user does: looks at a price, makes an alert that fires at once, lists, and errs.
fn make_calls(gateway: &str) {
    let paths = ["/price/AAPL", "/price/NOPE", "/candles/AAPL", "/ticks/AAPL", "/alerts?user_id=1"];
    for path in paths {
        http::get(gateway, path).expect("an answer");
    }
    let wish = json!({"user_id": 1, "symbol": "AAPL", "target_price": 1.0, "condition": "ABOVE"});
    let output = Command::new("curl")
        .args(["-sS", "-f", "-H", "content-type: application/json", "-d", &wish.to_string()])
        .arg(format!("http://{gateway}/alerts"))
        .output()
        .expect("curl");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// The first value of the answer that is a number; an error is a defect of the query.
fn ask(prometheus: &str, query: &str) -> Option<String> {
    let (status, body) = servers::prometheus::query(prometheus, query).expect("an answer");
    assert_eq!(status, 200, "{query}: {body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let series = answer["data"]["result"].as_array().expect("a result");
    let values = series.iter().filter_map(|series| series["value"][1].as_str());
    values.filter(|value| *value != "NaN").map(str::to_owned).next()
}
