use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use servers::{Lifetime, Running, poll, redis};

use crate::scratch;

/// Long enough, beside a busy compiler, for a cold start, and for a killed Kafka that has much to
/// recover.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How a server is started: with its folder, port and log.
type Start = Box<dyn Fn(&Path, u16, &Path) -> anyhow::Result<Running> + Send + Sync>;

/// A private server, which dies and takes its data with it when dropped.
pub struct Server {
    running: Running,
    home: PathBuf,
    port: u16,
    start: Start,
    is_ready: fn(&str) -> bool,
}

/// A private Redis, empty, as the stack runs it.
///
/// # Panics
/// Where it does not come up.
pub fn redis() -> Server {
    let start = |home: &Path, port, log: &Path| redis::start(home, port, log, Lifetime::Bound);
    Server::new("redis", Box::new(start), redis::is_ready)
}

/// Has a Redis keep what it holds this moment: what it is told from here on, a kill takes.
///
/// # Panics
/// Where it cannot.
pub fn snapshot_redis(address: &str) {
    let saved = ::redis::Client::open(format!("redis://{address}"))
        .and_then(|client| client.get_connection())
        .and_then(|mut connection| ::redis::cmd("SAVE").exec(&mut connection));
    saved.expect("a snapshot");
}

impl Server {
    pub(crate) fn new(name: &'static str, start: Start, is_ready: fn(&str) -> bool) -> Self {
        let (home, port) = (scratch::folder(name), crate::free_port());
        let running = begin(&start, &home, port, is_ready);
        Self { running, home, port, start, is_ready }
    }

    /// `127.0.0.1:port`, the same over restarts.
    pub fn address(&self) -> &str {
        &self.running.address
    }

    /// kill -9: no farewell, no flush.
    pub fn kill9(&self) {
        self.running.process.kill();
    }

    /// Ends it in good order.
    pub fn stop(&self) {
        self.running.stop(PATIENCE);
    }

    /// Starts it again after [`kill9`](Self::kill9) or [`stop`](Self::stop), with its data and at
    /// its address, and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill9();
        // As whoever watches over a server does: those that it began may outlive it for a while,
        // and PostgreSQL's do not let another one begin.
        let begun =
            poll(PATIENCE, || try_begin(&self.start, &self.home, self.port, self.is_ready).ok());
        self.running =
            begun.unwrap_or_else(|| begin(&self.start, &self.home, self.port, self.is_ready));
    }

    /// Removes what it keeps on disk. For a server that is down.
    pub fn wipe(&self) {
        scratch::remove(&self.home).expect("the folder is ours");
    }
}

fn begin(start: &Start, home: &Path, port: u16, is_ready: fn(&str) -> bool) -> Running {
    let begun = try_begin(start, home, port, is_ready);
    begun.unwrap_or_else(|error| panic!("{error:#} (`cargo stack test` installs what is missing)"))
}

fn try_begin(
    start: &Start,
    home: &Path,
    port: u16,
    is_ready: fn(&str) -> bool,
) -> anyhow::Result<Running> {
    let running = start(home, port, &home.join("server.log"))?;
    running.wait_ready(PATIENCE, || is_ready(&running.address))?;
    Ok(running)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("{} keeps its log: {}", self.running.name, self.running.log.display());
        } else {
            let _ = scratch::remove(&self.home);
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.running).finish()
    }
}
