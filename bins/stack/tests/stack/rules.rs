//! Prometheus's rules: they say what `tests.yml` expects of them, and each alert says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use servers::install::find_program;

use crate::support::root;

fn read(file: &str) -> String {
    let path = root().join("grafana/rules").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows `key:` on the lines that have it, without quotes, braces and the rest of a flow.
fn values(text: &str, key: &str) -> BTreeSet<String> {
    let key = format!("{key}: ");
    text.lines()
        .filter_map(|line| line.split_once(&key))
        .map(|(_, value)| value.split([',', ' ', '}']).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn promtool_finds_the_rules_right() {
    if find_program("promtool").is_none() {
        eprintln!("skipped: promtool is not installed (`cargo stack test` installs it)");
        return;
    }
    for arguments in
        [["check", "config", "prometheus.yml"], ["test", "rules", "grafana/rules/tests.yml"]]
    {
        let output =
            Command::new("promtool").args(arguments).current_dir(root()).output().expect("run");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn every_alert_is_tested_and_says_what_to_do() {
    let (rules, tests, runbook) = (read("alerting.yml"), read("tests.yml"), read("README.md"));
    let alerts = values(&rules, "alert");
    assert!(alerts.len() >= 6, "{alerts:?}");
    assert_eq!(values(&tests, "alertname"), alerts, "those with a test, and those there are");
    let runbooks = values(&rules, "runbook");
    let paragraphs: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|alert| format!("grafana/rules/README.md#{}", alert.to_ascii_lowercase()))
        .collect();
    assert_eq!(paragraphs, runbooks, "paragraphs, and what the alerts link to");
    assert_eq!(runbooks.len(), alerts.len());
}
