use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use crate::traces::TraceSettings;
use crate::{env_file, parse};

/// What a program is told by its environment.
///
/// `read` asks `settings` for each variable and keeps going after a bad one, so that a user sees
/// all that is wrong at once; it gives `None` where any of them was bad.
pub trait Configuration: Sized + Send {
    /// Where the program serves its metrics and probes unless `METRICS_ADDR` says otherwise.
    const METRICS_ADDR: &'static str;

    /// Whether its memory is to be in pages of 2 MB where the kernel has such: for a program that
    /// looks into a large memory here and there all the time. Any other gains little and is larger by
    /// half, since the kernel fills such a page up around the little that is used of it.
    const HUGE_PAGES: bool = false;

    fn read(settings: &mut Settings) -> Option<Self>;
}

/// The process environment, then `.env`, and every mistake found so far.
#[derive(Debug, Default)]
pub struct Settings {
    process: BTreeMap<String, Option<String>>,
    file: BTreeMap<String, String>,
    errors: Vec<String>,
}

/// What every program reads beside its own settings.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) metrics_addr: SocketAddr,
    pub(crate) log: Targets,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) worker_threads: usize,
    pub(crate) traces: TraceSettings,
}

impl Settings {
    /// Values that are not UTF-8 are kept as such, and are wrong only when they are read.
    pub(crate) fn new(
        process: impl IntoIterator<Item = (OsString, OsString)>,
        file: Option<&str>,
    ) -> Self {
        let mut settings = Self::default();
        for (name, value) in process {
            if let Ok(name) = name.into_string() {
                settings.process.insert(name, value.into_string().ok());
            }
        }
        let (variables, errors) = env_file::parse(file.unwrap_or_default());
        settings.file = variables;
        settings.errors.extend(errors);
        settings
    }

    /// The process environment, and the `.env` of `directory` where there is one.
    pub(crate) fn load(directory: &Path) -> Self {
        let path = directory.join(".env");
        let (file, error) = match std::fs::read(&path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => (Some(text), None),
                Err(_) => (None, Some(".env: expected UTF-8 text".to_owned())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (None, None),
            Err(error) => (None, Some(format!(".env: cannot be read: {error}"))),
        };
        let mut settings = Self::new(std::env::vars_os(), file.as_deref());
        settings.errors.extend(error);
        settings
    }

    /// One setting. `default`, spelled as a user would, stands in where it is absent; without one
    /// the setting is required. An empty value is wrong.
    ///
    /// `parse` answers `expected …, found …`; of a secret it must not repeat the value.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        default: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.value(name)? {
            Some(value) => self.parsed(name, &value, parse),
            None => match default {
                Some(default) => self.parsed(name, default, parse),
                None => self.wrong(name, "is required, and is not set"),
            },
        }
    }

    /// One setting that may be absent (`Some(None)`). An empty value is wrong.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.value(name)? {
            Some(value) => self.parsed(name, &value, parse).map(Some),
            None => Some(None),
        }
    }

    /// As `optional`, but an empty value means absent: for `FINNHUB_API_KEY` and `FEED_URL`, which
    /// Compose passes on empty where the user has none.
    pub fn optional_or_empty<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.raw(name)? {
            Some(value) if !value.trim().is_empty() => self.parsed(name, &value, parse).map(Some),
            _ => Some(None),
        }
    }

    /// Adds a mistake that no single parser can see, such as two settings that exclude each other.
    /// Gives `None`, so that `read` can return it.
    pub fn wrong<T>(&mut self, name: &'static str, sentence: &str) -> Option<T> {
        let punctuation = if sentence.starts_with("expected") { ": " } else { " " };
        self.errors.push(format!("{name}{punctuation}{sentence}"));
        None
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(value.trim()) {
            Ok(value) => Some(value),
            Err(error) => self.wrong(name, &error),
        }
    }

    fn value(&mut self, name: &'static str) -> Option<Option<String>> {
        match self.raw(name)? {
            Some(value) if value.trim().is_empty() => {
                self.wrong(name, "is empty: give it a value, or remove it")
            }
            value => Some(value),
        }
    }

    fn raw(&mut self, name: &'static str) -> Option<Option<String>> {
        match self.process.get(name) {
            Some(Some(value)) => Some(Some(value.clone())),
            Some(None) => self.wrong(name, "is not UTF-8 text"),
            None => Some(self.file.get(name).cloned()),
        }
    }

    /// The settings of one program and those that all share, or every mistake in them.
    pub(crate) fn finish<C: Configuration>(mut self) -> Result<(Common, C), Vec<String>> {
        let common = self.common(C::METRICS_ADDR);
        let config = C::read(&mut self);
        match (common, config) {
            (Some(common), Some(config)) if self.errors.is_empty() => Ok((common, config)),
            _ => Err(self.errors),
        }
    }

    fn common(&mut self, metrics_addr: &str) -> Option<Common> {
        let metrics_addr = self.read("METRICS_ADDR", Some(metrics_addr), parse::socket_addr);
        let log = self.read("LOG", Some("info"), parse::log_filter);
        let shutdown_timeout = self.read("SHUTDOWN_TIMEOUT", Some("10s"), parse::duration);
        let worker_threads = self.optional("TOKIO_WORKER_THREADS", parse::number(1..=1_024));
        let traces = TraceSettings::read(self);
        Some(Common {
            metrics_addr: metrics_addr?,
            log: log?,
            shutdown_timeout: shutdown_timeout?,
            worker_threads: worker_threads?.unwrap_or_else(|| {
                std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
            }),
            traces: traces?,
        })
    }
}

/// The settings that `variables` alone give, or the sentences a user would see: for tests of a
/// program's `Configuration`.
///
/// # Errors
/// One sentence for each setting that is wrong.
pub fn settings_of<C: Configuration>(variables: &[(&str, &str)]) -> Result<C, Vec<String>> {
    let process = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Settings::new(process, None).finish().map(|(_, config)| config)
}

#[cfg(test)]
mod tests;
