use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::probe::Arguments;

/// A market-data feed for tests, benchmarks and stacks without a key.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve Finnhub's WebSocket protocol.
    ///
    /// Each connection gets a market, or a replay, of its own that starts with its first
    /// subscription, and only the trades of the symbols that it has subscribed. Any path will do.
    Feed(Box<Feed>),
    /// Measure a running stack's latencies from outside, beside what its metrics say.
    ///
    /// Serves the feed itself: the ingestor's FEED_URL must name it. Watches the topics and Redis,
    /// then reads the programs' /metrics.
    Probe(Box<Arguments>),
    /// Measure how many trades a second running services carry, and how late each is, in an open
    /// loop; check at the end that nothing was lost, came twice or is wrong.
    ///
    /// Serves the feed itself: the ingestor's FEED_URL must name it. `cargo stack bench` starts all
    /// that it needs. Ends with 1, and without figures, where what was sent is not what was found.
    Bench(Box<crate::bench::Arguments>),
    /// Measure what the servers and the machine do without the services.
    Floor {
        #[command(subcommand)]
        floor: crate::floor::Floor,
    },
    /// Open many live streams of a gateway at once, and measure what they are told, and how late.
    Streams(Box<crate::streams::Arguments>),
    /// Print the first symbols of the synthetic market, separated by commas, as SYMBOLS wants them.
    Symbols { count: NonZeroUsize },
    /// Exit code 0 if a feed answers at this address, else 1.
    Healthcheck {
        #[arg(default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
        address: SocketAddr,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Feed {
    /// Where to listen; port 0 takes a free one, and the log says which.
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) market: Market,

    #[command(flatten)]
    pub(crate) replay: ReplayArguments,

    /// How often `{"type":"ping"}` is sent, in seconds.
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ping_every: Duration,

    /// Subscriptions past this many get Finnhub's error; 0: no limit.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) max_symbols: usize,

    /// Answer any other `?token=` (or none) with 401.
    #[arg(long)]
    pub(crate) token: Option<String>,

    #[command(flatten)]
    pub(crate) faults: Faults,

    /// What a second connection with the token of an open one brings about.
    #[arg(long, value_enum, default_value_t = SecondConnection::Allow, value_name = "WHAT")]
    pub(crate) second_connection: SecondConnection,

    /// Answer every handshake with this status, and no WebSocket.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    pub(crate) refuse_with: Option<u16>,
}

impl Feed {
    /// All defaults, but for where it listens and for as many symbols as are asked for.
    pub(crate) fn plain(listen: SocketAddr) -> anyhow::Result<Self> {
        let command = Self::augment_args(clap::Command::new("feed"));
        let defaults = Self::from_arg_matches(&command.try_get_matches_from(["feed"])?)?;
        Ok(Self { listen, max_symbols: 0, ..defaults })
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Synthetic market")]
pub(crate) struct Market {
    /// Trades a second to each connection, over all the symbols that it has subscribed.
    #[arg(long, default_value = "100", value_name = "TRADES", value_parser = rate)]
    pub(crate) rate: f64,

    /// Trades a frame. At low rates fewer, so that none waits more than a quarter of a second.
    #[arg(long, default_value = "4", value_name = "N")]
    pub(crate) trades_per_frame: NonZeroU64,

    /// Only the market's first N symbols trade (see `loadgen symbols N`); without this, whatever
    /// is subscribed does.
    #[arg(long, value_name = "N")]
    pub(crate) symbols_count: Option<NonZeroUsize>,

    /// How the trades fall on the symbols: evenly, or with the n-th subscribed getting 1/n of
    /// what the first gets.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub(crate) distribution: Distribution,

    /// The same seed makes the same trades, but for their times.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Replay")]
pub(crate) struct ReplayArguments {
    /// Replay these frames, one a line, as recorded. Starts when the subscriptions have settled
    /// and one of them occurs in the file; after the end the connection stays open.
    #[arg(long, value_name = "FRAMES.ndjson")]
    pub(crate) file: Option<PathBuf>,

    /// Times faster than recorded; 0: without waiting at all.
    #[arg(long, default_value = "1", value_name = "X", requires = "file", value_parser = speed)]
    pub(crate) speed: f64,

    /// Shift all times by one amount, such that the trades are of now (and none of the future).
    #[arg(long, requires = "file")]
    pub(crate) rebase_time: bool,

    /// Play it once. This is the default.
    #[arg(long, requires = "file", conflicts_with = "again")]
    pub(crate) once: bool,

    /// Begin again at the end.
    #[arg(long = "loop", requires = "file")]
    pub(crate) again: bool,

    /// A new connection goes on where the last one of its token ended, as a live feed would,
    /// instead of at the start. `--drop-every` implies it: nobody would ever see the end.
    #[arg(long, requires = "file")]
    pub(crate) resume: bool,
}

/// What the real one has been seen to do. Frames are counted for each connection.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Misbehaviour")]
pub(crate) struct Faults {
    /// Drop the connection, without a close, after this many frames of trades.
    #[arg(long, value_name = "FRAMES")]
    pub(crate) drop_every: Option<NonZeroU64>,

    /// After this many frames of trades say nothing more, and stay connected.
    #[arg(long, value_name = "FRAMES")]
    pub(crate) stall_after: Option<NonZeroU64>,

    /// Send each frame of trades three times.
    #[arg(long)]
    pub(crate) triplicate: bool,

    /// Let times run backwards: now and then a trade is seconds old (synthetic), or frames
    /// change places in pairs (replay).
    #[arg(long)]
    pub(crate) backwards: bool,

    /// Send garbage after every so many frames of trades.
    #[arg(long, value_name = "FRAMES")]
    pub(crate) garbage_every: Option<NonZeroU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    Uniform,
    Zipf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecondConnection {
    /// Nothing: both stay.
    Allow,
    /// Both are dropped, as Finnhub does.
    DropBoth,
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|rate| *rate > 0.0 && *rate <= 1e9)
        .ok_or_else(|| "expected trades a second: a number above 0 and up to 1000000000".to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|speed| *speed == 0.0 || (1e-3..=1e9).contains(speed))
        .ok_or_else(|| "expected 0, or a factor from 0.001 up".to_owned())
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    number(text)
        .filter(|seconds| (0.001..=1e6).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds, from 0.001 up".to_owned())
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn feed(arguments: &[&str]) -> Result<Box<Feed>, String> {
        let all = ["loadgen", "feed"].iter().chain(arguments);
        match Cli::try_parse_from(all) {
            Ok(Cli { command: Command::Feed(feed) }) => Ok(feed),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_defaults_are_the_free_plans() {
        let feed = feed(&[]).unwrap();
        assert_eq!(feed.listen.to_string(), "127.0.0.1:7878");
        assert_eq!(feed.max_symbols, 50);
        assert_eq!(feed.ping_every, Duration::from_secs(60));
        assert_eq!(feed.second_connection, SecondConnection::Allow);
    }

    #[test]
    fn replays_are_spelled_as_the_readme_does() {
        let feed = feed(&["--file", "f.ndjson", "--speed", "10", "--rebase-time", "--loop"]);
        let replay = feed.unwrap().replay;
        assert!(replay.rebase_time && replay.again && !replay.once);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for (arguments, sentence) in [
            (&["--rate", "0"][..], "expected trades a second"),
            (&["--rate", "fast"], "expected trades a second"),
            (&["--rate", "NaN"], "expected trades a second"),
            (&["--speed", "2"], "--file"),
            (&["--file", "f", "--speed=-1"], "expected 0, or a factor"),
            (&["--file", "f", "--once", "--loop"], "cannot be used with"),
            (&["--drop-every", "0"], "--drop-every"),
            (&["--trades-per-frame", "0"], "--trades-per-frame"),
            (&["--listen", "nowhere"], "--listen"),
            (&["--refuse-with", "101"], "--refuse-with"),
        ] {
            let error = feed(arguments).unwrap_err();
            assert!(error.contains(sentence), "{arguments:?}: {error}");
        }
    }
}
