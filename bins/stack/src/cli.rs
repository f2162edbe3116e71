use clap::{Args, Parser, Subcommand};

/// GoStocks on one machine: real servers, the services, and the tests.
#[derive(Debug, Parser)]
#[command(name = "cargo stack", bin_name = "cargo stack", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install what is missing, build, and start whatever does not run yet.
    ///
    /// Uses the servers that KAFKA_BROKERS, REDIS_ADDR or DATABASE_URL name in the process
    /// environment, and never stops or wipes them; uses the feed of FEED_URL or FINNHUB_API_KEY
    /// instead of the simulator.
    Up(Up),
    /// End exactly what `up` has started.
    Down(Down),
    /// What runs where.
    Status(Status),
    /// The logs of one server or service, or of all.
    Logs(Logs),
    /// All that CI runs: formatting, lints, proto checks, the build and the tests.
    Test(Test),
    /// Kill, freeze and cut off everything, one at a time and in pairs, under a replayed market of
    /// 20,000 trades a second and a million alerts; then ask the oracles whether anything was lost,
    /// came twice or is wrong.
    ///
    /// Runs on servers of its own, beside whatever is up. The first round that fails ends it, and
    /// says how to run that round again.
    Chaos(Chaos),
    /// Measure everything on this machine, and write `benches/RESULTS.md`: how many trades a second
    /// the whole way carries and how late each is, requests, the hot paths, and beside each the floor
    /// that it stands on.
    ///
    /// Runs on servers of its own, beside whatever is up; what runs beside it is measured too. Takes
    /// an hour and a quarter on a slow machine, after the first build. A run in which a trade or a
    /// firing was lost, came twice or is wrong ends with 1 and writes nothing.
    Bench(Bench),
}

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Hold everything for seconds only: to try it, in some minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Leave out `cargo bench --package benches`.
    #[arg(long)]
    pub(crate) no_hot_paths: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Return once everything is ready; `cargo stack down` ends it. Without this, Ctrl-C does.
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Trades a second of the simulated feed [default: as before, or 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Down {
    /// Also remove the data and the logs of what it ran (downloads are kept).
    #[arg(long)]
    pub(crate) wipe: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// As a JSON array.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// kafka, redis, postgresql, prometheus, redis-exporter, postgresql-exporter, host-exporter,
    /// feed, ingestor, processor, alert or gateway
    pub(crate) name: Option<String>,
    /// How many of the last lines
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) lines: usize,
    /// Go on printing as they are written.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Chaos {
    /// How many rounds, of a minute or two each.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) rounds: u64,
    /// How many there are in each round before its first trade.
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) alerts: u32,
    /// Of the first round; each next one has the next number.
    #[arg(long, value_name = "S", default_value = "1", value_parser = clap::value_parser!(u64).range(..=u64::from(u32::MAX)))]
    pub(crate) seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Also the tests that take longer.
    #[arg(long)]
    pub(crate) all: bool,
}
