//! `cargo stack` as a person uses it: the real servers and services, beside any stack that runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use servers::{ProcessId, Signal, http, install, poll};

/// A build may come first.
const PATIENCE: Duration = Duration::from_secs(600);

/// One at a time: stacks that choose their ports at the same moment may choose the same ones, and
/// then all but one give up.
static ALONE: Mutex<()> = Mutex::new(());

struct Stack {
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Stack {
    /// `None`, with a word why, where the servers are not installed: `up` would install them.
    fn new(name: &str) -> Option<Self> {
        if ["prometheus", "prometheus-redis-exporter", "redis-server", "java"]
            .iter()
            .any(|name| install::find_program(name).is_none())
        {
            eprintln!("skipped: the servers are not installed (`cargo stack test` installs them)");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = Self { folder, _alone: alone };
        stack.run(&["down", "--wipe"]);
        Some(stack)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cache = std::env::var_os("GOSTOCKS_CACHE")
            .map_or_else(|| root.join(".stack/cache"), PathBuf::from);
        let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
        command
            .args(arguments)
            .env("GOSTOCKS_STACK_DIR", &self.folder)
            .env("GOSTOCKS_CACHE", cache)
            // The clone's `.env` may name a real feed.
            .envs([("FEED_URL", ""), ("FINNHUB_API_KEY", "")])
            .stdin(Stdio::null());
        for name in
            ["KAFKA_BROKERS", "REDIS_ADDR", "DATABASE_URL", "PORT", "SYMBOLS", "KAFKA_TOPIC"]
        {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }

    fn status(&self) -> BTreeMap<String, Value> {
        let output = self.run(&["status", "--json"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
        rows.into_iter()
            .map(|row| (row["name"].as_str().expect("a name").to_owned(), row))
            .collect()
    }

    fn processes(&self) -> BTreeMap<String, ProcessId> {
        self.status()
            .into_iter()
            .filter_map(|(name, row)| Some((name, row["pid"].as_u64()?)))
            .filter_map(|(name, pid)| Some((name, ProcessId::of(u32::try_from(pid).ok()?)?)))
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Also after a failure: nothing may be left behind.
        let _ = self.command(&["down", "--wipe"]).output();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

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
    let mut up = stack
        .command(&["up"])
        .env("REDIS_ADDR", &theirs.address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let is_up = || {
        let ended = up.try_wait().expect("a child");
        assert_eq!(ended, None, "it ended before it was up");
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
