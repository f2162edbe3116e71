use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use servers::{Exit, Lifetime, ProcessId, http, launch, poll, tail};

use crate::server::PATIENCE;
use crate::{binary, free_port, scratch};

/// What of this program's environment another one needs to run at all. The rest stays out: a test
/// must not depend on the settings of the shell that runs it.
const INHERITED: &[&str] =
    &["PATH", "HOME", "LANG", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// One of the workspace's programs, running, in an empty folder of its own (no `.env`). It is
/// killed when dropped; if the test fails, the end of its log is printed.
#[derive(Debug)]
pub struct Program {
    name: String,
    process: ProcessId,
    exit: Option<Exit>,
    metrics: String,
    folder: PathBuf,
}

impl Program {
    /// Starts `name` with only these settings, and with a `METRICS_ADDR` of its own unless one is
    /// given. Does not wait for it.
    pub fn start(name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = scratch::folder(name);
        Self::start_in(&folder, name, arguments, settings)
    }

    /// As [`start`](Self::start), in a working directory of the caller's, which may hold a `.env`.
    pub fn start_in(
        folder: &Path,
        name: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let given = settings.iter().find(|(key, _)| *key == "METRICS_ADDR");
        let metrics = given
            .map_or_else(|| format!("127.0.0.1:{}", free_port()), |(_, value)| (*value).to_owned());
        let mut command = Command::new(binary(name));
        command.args(arguments);
        let settings = [&[("METRICS_ADDR", metrics.as_str())], settings].concat();
        Self::launch(folder, name, command, &settings)
    }

    /// Starts a program that is not the workspace's, such as a script.
    pub fn start_foreign(name: &str, command: Command) -> Self {
        Self::launch(&scratch::folder(name), name, command, &[])
    }

    fn launch(folder: &Path, name: &str, mut command: Command, settings: &[(&str, &str)]) -> Self {
        command
            .env_clear()
            .envs(INHERITED.iter().filter_map(|key| Some((*key, env::var_os(key)?))))
            .envs(settings.iter().copied())
            .current_dir(folder);
        let process = launch(command, &folder.join("log"), Lifetime::Bound)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let metrics = settings.iter().rfind(|(key, _)| *key == "METRICS_ADDR");
        let metrics = metrics.map_or_else(String::new, |(_, value)| (*value).to_owned());
        Self { name: name.to_owned(), process, exit: None, metrics, folder: folder.to_owned() }
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// Where it ends or stays unready, with what `/readyz` says is missing.
    #[track_caller]
    pub fn wait_ready(&mut self) -> &mut Self {
        let mut answer = String::from("no answer");
        let ready = poll(PATIENCE, || {
            if let Ok((status, body)) = http::get(&self.metrics, "/readyz") {
                if status == 200 {
                    return Some(true);
                }
                answer = body;
            }
            (!self.is_alive()).then_some(false)
        });
        match ready {
            Some(true) => self,
            Some(false) => panic!("{} ended ({}) before it was ready", self.name, self.ending()),
            None => panic!("{} is not ready: {answer}", self.name),
        }
    }

    /// Waits until its log holds `text`, for a program without `/readyz`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) -> &mut Self {
        let found = poll(PATIENCE, || {
            if self.log().contains(text) {
                return Some(true);
            }
            (!self.is_alive()).then_some(false)
        });
        assert_eq!(found, Some(true), "{}: no {text:?} in its log", self.name);
        self
    }

    /// `host:port` of its `/metrics`, `/livez` and `/readyz`.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// The sum of a metric's series, 0 where there is none; `name` may carry labels:
    /// `gostocks_records_dead_total{reason="shape"}`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(&self.metrics, "/metrics").map(|(_, body)| body).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Its metrics that are not 0, without the parts of histograms; empty where it does not answer.
    fn counted(&self) -> String {
        let text = http::get(&self.metrics, "/metrics").map(|(_, body)| body).unwrap_or_default();
        let is_of_histogram = |line: &str| line.contains("_bucket{") || line.contains("quantile=");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !is_of_histogram(line));
        let lines = lines.filter(|line| !line.is_empty() && !line.ends_with(" 0"));
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    /// How many series a metric has.
    pub fn series(&self, name: &str) -> usize {
        let text = http::get(&self.metrics, "/metrics").map(|(_, body)| body).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.filter(|rest| rest.starts_with(['{', ' '])).count()
    }

    /// The partitions of the log that it reads, as it says itself.
    pub fn partitions(&self) -> BTreeSet<i32> {
        let mut partitions = BTreeSet::new();
        for line in self.log().lines() {
            // The last one may be half written.
            let Ok(said) = serde_json::from_str::<Value>(line) else { continue };
            match said["message"].as_str().unwrap_or_default() {
                "reading" => {
                    let partition = said["partition"].as_i64().and_then(|it| it.try_into().ok());
                    partitions.insert(partition.expect("a partition"));
                }
                "given back" | "lost: the group went on without this member" => {
                    let of = said["partitions"].as_str().expect("partitions");
                    let of: Vec<i32> = serde_json::from_str(of).expect("a list");
                    partitions.retain(|partition| !of.contains(partition));
                }
                _ => {}
            }
        }
        partitions
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// All that it has written, to either stream.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn is_alive(&mut self) -> bool {
        self.exit = self.exit.or_else(|| self.process.reap());
        self.exit.is_none() && self.process.is_alive()
    }

    /// kill -9.
    pub fn kill9(&mut self) {
        self.process.signal(servers::Signal::SIGKILL);
        self.wait_exit(PATIENCE);
    }

    /// SIGSTOP: it does nothing any more, and does not know.
    pub fn freeze(&self) {
        self.process.signal(servers::Signal::SIGSTOP);
    }

    /// SIGCONT, after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.process.signal(servers::Signal::SIGCONT);
    }

    /// SIGTERM, and how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> Exit {
        self.process.signal(servers::Signal::SIGTERM);
        self.wait_exit(PATIENCE)
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, patience: Duration) -> Exit {
        // Not `is_alive`: a process whose first thread has ended looks dead before it can be reaped.
        self.exit = poll(patience, || self.exit.or_else(|| self.process.reap()));
        self.exit.unwrap_or_else(|| panic!("{} still runs after {patience:?}", self.name))
    }

    fn ending(&self) -> String {
        self.exit.map_or_else(|| "unseen".to_owned(), |exit| exit.to_string())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let counted = if thread::panicking() { self.counted() } else { String::new() };
        self.process.kill();
        if thread::panicking() {
            let lines = tail(&self.folder.join("log"), 40);
            eprintln!("--- the last lines of {}'s log:\n{lines}\n---", self.name);
            eprintln!("--- what it has counted:\n{counted}---");
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
