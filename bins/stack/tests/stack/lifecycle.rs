use std::fs;
use std::process::Stdio;
use std::time::Duration;

use servers::{ProcessId, Signal, http, poll};

use crate::support::{Stack, text};

/// A build may come first.
const PATIENCE: Duration = Duration::from_secs(600);

const OURS: [&str; 12] = [
    "alert",
    "feed",
    "gateway",
    "host-exporter",
    "ingestor",
    "kafka",
    "postgresql",
    "postgresql-exporter",
    "processor",
    "prometheus",
    "redis",
    "redis-exporter",
];

#[test]
fn up_starts_again_only_what_died_and_down_ends_all_of_it() {
    let Some(stack) = Stack::new("detached") else { return };
    stack.run(&["up", "--detach"]);
    let status = stack.status();
    for name in OURS {
        assert_eq!(
            (&status[name]["state"], &status[name]["ready"]),
            (&"running".into(), &true.into())
        );
    }
    let gateway = status["gateway"]["address"].as_str().expect("an address");
    for symbol in ["AAPL", "BINANCE:BTCUSDT", "IC%20MARKETS:1"] {
        let (status, body) = http::get(gateway, &format!("/price/{symbol}")).expect("an answer");
        assert_eq!(status, 200, "{body}");
    }

    let before = stack.processes();
    assert_eq!(before.keys().collect::<Vec<_>>(), OURS.iter().collect::<Vec<_>>());
    for name in ["processor", "redis"] {
        before[name].kill();
        assert_eq!(stack.status()[name]["state"], "dead");
    }
    stack.run(&["up", "--detach"]);
    let after = stack.processes();
    for name in OURS {
        assert_eq!(before[name] == after[name], !["processor", "redis"].contains(&name), "{name}");
    }

    stack.run(&["down", "--wipe"]);
    assert!(after.values().all(|process| !process.is_alive()));
    let mut left: Vec<_> = fs::read_dir(&stack.folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["lock", "state.json"]);
}

#[test]
fn an_interrupt_ends_what_was_started_and_leaves_the_users_own_redis() {
    let Some(stack) = Stack::new("foreground") else { return };
    let folder = stack.folder.join("elsewhere");
    let port = servers::port::any().expect("a port");
    let log = folder.join("log");
    let theirs =
        servers::redis::start(&folder, port, &log, servers::Lifetime::Bound).expect("redis");
    let said = folder.join("said");
    let mut up = stack
        .command(&["up"])
        .env("REDIS_ADDR", &theirs.address)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("it starts");
    let is_up = || {
        let ended = up.try_wait().expect("a child");
        let said = fs::read_to_string(&said).expect("what it said");
        assert_eq!(ended, None, "it ended before it was up: {said}");
        let status = stack.status();
        let ready = |name: &&str| *name == "redis" || status[*name]["ready"] == true;
        OURS.iter().all(ready).then_some(())
    };
    poll(PATIENCE, is_up).expect("it comes up");
    assert_eq!(stack.status()["redis"]["state"], "external");

    let processes = stack.processes();
    assert!(ProcessId::of(up.id()).expect("it runs").signal(Signal::SIGINT));
    let status = up.wait().expect("it ends");
    assert!(processes.values().all(|process| !process.is_alive()), "{status}");
    stack.run(&["down", "--wipe"]);
    assert!(theirs.process.is_alive(), "the user's own");
    theirs.process.kill();
}

#[test]
fn a_mistake_gets_its_sentence() {
    let Some(stack) = Stack::new("mistakes") else { return };
    for (arguments, name, value, sentence) in [
        (&["up"][..], "REDIS_ADDR", "", "REDIS_ADDR is empty: give it a value, or unset it"),
        (&["up"], "KAFKA_BROKERS", " ", "KAFKA_BROKERS is empty: give it a value, or unset it"),
        (&["up", "--rate", "0"], "LOG", "info", "invalid value '0' for '--rate <N>'"),
        (&["logs", "kafak"], "LOG", "info", "there is no kafak: expected one of kafka, redis,"),
        (&["logs", "kafka"], "LOG", "info", "kafka has no log: it was not started yet"),
    ] {
        let output = stack.command(arguments).env(name, value).output().expect("it starts");
        assert!(!output.status.success());
        let found = text(&output.stderr);
        assert!(found.contains(sentence), "{arguments:?}: {found}");
    }
}
