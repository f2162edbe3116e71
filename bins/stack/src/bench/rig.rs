//! Private servers and services, on free ports and with a folder of their own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use servers::kafka::Distribution;
use servers::{
    Exit, Lifetime, Running, Signal, http, kafka, launch, poll, port, postgresql, redis, tail,
};

use crate::paths::Paths;
use crate::ui::{Task, Ui};

const PATIENCE: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// What of this program's environment another one needs to run at all: figures must not depend on
/// the settings of the shell.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "RUST_BACKTRACE"];

/// A day of a busy market would fill the disk: bytes a partition.
const RETENTION_BYTES: &str = "1073741824";

/// All of it ends with this program, and its folder goes with it.
pub(crate) struct Rig {
    folder: PathBuf,
    database_folder: PathBuf,
    binaries: PathBuf,
    /// In the order of their start.
    running: Vec<Running>,
    kafka: String,
    redis: String,
    postgresql: String,
    /// Where the services listen: `host:port`.
    pub(crate) feed: String,
    pub(crate) gateway: String,
    pub(crate) gateway_grpc: String,
    pub(crate) alert: String,
    metrics: Vec<(&'static str, String)>,
    symbols: String,
}

impl Rig {
    /// The servers, and no services yet.
    pub(crate) fn start(
        paths: &Paths,
        binaries: &Path,
        symbols: usize,
        ui: &Ui,
    ) -> anyhow::Result<Self> {
        let task = ui.task("servers");
        let folder = paths.stack.join("bench");
        fs::create_dir_all(&folder)?;
        let database_folder = postgresql::home(&folder.join("postgresql"))?;
        // What a run that was killed has left.
        remove(&database_folder)?;
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        let listed = Command::new(binaries.join("loadgen"))
            .args(["symbols", &symbols.to_string()])
            .output()
            .context("cannot start loadgen")?;
        ensure!(listed.status.success(), "loadgen lists no symbols");
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", port::any()?));
        let mut rig = Self {
            running: Vec::new(),
            kafka: String::new(),
            redis: String::new(),
            postgresql: String::new(),
            feed: address()?,
            gateway: address()?,
            gateway_grpc: address()?,
            alert: address()?,
            metrics: Vec::new(),
            symbols: String::from_utf8(listed.stdout)?.trim().to_owned(),
            binaries: binaries.to_owned(),
            database_folder,
            folder,
        };
        let distribution = Distribution::install(&paths.cache)?;
        let home = |name: &str| (rig.folder.join(name), rig.folder.join(format!("{name}.log")));
        let bound = Lifetime::Bound;
        let (folder, log) = home("kafka");
        let kafka = kafka::start(&distribution, &folder, port::any()?, &log, bound)?;
        let (folder, log) = home("redis");
        let redis = redis::start(&folder, port::any()?, &log, bound)?;
        let (_, log) = home("postgresql");
        let postgresql = postgresql::start(&rig.database_folder, port::any()?, &log, bound)?;
        rig.kafka.clone_from(&kafka.address);
        rig.redis.clone_from(&redis.address);
        rig.postgresql.clone_from(&postgresql.address);
        rig.running = vec![kafka, redis, postgresql];
        let ready: [fn(&str) -> bool; 3] = [kafka::is_ready, redis::is_ready, postgresql::is_ready];
        for (server, ready) in rig.running.iter().zip(ready) {
            server.wait_ready(PATIENCE, || ready(&server.address))?;
        }
        postgresql::create_database(&rig.postgresql)?;
        task.done("Kafka, Redis and PostgreSQL are ready");
        Ok(rig)
    }

    /// Their addresses, as every program here reads them.
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KAFKA_BROKERS", self.kafka.clone()),
            ("KAFKA_RETENTION_BYTES", RETENTION_BYTES.to_owned()),
            ("REDIS_ADDR", self.redis.clone()),
            ("DATABASE_URL", postgresql::url(&self.postgresql)),
            ("ALERT_SERVICE_ADDR", self.alert.clone()),
        ]
    }

    /// All but the ingestor, which comes with its settings.
    pub(crate) fn start_services(&mut self, ui: &Ui) -> anyhow::Result<()> {
        let task = ui.task("services");
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let snapshots = self.folder.join("snapshots").display().to_string();
        self.service("processor", &[])?;
        let alert = [("GRPC_PORT", port(&self.alert)), ("ALERT_SNAPSHOTS", snapshots)];
        self.service("alert", &alert)?;
        let gateway =
            [("PORT", port(&self.gateway)), ("MARKET_GRPC_PORT", port(&self.gateway_grpc))];
        self.service("gateway", &gateway)?;
        for name in ["processor", "alert", "gateway"] {
            self.wait_ready(name)?;
        }
        task.done("processor, alert and gateway are ready");
        Ok(())
    }

    /// Starts the ingestor, or starts it again. It is ready once it has a feed.
    pub(crate) fn start_ingestor(
        &mut self,
        settings: &[(&'static str, String)],
    ) -> anyhow::Result<()> {
        self.stop("ingestor");
        let own = [
            ("FEED_URL", format!("ws://{}", self.feed)),
            ("FEED_BACKOFF", "50ms".to_owned()),
            ("FEED_REFUSED_BACKOFF", "50ms".to_owned()),
            ("SYMBOLS", self.symbols.clone()),
        ];
        self.service("ingestor", &[&own[..], settings].concat())
    }

    fn service(
        &mut self,
        name: &'static str,
        own: &[(&'static str, String)],
    ) -> anyhow::Result<()> {
        let metrics = match self.metrics.iter().find(|(other, _)| *other == name) {
            Some((_, address)) => address.clone(),
            None => {
                let address = format!("127.0.0.1:{}", port::any()?);
                self.metrics.push((name, address.clone()));
                address
            }
        };
        let mut command = self.command(name);
        command.env("METRICS_ADDR", &metrics).envs(own.iter().map(|(name, value)| (name, value)));
        self.launch(name, command, metrics)
    }

    fn wait_ready(&self, name: &str) -> anyhow::Result<()> {
        let service =
            self.running.iter().find(|running| running.name == name).context("started")?;
        let ready =
            || http::get(&service.address, "/readyz").is_ok_and(|(status, _)| status == 200);
        service.wait_ready(PATIENCE, ready)
    }

    /// One of the workspace's programs, told where the servers are and nothing else.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((*name, env::var_os(name)?))))
            .envs(self.settings())
            .current_dir(&self.folder);
        command
    }

    fn launch(
        &mut self,
        name: &'static str,
        command: Command,
        address: String,
    ) -> anyhow::Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let process = launch(command, &log, Lifetime::Bound)?;
        self.running.push(Running { name, process, address, log, stop_signal: Signal::SIGTERM });
        Ok(())
    }

    fn stop(&mut self, name: &str) {
        if let Some(at) = self.running.iter().position(|running| running.name == name) {
            self.running.remove(at).stop(STOP);
        }
    }

    /// `loadgen bench` with these arguments, against all that runs; its figures.
    ///
    /// # Errors
    /// Also where it found something wrong, with what it said of that.
    pub(crate) fn bench(&self, arguments: &str, task: &Task) -> anyhow::Result<Value> {
        let (json, log) = (self.folder.join("figures.json"), self.folder.join("bench.log"));
        let mut command = self.command("loadgen");
        let metrics: Vec<&str> = self.metrics.iter().map(|(_, address)| address.as_str()).collect();
        command
            .args(["bench", "--listen", &self.feed, "--gateway", &self.gateway])
            .args(["--metrics", &metrics.join(","), "--plot"])
            .arg(self.plot())
            .arg("--json")
            .arg(&json)
            .args(arguments.split(' '));
        let process = launch(command, &log, Lifetime::Bound)?;
        let exit = poll(Duration::from_secs(7_200), || {
            if let Some(message) = last_message(&log) {
                task.step(&message);
            }
            for running in &self.running {
                if !running.process.is_alive() {
                    process.kill();
                    return Some(Err(running));
                }
            }
            process.reap().map(Ok)
        });
        match exit {
            Some(Ok(Exit::Code(0))) => Ok(serde_json::from_slice(&fs::read(&json)?)?),
            Some(Err(died)) => {
                bail!("{} has ended; its log:\n{}", died.name, tail(&died.log, 20))
            }
            _ => {
                process.kill();
                bail!("`loadgen bench {arguments}` has failed:\n{}", tail(&log, 30))
            }
        }
    }

    /// Where scratch may lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the last `loadgen bench` has drawn its figures.
    pub(crate) fn plot(&self) -> PathBuf {
        self.folder.join("plot.svg")
    }

    /// `loadgen floor` with these arguments; its figures.
    pub(crate) fn floor(&self, arguments: &str) -> anyhow::Result<Value> {
        let mut command = self.command("loadgen");
        floor(&mut command, arguments)
    }

    /// As [`floor`](Self::floor), of a Redis that nobody else uses.
    pub(crate) fn floor_redis(&self) -> anyhow::Result<Value> {
        let (home, log) = (self.folder.join("redis-floor"), self.folder.join("redis-floor.log"));
        let server = redis::start(&home, port::any()?, &log, Lifetime::Bound)?;
        let outcome =
            server.wait_ready(PATIENCE, || redis::is_ready(&server.address)).and_then(|()| {
                let mut command = self.command("loadgen");
                floor(command.env("REDIS_ADDR", &server.address), "redis")
            });
        server.stop(STOP);
        outcome
    }

    /// Runs `work` while a bare answer is served, at an address that it is given.
    pub(crate) fn with_bare_http<T>(
        &mut self,
        work: impl FnOnce(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let address = format!("127.0.0.1:{}", port::any()?);
        let mut command = self.command("loadgen");
        command.args(["floor", "http", "--listen", &address]);
        self.launch("floor", command, address.clone())?;
        let server = self.running.last().context("it was started")?;
        let is_there = || http::get(&address, "/price/AAPL").is_ok_and(|(status, _)| status == 200);
        let outcome = server.wait_ready(PATIENCE, is_there).and_then(|()| work(&address));
        self.stop("floor");
        outcome
    }

    /// Resident memory of each service, in megabytes.
    pub(crate) fn memory(&self) -> Vec<(&'static str, f64)> {
        let resident = |running: &Running| {
            let text = fs::read_to_string(format!("/proc/{}/status", running.process.pid)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
            Some((running.name, kilobytes * 1_024.0 / 1e6))
        };
        self.running.iter().filter_map(resident).collect()
    }

    pub(crate) fn postgresql_version(&self) -> String {
        let version = postgresql::psql(&self.postgresql, "postgres", "SHOW server_version");
        version.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    }
}

fn floor(command: &mut Command, arguments: &str) -> anyhow::Result<Value> {
    let output = command.arg("floor").args(arguments.split(' ')).output()?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`loadgen floor {arguments}` has failed:\n{err}");
    serde_json::from_str(&out).with_context(|| format!("loadgen floor {arguments}: {out}"))
}

/// What a program has said last, of its log of JSON lines.
fn last_message(log: &Path) -> Option<String> {
    let said = serde_json::from_str::<Value>(tail(log, 1).trim()).ok()?;
    said["message"].as_str().map(str::to_owned)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The services drain into the servers, so they go first.
        while let Some(running) = self.running.pop() {
            running.stop(STOP);
        }
        let _ = remove(&self.database_folder);
        let _ = remove(&self.folder);
    }
}
