//! What the stage metrics say, held against a measurement from outside in the same run.
//!
//! ```text
//!  probe: numbers and stamps each trade as it leaves
//!    ├─▶ ingestor ─▶ market_ticks ─▶ processor ─▶ Redis       alert ─▶ alert_firings
//!    │                    │                         │                       │
//!    └─ watches ──────────┴─────────────────────────┴───────────────────────┘   then reads /metrics
//! ```
//! Trades flow twice: a warm-up, and the measured ones. Before and after those everything has come
//! to rest when the metrics are read, so both sides count the very same trades.
//!
//! Each symbol's trades become visible in Redis together with the last of a write, so a sample of
//! the symbols is watched there, chosen at random; on the topics every trade and firing is seen.
//! That a producer has heard of its record, that a trade was evaluated, that a firing is committed:
//! these cannot be seen from outside.

mod arguments;
mod firings;
mod market;
mod plan;
mod prices;
mod quantile;
mod report;
mod scrape;
mod tail;
mod trades;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::index;
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli;
use crate::pace::Pace;
use crate::server::{Server, Supply};
use crate::source::Source;
use crate::synthetic;
use plan::Plan;
use report::{Report, Seen};

pub(crate) use arguments::Arguments;
pub(crate) use firings::{Fired, tail as firings_tail};
pub(crate) use market::{Tape, Taped};
pub(crate) use plan::splitmix;
pub(crate) use prices::{Look, Watch};
pub(crate) use quantile::of_buckets;
pub(crate) use scrape::Stages;
pub(crate) use tail::{Tail, consumer, ends};

/// An ingestor that was turned away comes back within half of it, unless told otherwise.
const CLIENT_PATIENCE: Duration = Duration::from_secs(300);

/// How long the last of the trades may take to everywhere.
const REST_PATIENCE: Duration = Duration::from_secs(60);

/// How long the metrics must stay as they are.
const QUIET: Duration = Duration::from_millis(1_500);

/// How often a second watched symbols may be read: enough samples, and little for Redis to do.
const LOOKS_A_SECOND: f64 = 2_000.0;
/// The most often that a processor writes one symbol, about.
const WRITES_A_SECOND: f64 = 500.0;
const FEWEST_WATCHED: usize = 4;

/// One run. False where something is missing, or a percentile is outside the tolerance.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let pace = || Pace::new(arguments.rate, arguments.trades_per_frame.get());
    let trades = |time: Duration| {
        let frames = arguments.rate * time.as_secs_f64() / pace().trades_per_frame() as f64;
        frames.ceil() as usize * pace().trades_per_frame() as usize
    };
    let plan = Plan::new(
        unix_nanos() / 1_000_000_000,
        (trades(arguments.warm_up), trades(arguments.duration)),
        synthetic::market(arguments.symbols.get()).collect(),
        arguments.alerts,
        arguments.seed,
    );
    let places = &arguments.places;
    let watched = watched(arguments.rate, arguments.symbols.get(), arguments.seed);
    let tape = Arc::new(Tape::new(plan));
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let taped = Arc::clone(&tape);
    let supply = move |_| Taped::new(Arc::clone(&taped)).map(Source::Taped);
    serve(places.listen, Box::new(supply), stop.clone()).await?;
    subscribed(tape.subscribed(), arguments.symbols.get(), places.listen).await?;

    let plan = &tape.plan;
    let brokers = &places.kafka_brokers;
    let names: Vec<String> = watched.iter().map(|symbol| plan.symbols[*symbol].clone()).collect();
    let watch = block_in_place(|| Watch::start(&places.redis_addr, &names))?;
    let topic = block_in_place(|| trades::tail(brokers, &places.kafka_topic, Arc::clone(&tape)))?;
    let alerts = firings::create(&places.alert_service_addr, plan).await?;
    let firings = match alerts.is_empty() {
        true => None,
        false => {
            Some(block_in_place(|| firings::tail(brokers, &places.kafka_firings_topic, &alerts))?)
        }
    };

    info!(trades = plan.warm(), "warming up");
    tape.flow(pace(), plan.warm());
    let rest = |count| {
        let found = || topic.found();
        rest(&tape, &arguments, count, found)
    };
    let before = rest(plan.warm()).await?;
    info!(trades = plan.measured().len(), "measuring");
    tape.flow(pace(), plan.trades());
    let after = rest(plan.trades()).await?;
    if let Some(firings) = &firings {
        let fired = async {
            while firings.found() < alerts.len() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        // What is missing then is told in the report.
        let _ = timeout(REST_PATIENCE, fired).await;
    }

    let (logged, looks, sent_at) = (topic.finish()?, watch.finish()?, tape.take_sent());
    let fired = firings.map(|firings| firings.finish()).transpose()?.unwrap_or_default();
    let seen = Seen {
        plan,
        sent_at: &sent_at,
        logged: &logged,
        watched: &watched,
        looks: &looks,
        alerts: &alerts,
        fired: &fired,
        metrics: &after.since(&before),
    };
    judge(&seen.report(), arguments.tolerance)
}

/// Prints it.
fn judge(report: &Report, tolerance: Option<f64>) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", report.text)?;
    for fault in &report.faults {
        writeln!(out, "WRONG: {fault}")?;
    }
    let within = tolerance.is_none_or(|tolerance| report.widest <= tolerance);
    if !within {
        writeln!(out, "WRONG: percentiles differ by up to {:.1} %", report.widest * 1e2)?;
    }
    Ok(within && report.faults.is_empty())
}

/// The feed, until stopped.
pub(crate) async fn serve(
    listen: SocketAddr,
    supply: Supply,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let server = Server::of(cli::Feed::plain(listen)?, supply).await?;
    tokio::spawn(server.serve(stop));
    Ok(())
}

/// Waits until a client has subscribed all of the `count` symbols.
pub(crate) async fn subscribed(
    mut subscribed: watch::Receiver<usize>,
    count: usize,
    listen: SocketAddr,
) -> anyhow::Result<()> {
    info!(symbols = count, "waiting for FEED_URL=ws://{listen} to be connected");
    let all = subscribed.wait_for(|subscribed| *subscribed == count);
    if let Ok(all) = timeout(CLIENT_PATIENCE, all).await {
        all?;
        return Ok(());
    }
    match *subscribed.borrow() {
        0 => bail!("no client has come: start the ingestor with FEED_URL=ws://{listen}"),
        some => bail!(
            "the client has subscribed {some} of {count} symbols: its SYMBOLS must be what `loadgen \
             symbols {count}` prints"
        ),
    }
}

/// Waits until `count` trades are on the topic and the metrics have come to rest; what they say.
async fn rest(
    tape: &Tape,
    arguments: &Arguments,
    count: usize,
    found: impl Fn() -> usize,
) -> anyhow::Result<Stages> {
    while !tape.rests() {
        sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let mut last = None;
    loop {
        sleep(QUIET).await;
        let stages = block_in_place(|| Stages::scrape(&arguments.metrics))?;
        if found() >= count && last.as_ref() == Some(&stages) {
            return Ok(stages);
        }
        if began.elapsed() > REST_PATIENCE {
            let topic = &arguments.places.kafka_topic;
            bail!("after {REST_PATIENCE:?} {} of {count} trades are on {topic}", found());
        }
        last = Some(stages);
    }
}

/// Which symbols are watched in Redis: as many as can be without being felt, at random.
pub(crate) fn watched(rate: f64, symbols: usize, seed: u64) -> Vec<usize> {
    let writes = (rate / symbols as f64).min(WRITES_A_SECOND);
    let count = ((LOOKS_A_SECOND / writes) as usize).clamp(FEWEST_WATCHED.min(symbols), symbols);
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
    index::sample(&mut dice, symbols, count).into_vec()
}

pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
