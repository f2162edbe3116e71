use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::healthcheck::healthcheck;
use crate::recorder::Recorder;
use crate::settings::Common;
use crate::traces::Export;
use crate::{Configuration, Service, Settings, panics, telemetry, warden};

/// The exit code of a program that was set up wrongly: `EX_USAGE` of `sysexits.h`.
const WRONG_SETTINGS: u8 = 64;

const HEALTHCHECK: &str = "healthcheck";

/// How long the last spans may take to reach the collector: it must not be what a stop waits for.
const FLUSH_TRACES: Duration = Duration::from_secs(1);

/// Of a program that only serves: what its arguments ask for.
///
/// None: its [whole life](run). `healthcheck`: whether the one that runs takes work, as exit
/// code. Any other: exit code 64.
pub fn main<C: Configuration>(
    name: &'static str,
    serve: impl AsyncFnOnce(C, Service) -> anyhow::Result<()>,
) -> ExitCode {
    match &arguments()[..] {
        [] => run(name, serve),
        [one] if one == HEALTHCHECK => healthcheck::<C>(name),
        others => misused(name, &[HEALTHCHECK], others),
    }
}

/// As [`main`], of a program that has another `command` beside serving.
pub fn main_or<C: Configuration>(
    name: &'static str,
    serve: impl AsyncFnOnce(C, Service) -> anyhow::Result<()>,
    command: &'static str,
    work: impl AsyncFnOnce(C, Service) -> anyhow::Result<()>,
) -> ExitCode {
    match &arguments()[..] {
        [] => run(name, serve),
        [one] if one == command => run(name, work),
        [one] if one == HEALTHCHECK => healthcheck::<C>(name),
        others => misused(name, &[command, HEALTHCHECK], others),
    }
}

fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

fn misused(name: &str, commands: &[&str], found: &[String]) -> ExitCode {
    let commands: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
    let expected = commands.join(" or ");
    let found = found.join(" ");
    let _ =
        writeln!(std::io::stderr(), "{name}: expected no argument, or {expected}, found `{found}`");
    ExitCode::from(WRONG_SETTINGS)
}

/// A program's whole life: settings, telemetry, metrics and probes, `serve`, drain.
///
/// Wrong settings are printed to stderr, one sentence each, before any port is bound: exit code 64.
/// `serve` runs until `Service::stopping` and then drains; after it, the tracked tasks and threads
/// are waited for, and the last spans sent. All that must end within `SHUTDOWN_TIMEOUT` of the stop. An error of `serve`, a
/// failed task, a panic or a missed deadline give exit code 1; a second signal does so at once.
pub fn run<C: Configuration>(
    name: &'static str,
    serve: impl AsyncFnOnce(C, Service) -> anyhow::Result<()>,
) -> ExitCode {
    let (common, config) = match Settings::load(Path::new(".")).finish::<C>() {
        Ok(settings) => settings,
        Err(errors) => {
            for error in errors {
                // Where stderr is closed, the exit code still tells.
                let _ = writeln!(std::io::stderr(), "{name}: {error}");
            }
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    // Before anything large is allocated.
    let huge_pages = allow_huge_pages(C::HUGE_PAGES);
    let traces = telemetry::start(name, common.log.clone(), &common.traces);
    if let Err(error) = huge_pages {
        tracing::info!(%error, "huge pages are as the kernel has them");
    }
    let service = Service::new(name, common.shutdown_timeout);
    if let Err(error) = live(&common, config, &service, traces, serve) {
        service.fail(name, &error);
    }
    if service.has_failed() {
        tracing::error!("stopped after a failure");
        return ExitCode::FAILURE;
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
fn allow_huge_pages(are_allowed: bool) -> nix::Result<()> {
    nix::sys::prctl::set_thp_disable(!are_allowed)
}

#[cfg(not(target_os = "linux"))]
fn allow_huge_pages(_are_allowed: bool) -> nix::Result<()> {
    Ok(())
}

fn live<C: Configuration>(
    common: &Common,
    config: C,
    service: &Service,
    traces: Option<Export>,
    serve: impl AsyncFnOnce(C, Service) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let recorder = Recorder::new();
    metrics::set_global_recorder(recorder.clone())
        .map_err(|_| anyhow::anyhow!("a metrics recorder is already installed"))?;
    let version = env!("CARGO_PKG_VERSION");
    let build = crate::catalogue::BUILD_INFO.with("service", service.name());
    build.with("version", version).gauge().set(1.0);
    panics::watch(service.clone());
    let exporting = traces.map(Export::start).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(common.worker_threads)
        .thread_name(service.name())
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    recorder.watch(runtime.metrics());
    let metrics = warden::start(service.clone(), common, recorder)?;
    tracing::info!(version, metrics = %metrics, pid = std::process::id(), "started");

    let serving = AssertUnwindSafe(|| runtime.block_on(serve(config, service.clone())));
    // The hook has logged a panic and marked the failure: the drain goes on.
    let served = catch_unwind(serving).unwrap_or(Ok(()));
    if let Err(error) = served {
        service.fail("serve", &error);
    }
    service.stop();
    service.tasks().close();
    runtime.block_on(service.tasks().wait());
    runtime.shutdown_background();
    if let Some(exporting) = exporting {
        exporting.finish(FLUSH_TRACES.min(service.time_left() / 2));
    }
    Ok(())
}
