//! The thread that answers probes, hears signals and keeps the drain's deadline.
//!
//! It has a runtime of its own, so that a program whose workers are all busy or stuck can still
//! be scraped, stopped, and ended when its drain does not end.

use std::net::SocketAddr;
use std::process::exit;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::recorder::Recorder;
use crate::settings::Common;
use crate::{Service, probes};

/// The content type of Prometheus's text format, as its documentation gives it.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Binds `METRICS_ADDR` and hears signals from here on. Gives the bound address.
pub(crate) fn start(
    service: Service,
    common: &Common,
    recorder: Recorder,
) -> anyhow::Result<SocketAddr> {
    let address = common.metrics_addr;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the warden's runtime")?;
    let (listener, signals) = runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("METRICS_ADDR: cannot listen on {address}"))?;
        anyhow::Ok((listener, Signals::hear()?))
    })?;
    let address = listener.local_addr().context("METRICS_ADDR: no local address")?;
    let router = probes(&service).route(
        "/metrics",
        get(move || {
            let text = recorder.render();
            async move { ([("content-type", TEXT_FORMAT)], text) }
        }),
    );
    std::thread::Builder::new()
        .name("warden".to_owned())
        .spawn(move || runtime.block_on(watch(service, listener, router, signals)))
        .context("cannot start the warden's thread")?;
    Ok(address)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn hear() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn watch(service: Service, listener: TcpListener, router: Router, mut signals: Signals) {
    // Serves until the process ends, so that the drain can be watched.
    tokio::spawn(axum::serve(listener, router).into_future());
    let stopping = service.stopping();
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping"),
        () = stopping.cancelled() => {}
    }
    service.stop();
    let deadline = service.shutdown_timeout();
    tokio::select! {
        signal = signals.next() => tracing::error!(signal, "asked again: ending at once"),
        () = tokio::time::sleep(deadline) => tracing::error!(
            tasks = service.tasks().len(),
            "not drained within SHUTDOWN_TIMEOUT, {deadline:?}: ending",
        ),
    }
    exit(1);
}
