//! Apache Kafka: one node that is broker and controller (KRaft), from Maven's jars.

mod probe;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use crate::launch::{Lifetime, launch};
use crate::{Running, port};

pub use probe::is_ready;

pub const VERSION: &str = "4.3.1";

/// Names what the folder of jars was made from: another text means another download.
const POM: &str = include_str!("kafka/pom.xml");
const LOGGING: &str = include_str!("kafka/log4j2.properties");

/// Pinned, so that no search for the newest plugin precedes each download.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Where Kafka's jars are.
#[derive(Clone, Debug)]
pub struct Distribution {
    folder: PathBuf,
}

impl Distribution {
    /// The one in `cache`, if it is complete.
    pub fn cached(cache: &Path) -> Option<Self> {
        let folder = cache.join(format!("kafka-{VERSION}"));
        let complete = fs::read_to_string(folder.join("pom.xml")).is_ok_and(|pom| pom == POM)
            && folder.join("libs").is_dir();
        complete.then_some(Self { folder })
    }

    /// Fetches the jars through Maven unless `cache` has them: some 45 MB, once. Several programs
    /// may ask at once; one fetches, the others wait for it.
    pub fn install(cache: &Path) -> anyhow::Result<Self> {
        let folder = cache.join(format!("kafka-{VERSION}"));
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        if let Some(distribution) = Self::cached(cache) {
            return Ok(distribution);
        }
        let partial = folder.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        fs::write(partial.join("pom.xml"), POM)?;
        fetch(&partial).or_else(|_| fetch(&partial))?;

        let libs = folder.join("libs");
        if libs.exists() {
            fs::remove_dir_all(&libs)?;
        }
        fs::rename(partial.join("libs"), &libs)?;
        // Last: it says that what stands beside it is whole.
        fs::rename(partial.join("pom.xml"), folder.join("pom.xml"))?;
        Ok(Self { folder })
    }

    /// The folder with nothing but Kafka's jars.
    pub fn jars(&self) -> PathBuf {
        self.folder.join("libs")
    }

    /// `java` with Kafka's jars, and logging to standard output.
    fn java(&self, home: &Path) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
            .arg("-Djava.awt.headless=true")
            .arg(format!("-Dlog4j2.configurationFile={}", home.join("log4j2.properties").display()))
            .arg("-cp")
            .arg(self.jars().join("*"));
        command
    }
}

fn fetch(folder: &Path) -> anyhow::Result<()> {
    let output = Command::new("mvn")
        .args(["-q", "-B", COPY, "-DincludeScope=runtime", "-DoutputDirectory=libs"])
        .current_dir(folder)
        .output()
        .context("cannot start mvn, which fetches Apache Kafka")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        bail!("mvn could not fetch Apache Kafka {VERSION}: {}", text.trim());
    }
    Ok(())
}

/// Starts Kafka with its settings and data under `home`, made at the first start.
pub fn start(
    distribution: &Distribution,
    home: &Path,
    port: u16,
    log: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<Running> {
    fs::create_dir_all(home)?;
    let controller = port::any()?;
    let properties = home.join("server.properties");
    fs::write(&properties, settings(home, port, controller))?;
    fs::write(home.join("log4j2.properties"), LOGGING)?;
    if !home.join("data").join("meta.properties").exists() {
        format(distribution, home, &properties)?;
    }
    let mut command = distribution.java(home);
    command.arg("kafka.Kafka").arg(&properties).current_dir(home);
    let process = launch(command, log, lifetime)?;
    Ok(Running {
        name: "kafka",
        process,
        address: format!("127.0.0.1:{port}"),
        log: log.to_owned(),
        stop_signal: Signal::SIGTERM,
    })
}

fn format(distribution: &Distribution, home: &Path, properties: &Path) -> anyhow::Result<()> {
    let output = distribution
        .java(home)
        .args(["kafka.tools.StorageTool", "format", "-t", &cluster_id(), "-c"])
        .arg(properties)
        .output()
        .context("cannot start java, which runs Apache Kafka")?;
    if !output.status.success() {
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("kafka: its storage could not be formatted: {}{}", out.trim(), err.trim());
    }
    Ok(())
}

fn settings(home: &Path, port: u16, controller: u16) -> String {
    let data = home.join("data");
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}
# A topic with a name misspelled must not come into being by itself.
auto.create.topics.enable=false
# One node holds the only copy of everything.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# The first consumer of a group need not wait for a second.
group.initial.rebalance.delay.ms=0
"
    )
}

/// 16 random bytes as Kafka writes them, in URL-safe base64 without padding; the last of the
/// 22 characters holds two bits only, and `A` is none of them set.
fn cluster_id() -> String {
    let random = RandomState::new();
    let mut hex = String::new();
    for half in 0..2_u8 {
        let _ = write!(hex, "{:016x}", random.hash_one(half));
    }
    format!("{}A", &hex[..21])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_22_characters_and_new_each_time() {
        let id = cluster_id();
        assert_eq!(id.len(), 22);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(id, cluster_id());
    }
}
