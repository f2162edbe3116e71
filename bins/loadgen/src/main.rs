//! A feed that speaks Finnhub's protocol on loopback, for tests, benchmarks and a stack without
//! a key. It invents a market or replays a recorded one, and misbehaves when asked to. The same feed
//! measures the services that follow it.
//!
//! ```text
//!              ┌─ reader: subscriptions, pings, close ─┐
//!  socket ◀──▶ │                                       ▼
//!              └─◀ outbox (faults) ◀── Synthetic or Replay, what is due now
//! ```
//!
//! Every connection has a market, or a replay, of its own: two clients see the same trades.

mod bench;
mod cli;
mod connection;
mod floor;
mod garbage;
mod healthcheck;
mod outbox;
mod pace;
mod places;
mod probe;
mod recording;
mod render;
mod replay;
mod server;
mod source;
mod streams;
mod subscriptions;
mod synthetic;
mod walk;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Feed(arguments) => {
            log(std::io::stdout);
            run(*arguments)
        }
        Command::Probe(arguments) => {
            // What it prints is its result.
            log(std::io::stderr);
            match probe(*arguments) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error),
            }
        }
        Command::Bench(arguments) => {
            log(std::io::stderr);
            match bench(*arguments) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error),
            }
        }
        Command::Floor { floor } => {
            log(std::io::stderr);
            floor::run(floor)
        }
        Command::Streams(arguments) => {
            log(std::io::stderr);
            open_streams(*arguments)
        }
        Command::Symbols { count } => {
            let list = synthetic::market(count.get()).collect::<Vec<_>>().join(",");
            writeln!(std::io::stdout(), "{list}").map_err(anyhow::Error::from)
        }
        Command::Healthcheck { address } => {
            log(std::io::stderr);
            healthcheck::run(address)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// JSON lines, or readable ones on a terminal; `LOG` filters them as in the services.
fn log<W: Write + IsTerminal + 'static>(stream: fn() -> W) {
    let filter = EnvFilter::try_from_env("LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stream);
    if stream().is_terminal() {
        lines.init();
    } else {
        lines.json().flatten_event(true).init();
    }
}

#[tokio::main]
async fn probe(arguments: probe::Arguments) -> anyhow::Result<bool> {
    probe::run(arguments).await
}

#[tokio::main]
async fn bench(arguments: bench::Arguments) -> anyhow::Result<bool> {
    bench::run(arguments).await
}

#[tokio::main]
async fn open_streams(arguments: streams::Arguments) -> anyhow::Result<()> {
    streams::run(arguments).await
}

#[tokio::main]
async fn run(arguments: cli::Feed) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = server::Server::bind(arguments).await?;
    let signalled = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    };
    tokio::join!(server.serve(stop.clone()), signalled);
    Ok(())
}
