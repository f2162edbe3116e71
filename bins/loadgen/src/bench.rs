//! How much the whole way carries, and how late: an open-loop benchmark of running services.
//!
//! ```text
//!  bench: every trade is due at a moment that follows from its number, which is its volume
//!    ├─▶ ingestor ─▶ market_ticks ─▶ processor ─▶ Redis ─▶ gateway     alert ─▶ alert_firings
//!    │                    │ one partition           │ a few   │ one client            │ all
//!    └─ how late is it ───┴─────────────────────────┴─────────┴──────────────────────┘
//!         and once all of it rests: the whole log, all of Redis, every firing, against the plan
//! ```
//! Open loop: latencies count from when a trade was *due* to leave the feed, so that a feed which is
//! held back by the ingestor makes them longer, and does not leave out the trades that would have
//! waited. While trades flow only samples are taken, which cost little: one partition of the topic is
//! followed by a consumer of its own; a few symbols in Redis, by its own invalidations, and on a live
//! stream, whose every trade then counts; every firing that is published. That firings are committed
//! cannot be seen from outside before they are published: of that the programs' own metrics tell,
//! which `loadgen probe` holds against what is seen from outside.
//!
//! After each rate everything that was sent is looked for: on the log each trade once, in order and
//! as it was; in Redis of each symbol the number of trades, the sum of their volumes, and the latest;
//! of the alerts exactly those firings that are to be. Where something differs, that is told and no
//! figures are.

mod alerts;
mod arguments;
mod delivered;
mod figures;
mod lateness;
mod logged;
mod market;
mod measure;
mod plan;
mod plot;
mod search;
mod seen;
mod stored;
mod wrong;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::Distribution;
use crate::pace::Pace;
use crate::probe::{serve, subscribed, unix_nanos};
use crate::source::Source;
use crate::synthetic;
use alerts::Alerts;
use figures::{Figures, StepFigures};
use market::Market;
use measure::Rig;
use plan::{Spread, Step};
use search::Search;
use stored::Stored;
use wrong::Wrong;

pub(crate) use arguments::Arguments;
pub(crate) use figures::Percentiles;
pub(crate) use lateness::{Micros, micros};
pub(crate) use market::Planned;

/// So that the sums of volumes stay exact: see [`Step`].
const MOST_TRADES: u64 = 1 << 28;

/// Trades that come first, so that every symbol is known and every program warm.
const FIRST_RATE: f64 = 10_000.0;
const FIRST: Duration = Duration::from_secs(2);

/// How often a search may find that what held for a moment does not hold for long.
const FINAL_ATTEMPTS: u32 = 4;
const LOWER: f64 = 0.92;

/// A run of several steps.
struct Run {
    rig: Rig,
    wrong: Wrong,
    /// The number of the next trade, and how many alerts were made to fire.
    next: u64,
    alerts: u64,
    steps: Vec<StepFigures>,
}

/// One run. False where what was sent is not what was found: then no figures are printed.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    arguments.check()?;
    let mut run = Run::begin(arguments.clone()).await?;
    let began = unix_nanos() / 1_000_000_000;
    let highest = run.measure(&arguments).await?;
    let wrong = run.wrong.sentences();
    let mut out = std::io::stdout().lock();
    if !wrong.is_empty() {
        wrong.iter().try_for_each(|sentence| writeln!(out, "WRONG: {sentence}"))?;
        return Ok(false);
    }
    let figures = Figures {
        began,
        symbols: arguments.symbols.get(),
        spread: match arguments.spread {
            Distribution::Uniform => "uniform",
            Distribution::Zipf => "zipf",
        },
        trades_per_frame: arguments.trades_per_frame.get(),
        idle_alerts: arguments.alerts,
        steps: run.steps,
        highest,
    };
    write!(out, "{}", figures.table())?;
    if let Some(path) = &arguments.json {
        put(path, &serde_json::to_string_pretty(&figures)?)?;
    }
    if let Some(path) = &arguments.plot {
        put(path, &plot::svg(&figures))?;
    }
    Ok(true)
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl Run {
    async fn begin(arguments: Arguments) -> anyhow::Result<Self> {
        let names = synthetic::market(arguments.symbols.get()).collect();
        let spread = Spread::new(arguments.symbols, arguments.spread);
        let market = Arc::new(Market::new(names, spread));
        let places = &arguments.places;
        let supply = Arc::clone(&market);
        let supply = move |_| Planned::new(Arc::clone(&supply)).map(Source::Planned);
        // It ends with the program.
        serve(places.listen, Box::new(supply), CancellationToken::new()).await?;
        subscribed(market.subscribed(), arguments.symbols.get(), places.listen).await?;
        let alerts = Alerts::connect(&places.alert_service_addr).await?;
        if arguments.alerts > 0 {
            info!("making {} alerts that never fire", arguments.alerts);
            alerts.make_idle(&market, arguments.alerts).await?;
        }
        let mut stored = block_in_place(|| Stored::connect(&places.redis_addr, &market.symbols))?;
        let held = block_in_place(|| stored.held())?;
        let rig = Rig { arguments, market, alerts, stored, held };
        Ok(Self { rig, wrong: Wrong::default(), next: 1, alerts: 0, steps: Vec::new() })
    }

    /// The steps that the arguments ask for; of a search, the highest rate that has held. Ends
    /// early where something is wrong.
    async fn measure(&mut self, arguments: &Arguments) -> anyhow::Result<Option<f64>> {
        let first = arguments.rate.iter().copied().fold(FIRST_RATE, f64::min);
        self.step(first, FIRST, false).await?;
        if !arguments.search {
            for rate in &arguments.rate {
                if !self.wrong.is_empty() {
                    break;
                }
                self.step(*rate, arguments.hold, true).await?;
            }
            return Ok(None);
        }
        let mut search = Search::new(arguments.rate[0]);
        while let Some(rate) = search.next().filter(|_| self.wrong.is_empty()) {
            let held = self.step(rate, arguments.trial, true).await?;
            search.tell(held);
        }
        let Some(mut rate) = search.held() else { return Ok(None) };
        for _ in 0..FINAL_ATTEMPTS {
            if !self.wrong.is_empty() {
                break;
            }
            if self.step(rate, arguments.hold, true).await? {
                return Ok(Some(rate));
            }
            rate = search::round(rate * LOWER);
        }
        Ok(None)
    }

    /// Whether it has held. Its figures count only where it is `told`.
    async fn step(&mut self, rate: f64, time: Duration, told: bool) -> anyhow::Result<bool> {
        let arguments = &self.rig.arguments;
        let trades_per_frame = Pace::new(rate, arguments.trades_per_frame.get()).trades_per_frame();
        let trades = |time: Duration| {
            let frames = rate * time.as_secs_f64() / trades_per_frame as f64;
            (frames.ceil() as u64).max(1) * trades_per_frame
        };
        let measured = trades(time);
        let firings = (arguments.firings as f64 * time.as_secs_f64()) as u64;
        let step = Step {
            rate,
            trades_per_frame,
            first: self.next,
            warm: trades(if told { arguments.warm_up } else { Duration::ZERO }),
            measured,
            alerts: if told { firings.min(measured) } else { 0 },
            alerts_before: self.alerts,
            began: 0,
        };
        let end = step.trades().end;
        ensure!(end <= MOST_TRADES, "a run is of {MOST_TRADES} trades at most");
        self.alerts += step.alerts;
        let figures = self.rig.step(step, &mut self.wrong).await?;
        self.next += figures.trades;
        let verdict = if figures.held { "held" } else { "NOT held" };
        info!("{rate} trades/s: {verdict} {}", figures.why);
        let held = figures.held;
        if told {
            self.steps.push(figures);
        }
        Ok(held)
    }
}
