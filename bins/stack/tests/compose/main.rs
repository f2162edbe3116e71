//! `docker compose up` as a newcomer types it, with a real engine.
//!
//! Images that cannot be pulled have stand-ins (`stand-ins/README.md`). Part of
//! `cargo stack test --all`; where there is no engine it says so and does nothing.

mod compose;
mod images;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::{http, poll, prometheus};

use crate::compose::{Compose, run};

const GATEWAY: &str = "127.0.0.1:8080";
const PROMETHEUS: &str = "127.0.0.1:9090";
/// What stands on localhost, and nothing else does.
const PUBLISHED: [u16; 9] = [3000, 5433, 6379, 8080, 8081, 9090, 9092, 50051, 50052];
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn everything_becomes_healthy_and_answers() {
    if std::env::var_os("GOSTOCKS_TEST_ALL").is_none() {
        eprintln!("skipped: a part of `cargo stack test --all`");
        return;
    }
    if let Err(why) = compose::engine() {
        eprintln!("skipped: {why}");
        return;
    }
    let compose = Compose::new();
    let clean = compose.run(&["config", "--quiet"]);
    assert!(clean.is_empty(), "{clean}");
    let _images = match images::obtain(&compose) {
        Ok(images) => images,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    eprintln!("building the images");
    let begun = Instant::now();
    compose.run(&["build", "--quiet"]);
    eprintln!("built in {:.0} s", begun.elapsed().as_secs_f64());
    compose.print_image_sizes();

    let begun = Instant::now();
    compose.run(&["up", "--detach", "--wait", "--wait-timeout", "180"]);
    eprintln!("everything is healthy after {:.1} s", begun.elapsed().as_secs_f64());
    first_price();
    eprintln!("the first price after {:.1} s", begun.elapsed().as_secs_f64());
    compose.print_usage("at rest, 100 trades a second");
    the_originals_curl_lines();
    every_target_is_up(9);
    what_the_console_decodes_is_there(&compose);
    assert_eq!(compose.published(), PUBLISHED.into());
    assert_eq!(compose.roots(), BTreeSet::new(), "nothing runs as root");

    compose.run(&["--profile", "scale", "--profile", "load", "up", "--detach", "--wait"]);
    every_target_is_up(12);
    let rate = poll(PATIENCE, || {
        let rate = query("sum(rate(gostocks_trades_consumed_total{job='processor'}[30s]))")?;
        (rate > 18_000.0).then_some(rate)
    });
    eprintln!("with two processors: {:.0} trades/s", rate.expect("the load"));
    compose.print_usage("under load, 20,000 trades a second, two processors, two alert instances");
}

fn first_price() {
    let body = poll(PATIENCE, || {
        let (status, body) = http::get(GATEWAY, "/price/AAPL").ok()?;
        (status == 200).then_some(body)
    });
    let price: Value = serde_json::from_str(&body.expect("a price")).expect("JSON");
    assert!(price["price"].as_f64().is_some_and(|price| price > 0.0), "{price}");
}

/// As its README has them.
fn the_originals_curl_lines() {
    let health = curl(&["http://localhost:8080/health"]);
    assert_eq!(health, json!({"status": "ok", "service": "gateway"}));
    assert_eq!(curl(&["http://localhost:8080/price/AAPL"])["symbol"], "AAPL");
    let alert = r#"{"user_id": 1, "symbol": "AAPL", "target_price": 150.00, "condition": "ABOVE"}"#;
    let header = "Content-Type: application/json";
    let made = curl(&["-X", "POST", "http://localhost:8080/alerts", "-H", header, "-d", alert]);
    assert_eq!(made["message"], "Alert created: AAPL ABOVE $150.00", "{made}");
    let listed = curl(&["http://localhost:8080/alerts?user_id=1&active_only=false"]);
    assert_eq!(listed["alerts"][0]["id"], made["alert_id"], "{listed}");
}

fn curl(arguments: &[&str]) -> Value {
    let answer = run(Command::new("curl").args(["-sS", "--max-time", "10"]).args(arguments));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn every_target_is_up(count: usize) {
    let mut last = Value::Null;
    let up = poll(PATIENCE, || {
        let (_, body) = http::get(PROMETHEUS, "/api/v1/targets?state=active").ok()?;
        let mut answer: Value = serde_json::from_str(&body).ok()?;
        last = answer["data"]["activeTargets"].take();
        let targets = last.as_array()?;
        let up = targets.iter().filter(|target| target["health"] == "up").count();
        (up == count && targets.len() == count).then_some(())
    });
    assert!(up.is_some(), "{count} targets never were up: {last:#}");
}

/// The value of a query that gives one, if it gives any.
fn query(query: &str) -> Option<f64> {
    let (_, body) = prometheus::query(PROMETHEUS, query).ok()?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// What Console is told of the topics is true of what is in them: the alert above has fired.
fn what_the_console_decodes_is_there(compose: &Compose) {
    let read = |topic: &str| {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", "localhost:9092", "-C", "-q", "-e", "-c", "1", "-D", "", "-t", topic]);
        kcat.stderr(Stdio::null()).output().expect("kcat").stdout
    };
    for topic in ["market_ticks", "alert_firings"] {
        let found = poll(PATIENCE, || (!read(topic).is_empty()).then_some(()));
        assert!(found.is_some(), "nothing in {topic}");
    }
    let (status, body) = http::get("127.0.0.1:8081", "/admin/health").expect("an answer");
    assert_eq!(status, 200, "{body}\n{}", compose.run(&["logs", "console"]));
}
