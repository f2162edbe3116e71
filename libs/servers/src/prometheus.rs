//! Prometheus, which reads the services' metrics.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::launch::{Lifetime, launch};
use crate::{Running, http};

/// Starts Prometheus with `settings`, the text of a `prometheus.yml`, and its data under `home`.
pub fn start(
    home: &Path,
    settings: &str,
    port: u16,
    log: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<Running> {
    fs::create_dir_all(home)?;
    let file = home.join("prometheus.yml");
    fs::write(&file, settings)?;
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", home.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .current_dir(home);
    let process = launch(command, log, lifetime)?;
    Ok(Running {
        name: "prometheus",
        process,
        address,
        log: log.to_owned(),
        stop_signal: Signal::SIGTERM,
    })
}

pub fn is_ready(address: &str) -> bool {
    http::get(address, "/-/ready").is_ok_and(|(status, _)| status == 200)
}

/// What the Prometheus at `address` answers to a query: the status, and JSON as its HTTP API has it.
pub fn query(address: &str, query: &str) -> io::Result<(u16, String)> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    http::get(address, &format!("/api/v1/query?query={encoded}"))
}
