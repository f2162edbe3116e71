use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A project of its own, so that a user's volumes are theirs.
const PROJECT: &str = "gostocks-test";

/// The original's `.env`: what it says of addresses is not for containers.
const SEED_ENV: &str = "\
KAFKA_BROKERS=localhost:9092
REDIS_ADDR=localhost:6379
DATABASE_URL=user=user password=password dbname=gostocks sslmode=disable host=127.0.0.1 port=5433
LOG=info
";

/// Why this machine has no engine that could be used, if it has none.
pub(crate) fn engine() -> Result<(), String> {
    for arguments in [&["info"][..], &["compose", "version"]] {
        let works = Command::new("docker").args(arguments).output();
        if !works.is_ok_and(|output| output.status.success()) {
            return Err(format!("no Docker engine (`docker {}` fails)", arguments.join(" ")));
        }
    }
    Ok(())
}

/// What it printed. Panics with that where it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
}

/// The clone's `compose.yaml` as one project, which ends with this.
pub(crate) struct Compose {
    root: PathBuf,
    env: PathBuf,
}

impl Compose {
    pub(crate) fn new() -> Self {
        let env = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed.env");
        fs::write(&env, SEED_ENV).expect("a file");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let compose = Self { root, env };
        compose.down();
        compose
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", PROJECT, "--env-file"])
            .arg(&self.env)
            .args(arguments)
            .current_dir(&self.root);
        for name in ["FINNHUB_API_KEY", "FEED_URL", "SYMBOLS", "LOG", "FEED_RATE", "LOAD_RATE"] {
            command.env_remove(name);
        }
        command
    }

    /// What it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("it starts");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let logs = self.command(&["logs", "--tail", "30"]).output().expect("it starts");
            let states = self.command(&["ps", "--all"]).output().expect("it starts");
            let (logs, states) =
                (String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&states.stdout));
            panic!("docker compose {}: {said}\n{states}\n{logs}", arguments.join(" "));
        }
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn down(&self) {
        self.run(&["--profile", "*", "down", "--volumes", "--timeout", "20"]);
    }

    /// The project as Compose understands it, every profile included.
    pub(crate) fn settings(&self) -> Value {
        let text = self.run(&["--profile", "*", "config", "--format", "json"]);
        serde_json::from_str(&text).expect("JSON")
    }

    fn containers(&self) -> Vec<String> {
        self.run(&["ps", "--quiet"]).lines().map(str::to_owned).collect()
    }

    /// The host's ports by which anything is reached; each must be on localhost.
    pub(crate) fn published(&self) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        for container in self.containers() {
            for line in docker(&["port", &container]).lines() {
                let address = line.split(" -> ").nth(1).expect("an address");
                let port = address.strip_prefix("127.0.0.1:").expect("localhost");
                ports.insert(port.parse().expect("a port"));
            }
        }
        ports
    }

    /// The containers in which a process runs as root.
    pub(crate) fn roots(&self) -> BTreeSet<String> {
        let is_root = |container: &String| {
            let users = docker(&["top", container, "-eo", "user,pid,comm"]);
            users.lines().skip(1).any(|line| line.starts_with("root "))
        };
        self.containers()
            .into_iter()
            .filter(is_root)
            .map(|container| docker(&["inspect", "--format", "{{.Name}}", &container]))
            .collect()
    }

    pub(crate) fn print_image_sizes(&self) {
        for program in ["ingestor", "processor", "alert", "gateway", "loadgen"] {
            let image = format!("gostocks/{program}");
            let size = docker(&["image", "inspect", "--format", "{{.Size}}", &image]);
            let bytes: f64 = size.trim().parse().expect("bytes");
            eprintln!("image {program}: {:.1} MB", bytes / 1e6);
        }
    }

    pub(crate) fn print_usage(&self, when: &str) {
        let format = "{{.Name}}\t{{.MemUsage}}\t{{.CPUPerc}}";
        let mut arguments = vec!["stats", "--no-stream", "--format", format];
        let containers = self.containers();
        arguments.extend(containers.iter().map(String::as_str));
        eprintln!("{when}:\n{}", docker(&arguments));
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        // While a test fails, another panic would hide why.
        let _ = self
            .command(&["--profile", "*", "down", "--volumes", "--timeout", "20"])
            .stdin(Stdio::null())
            .output();
    }
}
