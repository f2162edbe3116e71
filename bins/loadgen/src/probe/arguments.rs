use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

use crate::cli::{rate, seconds};
use crate::places::Places;

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) places: Places,

    /// Trades a second, over all symbols evenly, at random.
    #[arg(long, default_value = "1000", value_name = "TRADES", value_parser = rate)]
    pub(crate) rate: f64,

    /// The market's first N symbols, all of which the ingestor must subscribe: its SYMBOLS is what
    /// `loadgen symbols N` prints.
    #[arg(long, default_value = "500", value_name = "N")]
    pub(crate) symbols: NonZeroUsize,

    /// Trades a frame. At low rates fewer, so that none waits more than a quarter of a second.
    #[arg(long, default_value = "4", value_name = "N")]
    pub(crate) trades_per_frame: NonZeroU64,

    /// How long trades flow before any is measured.
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// How long measured trades flow.
    #[arg(long, default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Duration,

    /// Alerts to make, each of which one of the measured trades fires. 0: none, and the alert
    /// service is not asked for anything.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) alerts: usize,

    /// Decides which trades fire, and which symbols are watched in Redis.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// End with 1 where a percentile differs by more than this part of what was seen outside, such
    /// as 0.1.
    #[arg(long, value_name = "PART")]
    pub(crate) tolerance: Option<f64>,

    /// Where the programs serve /metrics; those of one kind are added up.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ADDRESSES",
        default_value = "127.0.0.1:9101,127.0.0.1:9102,127.0.0.1:9103"
    )]
    pub(crate) metrics: Vec<String>,
}
