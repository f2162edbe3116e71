//! What `compose.yaml` promises, as far as it can be told without an engine; with one,
//! `tests/compose` runs it.

use std::collections::BTreeSet;
use std::fs;

use crate::support::root;

fn compose() -> String {
    fs::read_to_string(root().join("compose.yaml")).expect("compose.yaml")
}

/// What stands between double quotes on the lines that begin with `key`.
fn quoted<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with(key));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

/// The services' own lines: two blanks, a name, a colon, and perhaps an anchor.
fn services(text: &str) -> BTreeSet<&str> {
    let (_, services) = text.split_once("\nservices:\n").expect("services");
    let (services, _) = services.split_once("\nvolumes:\n").expect("volumes");
    let names = services.lines().filter_map(|line| line.strip_prefix("  "));
    names
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn everything_is_published_on_localhost_only() {
    let text = compose();
    let ports = quoted(&text, "ports:");
    assert_eq!(ports.len(), 9, "{ports:?}");
    for port in ports {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

#[test]
fn every_image_that_is_not_built_here_has_its_version() {
    let text = compose();
    let images = text.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    for image in images.filter(|image| !image.starts_with("gostocks/")) {
        let (_, tag) = image.split_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        assert!(tag.contains('.') && tag.contains(|digit: char| digit.is_ascii_digit()), "{image}");
    }
}

#[test]
fn every_service_is_limited_and_says_how_it_is() {
    let text = compose();
    let services = services(&text);
    assert!(services.contains("gateway") && services.contains("redpanda"), "{services:?}");
    // Those of the profile `scale` are as their firsts.
    let own = services.iter().filter(|name| !name.ends_with("-2")).count();
    assert_eq!(text.matches("\n    mem_limit: ").count(), own);
    assert_eq!(text.matches("\n    healthcheck:\n      <<: *healthcheck\n").count(), own);
}

#[test]
fn prometheus_reads_services_that_there_are() {
    let text = compose();
    let services = services(&text);
    let prometheus = fs::read_to_string(root().join("prometheus.yml")).expect("prometheus.yml");
    let targets = quoted(&prometheus, "static_configs:");
    assert!(targets.len() > 5, "{targets:?}");
    for target in targets {
        let (name, port) = target.split_once(':').expect("name:port");
        assert!(services.contains(name), "{target}");
        if ["ingestor", "processor", "alert", "gateway"].contains(&name) {
            assert!(text.contains(&format!("METRICS_ADDR: 0.0.0.0:{port}\n")), "{target}");
        }
    }
    for name in prometheus.lines().filter_map(|line| line.split_once("names: [")) {
        let name = name.1.split(']').next().expect("a name");
        assert!(services.contains(name), "{name}");
    }
}

#[test]
fn what_is_mounted_from_the_clone_is_there() {
    let text = compose();
    let mounts = text.split([' ', '"', '[', '\n']).filter(|word| word.starts_with("./"));
    let paths: Vec<_> = mounts.filter_map(|mount| mount.split(':').next()).collect();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "{path}");
    }
}
