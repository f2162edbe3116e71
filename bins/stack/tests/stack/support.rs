use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use servers::{ProcessId, install};

/// One at a time: stacks that choose their ports at the same moment may choose the same ones, and
/// then all but one give up.
static ALONE: Mutex<()> = Mutex::new(());

/// A stack of its own for one test; ends with it.
pub(crate) struct Stack {
    pub(crate) folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Stack {
    /// `None`, with a word why, where the servers are not installed: `up` would install them.
    pub(crate) fn new(name: &str) -> Option<Self> {
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
        // Also what a test that was killed has left: a log of the past would be refused.
        std::fs::remove_dir_all(&stack.folder).expect("an empty folder");
        Some(stack)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let root = root();
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

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }

    pub(crate) fn status(&self) -> BTreeMap<String, Value> {
        let output = self.run(&["status", "--json"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
        rows.into_iter()
            .map(|row| (row["name"].as_str().expect("a name").to_owned(), row))
            .collect()
    }

    pub(crate) fn processes(&self) -> BTreeMap<String, ProcessId> {
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

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
