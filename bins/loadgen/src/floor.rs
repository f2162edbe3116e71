//! What the servers and the machine do without the services: the floors that figures stand on. Each
//! prints one JSON object.

mod broker;
mod commit;
mod copy;
mod http;
mod redis;

use std::io::Write;
use std::net::SocketAddr;

use clap::Subcommand;
use serde::Serialize;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Floor {
    /// From when a record was due to be produced until a consumer has it, in an open loop.
    Broker(broker::Arguments),
    /// Symbols a second that Redis takes: by our guarded writes, by the plain commands that write
    /// the same, and by HSET of three fields. Redis should be empty.
    Redis {
        /// Symbols in a batch, or in a pipeline.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
        symbols: u16,
        /// host:port, or a redis:// URL.
        #[arg(long, env = "REDIS_ADDR", default_value = "localhost:6379")]
        redis_addr: String,
    },
    /// Serve a bare answer in the shape of `GET /price/AAPL`, until killed.
    Http {
        #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
        listen: SocketAddr,
    },
    /// How long PostgreSQL takes to commit one small row.
    Commit {
        #[arg(long, env = "DATABASE_URL")]
        database_url: String,
    },
    /// How fast memory is copied.
    Copy,
}

#[tokio::main]
pub(crate) async fn run(floor: Floor) -> anyhow::Result<()> {
    match floor {
        Floor::Broker(arguments) => print(&broker::run(arguments).await?),
        Floor::Redis { symbols, redis_addr } => print(&redis::run(&redis_addr, symbols).await?),
        Floor::Http { listen } => http::run(listen).await,
        Floor::Commit { database_url } => print(&commit::run(&database_url).await?),
        Floor::Copy => print(&copy::run()),
    }
}

fn print(figures: &impl Serialize) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(figures)?)?;
    Ok(())
}
