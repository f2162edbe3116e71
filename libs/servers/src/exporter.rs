//! Prometheus's exporters: what Redis, PostgreSQL and the machine say of themselves, as metrics.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::launch::{Lifetime, launch};
use crate::{Running, http};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `host:port` or a `redis://` URL.
    Redis { address: String },
    /// As `DATABASE_URL` has it.
    Postgresql { url: String },
    /// The machine.
    Host,
}

impl Subject {
    fn program(&self) -> &'static str {
        match self {
            Self::Redis { .. } => "prometheus-redis-exporter",
            Self::Postgresql { .. } => "prometheus-postgres-exporter",
            Self::Host => "prometheus-node-exporter",
        }
    }
}

/// Starts the exporter of `subject` under `name`. It needs nothing of its subject to start, and
/// goes on while that is away.
pub fn start(
    name: &'static str,
    subject: &Subject,
    home: &Path,
    port: u16,
    log: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<Running> {
    fs::create_dir_all(home)?;
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(subject.program());
    command.arg(format!("--web.listen-address={address}")).current_dir(home);
    // Secrets go by the environment: arguments can be read by everybody on the machine.
    match subject {
        Subject::Redis { address } => {
            let url = match address.contains("://") {
                true => address.clone(),
                false => format!("redis://{address}"),
            };
            // A Redis that hangs is told of within a scrape, which is given four seconds.
            command.env("REDIS_ADDR", url).arg("--connection-timeout=1s");
        }
        Subject::Postgresql { url } => {
            command.env("DATA_SOURCE_NAME", url);
        }
        Subject::Host => {}
    }
    let process = launch(command, log, lifetime)?;
    Ok(Running { name, process, address, log: log.to_owned(), stop_signal: Signal::SIGTERM })
}

pub fn is_ready(address: &str) -> bool {
    http::get(address, "/metrics").is_ok_and(|(status, _)| status == 200)
}
