//! Alerting rules in a running stack: each fires when its fault is caused, and lets go after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use servers::{ProcessId, Signal, http, poll};

use crate::support::Stack;

/// A rule waits up to two minutes before it fires, and Prometheus evaluates it four times a minute.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn alerts_fire_when_their_fault_is_caused_and_end_with_it() {
    if std::env::var_os("GOSTOCKS_TEST_ALL").is_none() {
        eprintln!("skipped: a part of `cargo stack test --all`");
        return;
    }
    let Some(stack) = Stack::new("faults") else { return };
    stack.run(&["up", "--detach", "--rate", "200"]);
    let status = stack.status();
    let prometheus = status["prometheus"]["address"].as_str().expect("an address");
    let processes = stack.processes();
    let fires = |alerts: &[&str]| {
        let wanted: BTreeSet<String> = alerts.iter().map(|alert| (*alert).to_owned()).collect();
        let mut firing = BTreeMap::new();
        let all = poll(PATIENCE, || {
            firing = self::firing(prometheus);
            firing.keys().cloned().collect::<BTreeSet<_>>().is_superset(&wanted).then_some(())
        });
        assert!(all.is_some(), "{wanted:?} among {firing:#?}");
        for alert in wanted {
            println!("{alert}: {}", firing[&alert]);
        }
    };
    let calm = || {
        let mut firing = BTreeMap::new();
        let none = poll(PATIENCE, || {
            firing = self::firing(prometheus);
            firing.is_empty().then_some(())
        });
        assert!(none.is_some(), "still firing: {firing:#?}");
    };
    calm();

    // Redis answers nobody: what it should hold falls behind, and a gateway is no help.
    let frozen = [&processes["redis"], &processes["gateway"]];
    signal(&frozen, Signal::SIGSTOP);
    fires(&["LagGrowing", "RedisDown", "TargetDown"]);
    signal(&frozen, Signal::SIGCONT);
    calm();

    processes["feed"].kill();
    fires(&["FeedDisconnected"]);
    stack.run(&["up", "--detach", "--rate", "200"]);
    calm();
}

fn signal(processes: &[&ProcessId], signal: Signal) {
    for process in processes {
        assert!(process.signal(signal), "{process:?} is gone");
    }
}

/// The alerts that fire, each with what it says.
fn firing(prometheus: &str) -> BTreeMap<String, String> {
    let (_, body) = http::get(prometheus, "/api/v1/alerts").expect("an answer");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let alerts = answer["data"]["alerts"].as_array().expect("a list");
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    firing
        .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["annotations"]["summary"])))
        .collect()
}
