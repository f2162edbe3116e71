use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::readiness::{Readiness, ReadyFlag};

/// A running program's view of its own life. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    life: Arc<Life>,
}

#[derive(Debug)]
struct Life {
    name: &'static str,
    shutdown_timeout: Duration,
    stopping: CancellationToken,
    stopped_at: OnceLock<Instant>,
    tasks: TaskTracker,
    readiness: Arc<Readiness>,
    failed: AtomicBool,
}

impl Service {
    /// A life that no signal ends: `run` makes one for each program, a test its own.
    pub fn new(name: &'static str, shutdown_timeout: Duration) -> Self {
        let life = Life {
            name,
            shutdown_timeout,
            stopping: CancellationToken::new(),
            stopped_at: OnceLock::new(),
            tasks: TaskTracker::new(),
            readiness: Arc::default(),
            failed: AtomicBool::new(false),
        };
        Self { life: Arc::new(life) }
    }

    pub fn name(&self) -> &'static str {
        self.life.name
    }

    /// `SHUTDOWN_TIMEOUT`: how long after the stop the program may live. Who flushes or waits
    /// within the drain takes a part of it.
    pub fn shutdown_timeout(&self) -> Duration {
        self.life.shutdown_timeout
    }

    /// Until when a flush or a wait within the drain may last: a fifth of `SHUTDOWN_TIMEOUT` is
    /// left for what comes after it. Before the stop, as if it came now.
    pub fn drain_deadline(&self) -> Instant {
        let stopped_at = self.life.stopped_at.get().copied().unwrap_or_else(Instant::now);
        stopped_at + self.life.shutdown_timeout.mul_f64(0.8)
    }

    /// How much of `SHUTDOWN_TIMEOUT` is left.
    pub(crate) fn time_left(&self) -> Duration {
        let since_stop = self.life.stopped_at.get().map_or(Duration::ZERO, Instant::elapsed);
        self.life.shutdown_timeout.saturating_sub(since_stop)
    }

    /// Cancelled by SIGINT, SIGTERM, a failure, or `serve`'s return: stop input, then drain.
    pub fn stopping(&self) -> CancellationToken {
        self.life.stopping.clone()
    }

    /// The tasks that the drain waits for after `serve` has returned. A panic in one ends the
    /// program; for a task whose error should, see `spawn`.
    pub fn tasks(&self) -> &TaskTracker {
        &self.life.tasks
    }

    /// A tracked task of `serve`'s runtime. Its error is logged and ends the program non-zero,
    /// after the drain.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let service = self.clone();
        self.life.tasks.spawn(async move {
            if let Err(error) = task.await {
                service.fail(name, &error);
            }
        });
    }

    /// A tracked thread, for what blocks or owns a core. Its error is logged and ends the program
    /// non-zero, after the drain.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn thread(
        &self,
        name: &'static str,
        body: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let service = self.clone();
        let token = self.life.tasks.token();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _tracked = token;
            if let Err(error) = body() {
                service.fail(name, &error);
            }
        })?;
        Ok(())
    }

    /// Registers a component that must work for the program to be ready; it does not until its
    /// flag is set.
    pub fn ready(&self, component: &'static str) -> ReadyFlag {
        self.life.readiness.register(component)
    }

    /// Registers a component without which the program is ready and does less: while it is away
    /// `/readyz` names it under `degraded`, and stays 200.
    pub fn helped_by(&self, component: &'static str) -> ReadyFlag {
        self.life.readiness.register_helpful(component)
    }

    pub(crate) fn readiness(&self) -> &Arc<Readiness> {
        &self.life.readiness
    }

    /// Not ready first, so that whoever routes to this program sees it before its ports close.
    pub(crate) fn stop(&self) {
        self.life.readiness.stop();
        let _ = self.life.stopped_at.set(Instant::now());
        self.life.stopping.cancel();
    }

    /// Ends the program non-zero after its drain. Logs `error` with its chain.
    pub fn fail(&self, component: &'static str, error: &anyhow::Error) {
        tracing::error!(component, "failed: {error:#}");
        self.fail_quietly();
    }

    pub(crate) fn fail_quietly(&self) {
        self.life.failed.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.life.failed.load(Ordering::Acquire)
    }
}
