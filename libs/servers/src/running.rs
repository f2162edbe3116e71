use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::Signal;

use crate::identity::ProcessId;
use crate::listening::listens;
use crate::log::tail;

const POLL_EVERY: Duration = Duration::from_millis(20);
const LAST_LINES: usize = 20;

/// Asks again and again until `probe` answers; `None` once `patience` has passed.
pub fn poll<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL_EVERY);
    }
}

/// A server or a service that was started.
#[derive(Clone, Debug)]
pub struct Running {
    pub name: &'static str,
    pub process: ProcessId,
    /// `host:port`.
    pub address: String,
    pub log: PathBuf,
    /// What makes it end in good order.
    pub stop_signal: Signal,
}

impl Running {
    /// Waits for [`is_ready`](Self::is_ready). An early end or a time-out is an error with the last
    /// lines of the log.
    pub fn wait_ready(&self, patience: Duration, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let outcome = poll(patience, || {
            if self.is_ready(&ready) {
                return Some(Ok(()));
            }
            // Reaped first: `is_alive` would throw the exit status away.
            let status = self.process.reap();
            (status.is_some() || !self.process.is_alive()).then_some(Err(status))
        });
        let problem = match outcome {
            Some(Ok(())) => return Ok(()),
            Some(Err(status)) => {
                let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
                format!("ended{status} before it was ready")
            }
            None => format!("was not ready at {} within {patience:?}", self.address),
        };
        let (name, log) = (self.name, self.log.display());
        match tail(&self.log, LAST_LINES) {
            lines if lines.is_empty() => bail!("{name} {problem}; its log {log} is empty"),
            lines => bail!("{name} {problem}; the last lines of its log {log}:\n{lines}"),
        }
    }

    /// Whether it listens at its address, it and nobody else, and `ready` says so.
    fn is_ready(&self, ready: impl Fn() -> bool) -> bool {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.is_some_and(|port| listens(self.process.pid, port)) && ready()
    }

    /// Asks it to end, waits for `patience`, then kills it. True where it went by itself.
    pub fn stop(&self, patience: Duration) -> bool {
        self.process.stop(self.stop_signal, patience)
    }
}
