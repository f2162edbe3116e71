use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use servers::{ProcessId, Signal};

use crate::paths::Paths;
use crate::ports::Ports;

/// What `up` has started and not yet ended: `.stack/state.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Trades a second of the simulated feed.
    pub(crate) rate: Option<u32>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// `None`: the user's own server, which is used and left alone.
    pub(crate) process: Option<ProcessId>,
    pub(crate) address: Option<String>,
    pub(crate) metrics: Option<String>,
    #[serde(default)]
    pub(crate) grpc: Option<String>,
    /// Of the settings that it was started with. They may hold secrets, so they are not kept.
    pub(crate) fingerprint: u64,
    stop_signal: i32,
}

impl Entry {
    pub(crate) fn external(address: Option<String>) -> Self {
        let (metrics, grpc) = (None, None);
        Self { process: None, address, metrics, grpc, fingerprint: 0, stop_signal: 0 }
    }

    pub(crate) fn own(
        process: ProcessId,
        stop_signal: Signal,
        ports: Ports,
        fingerprint: u64,
    ) -> Self {
        let (process, stop_signal) = (Some(process), stop_signal as i32);
        let Ports { address, metrics, grpc } = ports;
        Self { process, address, metrics, grpc, fingerprint, stop_signal }
    }

    pub(crate) fn stop_signal(&self) -> Signal {
        Signal::try_from(self.stop_signal).unwrap_or(Signal::SIGTERM)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_some_and(|process| process.is_alive())
    }
}

impl State {
    pub(crate) fn load(paths: &Paths) -> anyhow::Result<Self> {
        let file = file(paths);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged; end what still runs by hand, then remove it",
                    file.display()
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    /// Whole or not at all.
    pub(crate) fn save(&self, paths: &Paths) -> anyhow::Result<()> {
        let file = file(paths);
        let partial = file.with_extension("partial");
        fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&partial, &file).with_context(|| file.display().to_string())
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.stack.join("state.json")
}

/// Held by the one command that changes what runs; let go when dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

impl Lock {
    pub(crate) fn take(paths: &Paths) -> anyhow::Result<Self> {
        let file = Self::open(&paths.stack)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another `cargo stack` is starting or ending things; try again when it is done"
                )
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(crate) fn wait(paths: &Paths) -> anyhow::Result<Self> {
        let file = Self::open(&paths.stack)?;
        file.lock()?;
        Ok(Self(file))
    }

    fn open(folder: &Path) -> anyhow::Result<File> {
        // Programs that are started inherit no lock: Rust opens files close-on-exec.
        Ok(File::options().create(true).append(true).open(folder.join("lock"))?)
    }
}
