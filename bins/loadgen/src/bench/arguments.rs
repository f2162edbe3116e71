use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use crate::bench::plan::MOST_SYMBOLS;
use crate::cli::{Distribution, rate, seconds};
use crate::places::Places;

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) places: Places,

    /// The gateway, of whose live streams one is followed.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) gateway: String,

    /// Trades a second; several, separated by commas, are tried one after the other.
    #[arg(long, value_delimiter = ',', default_value = "20000", value_name = "TRADES", value_parser = rate)]
    pub(crate) rate: Vec<f64>,

    /// Begin with the (first) rate, and look for the highest one that holds. It holds if no
    /// consumer is ever more than a second behind, and none falls back over the last half.
    #[arg(long)]
    pub(crate) search: bool,

    /// How long measured trades flow at each rate.
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) hold: Duration,

    /// How long each rate of a search is tried; the highest that holds is then held for `--hold`.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) trial: Duration,

    /// How long trades flow at a rate before any is measured.
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// The market's first N symbols, all of which the ingestor must subscribe: its SYMBOLS is what
    /// `loadgen symbols N` prints.
    #[arg(long, default_value = "500", value_name = "N", value_parser = symbols)]
    pub(crate) symbols: NonZeroUsize,

    /// How the trades fall on the symbols: evenly, or the n-th gets 1/n of what the first gets.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub(crate) spread: Distribution,

    /// Trades a frame. At low rates fewer, so that none waits more than a quarter of a second.
    #[arg(long, default_value = "10", value_name = "N")]
    pub(crate) trades_per_frame: NonZeroU64,

    /// Alerts to make at the start that never fire.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) alerts: u64,

    /// Alerts a second that are made before each rate, and that its measured trades fire.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) firings: u64,

    /// Where the programs serve /metrics; those of one kind are added up.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ADDRESSES",
        default_value = "127.0.0.1:9101,127.0.0.1:9102,127.0.0.1:9103,127.0.0.1:9104"
    )]
    pub(crate) metrics: Vec<String>,

    /// Write the figures there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Draw percentiles over rate there, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.search || self.rate.len() == 1, "--search begins with one --rate");
        Ok(())
    }
}

fn symbols(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= MOST_SYMBOLS);
    count.ok_or_else(|| format!("expected a whole number from 1 to {MOST_SYMBOLS}"))
}
