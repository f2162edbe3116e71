//! One step: trades at one rate, watched everywhere, and then held against what was sent.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use servers::http;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tracing::info;

use crate::bench::alerts::{self, Alerts};
use crate::bench::arguments::Arguments;
use crate::bench::delivered::Client;
use crate::bench::figures::{Row, StepFigures, metrics, outside};
use crate::bench::lateness::Lateness;
use crate::bench::logged;
use crate::bench::market::Market;
use crate::bench::plan::{Left, Step, left};
use crate::bench::seen::Watched;
use crate::bench::stored::{self, Held, Stored};
use crate::bench::wrong::Wrong;
use crate::probe::{Fired, Look, Stages, Tail, Watch, firings_tail, unix_nanos, watched};

/// Nobody may be further behind, once trades are measured.
const BEHIND: Duration = Duration::from_secs(1);
/// Whoever is that far behind will not hold: the step ends early.
const HOPELESS: Duration = Duration::from_secs(4);

/// How long what was sent may take to everywhere, once no more is sent.
const REST_PATIENCE: Duration = Duration::from_secs(90);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Which symbols are watched.
const SEED: u64 = 1;

/// What lives through all steps of a run.
pub(crate) struct Rig {
    pub(crate) arguments: Arguments,
    pub(crate) market: Arc<Market>,
    pub(crate) alerts: Alerts,
    pub(crate) stored: Stored,
    /// As Redis was before the step.
    pub(crate) held: Vec<Held>,
}

/// Everybody that watches a step from outside.
struct Watchers {
    /// Numbers of the symbols that are watched in Redis and on the stream.
    symbols: Vec<usize>,
    step: Arc<OnceLock<Step>>,
    log: Tail<Lateness>,
    redis: Watch,
    stream: Client,
    firings: Tail<Fired>,
}

/// What they have seen.
struct Seen {
    log: Lateness,
    redis: Vec<Look>,
    stream: Vec<Look>,
    fired: Fired,
}

impl Rig {
    /// Trades of a step that has not begun.
    ///
    /// # Errors
    /// Where something went wrong with the measuring itself. What is wrong with the trades goes into
    /// `wrong`: then the figures mean nothing.
    pub(crate) async fn step(
        &mut self,
        step: Step,
        wrong: &mut Wrong,
    ) -> anyhow::Result<StepFigures> {
        let places = self.arguments.places.clone();
        let log = (&*places.kafka_brokers, &*places.kafka_topic);
        let from = block_in_place(|| logged::offsets(log.0, log.1))?;
        let ids = self.alerts.make_firing(&self.market, &step).await?;
        let watchers = block_in_place(|| self.watch(step.rate, &ids))?;

        let step = self.market.flow(step);
        let _ = watchers.step.set(step.clone());
        let (before, hopeless) = self.flow(&step).await?;
        let (end, sent) = self.market.take_flowed().context("nothing has flowed")?;
        let left = left(&step, end, &self.market.spread, self.market.symbols.len());
        let fires = alerts::fires(&step, end);
        let rested = rest(&mut self.stored, &left, || watchers.have_seen(&left, fires)).await?;
        if !rested {
            wrong.add("rates after which not everything had arrived", || step.rate.to_string());
        }

        let now = block_in_place(|| Stages::scrape(&self.arguments.metrics))?;
        // Without a beginning, none was measured.
        let stages = before.map(|before| now.since(&before)).unwrap_or_default();
        let symbols = watchers.symbols.clone();
        let seen = block_in_place(|| watchers.finish())?;
        let mut is_watched = vec![false; self.market.symbols.len()];
        symbols.iter().for_each(|symbol| is_watched[*symbol] = true);
        let is_wanted = |number| {
            is_watched[self.market.spread.symbol_of(number)] || step.alert_of(number).is_some()
        };
        let logged = block_in_place(|| {
            logged::check(log, &from, &self.market, (&step, end), is_wanted, wrong)
        })?;
        let held = block_in_place(|| self.stored.held())?;
        stored::compare(&self.market.symbols, (&self.held, &held), (&step, &left), wrong);
        self.held = held;
        let fired = self.alerts.fired().await?;
        alerts::compare(&self.market, (&step, end), &ids, &fired, wrong);
        self.alerts.take_back(&ids[fires..]).await?;

        let watched = Watched::new(&step, end, &self.market.spread, &symbols);
        let (visible, unseen) = watched.lateness(&step, &seen.redis, &logged.received_at);
        if unseen > 0 {
            wrong.add("rates at which trades never showed in Redis", || step.rate.to_string());
        }
        let (delivered, unseen) = watched.lateness(&step, &seen.stream, &logged.received_at);
        if unseen > 0 {
            wrong.add("rates at which a stream was not told of all", || step.rate.to_string());
        }
        let mut published = Lateness::new();
        for (id, alert) in ids.iter().zip(0..).take(fires) {
            let number = step.spike(alert);
            match (seen.fired.get(id), logged.received_at.get(&number)) {
                (Some(at), Some(received)) => published.add_received(&step, number, *at, *received),
                (None, _) => wrong.add("firings that are not on their topic", || id.to_string()),
                (Some(_), None) => {}
            }
        }
        let all = [
            ("sent", &sent),
            ("log", &seen.log),
            ("visible", &visible),
            ("published", &published),
            ("delivered", &delivered),
        ];
        let why = hopeless.unwrap_or_else(|| why_not(&all));
        let rows = all.iter().flat_map(|(stage, lateness)| outside(stage, lateness));
        let rows: Vec<Row> = rows.chain(metrics(&stages)).collect();
        Ok(StepFigures {
            rate: step.rate,
            seconds: step.measured as f64 / step.rate,
            held: why.is_empty(),
            why,
            trades: end - step.first,
            records: logged.records,
            record_bytes: logged.bytes,
            firings: fired.len() as u64,
            rows,
        })
    }

    /// Blocks.
    fn watch(&self, rate: f64, ids: &[i64]) -> anyhow::Result<Watchers> {
        let places = &self.arguments.places;
        let brokers = &places.kafka_brokers;
        let symbols = watched(rate, self.market.symbols.len(), SEED);
        let names: Vec<String> =
            symbols.iter().map(|symbol| self.market.symbols[*symbol].clone()).collect();
        let step = Arc::new(OnceLock::new());
        Ok(Watchers {
            log: logged::follow(brokers, &places.kafka_topic, Arc::clone(&step))?,
            redis: Watch::start(&places.redis_addr, &names)?,
            stream: Client::start(&self.arguments.gateway, &names)?,
            firings: firings_tail(brokers, &places.kafka_firings_topic, ids)?,
            step,
            symbols,
        })
    }

    /// Until the step's trades have left, or somebody is hopelessly behind. Returns what the
    /// programs said when the measured trades began to leave, and who was behind.
    async fn flow(&self, step: &Step) -> anyhow::Result<(Option<Stages>, Option<String>)> {
        let (began, mut said) = (Instant::now(), Instant::now());
        let (mut before, mut hopeless) = (None, None);
        while let Some(feed) = self.market.behind()? {
            let warm_up = Duration::from_nanos(step.measured_from().saturating_sub(unix_nanos()));
            sleep(if before.is_none() { warm_up.min(ASK_EVERY) } else { ASK_EVERY }).await;
            if before.is_none() && warm_up <= ASK_EVERY {
                before = Some(block_in_place(|| Stages::scrape(&self.arguments.metrics))?);
            }
            if said.elapsed() < Duration::from_secs(1) {
                continue;
            }
            said = Instant::now();
            let mut behind = vec![("feed", feed)];
            behind.extend(block_in_place(|| lags(&self.arguments.metrics))?);
            let (who, worst) = behind.iter().max_by_key(|(_, late)| *late).context("the feed")?;
            info!(
                "{} trades/s: {:.0} of {:.0} s, {} sent, most behind: {who} by {:.3} s",
                step.rate,
                began.elapsed().as_secs_f64(),
                (step.warm + step.measured) as f64 / step.rate,
                self.market.sent() - step.first,
                worst.as_secs_f64(),
            );
            if *worst > HOPELESS && hopeless.is_none() {
                hopeless = Some(format!("{who} was {:.1} s behind", worst.as_secs_f64()));
                self.market.stop();
            }
        }
        Ok((before, hopeless))
    }
}

impl Watchers {
    /// Whether as many firings are published, and the stream was told of the last trades.
    fn have_seen(&self, left: &[Left], fires: usize) -> bool {
        let last: Vec<u64> = self.symbols.iter().map(|symbol| left[*symbol].last).collect();
        self.firings.found() >= fires && self.stream.is_told(&last)
    }

    /// Blocks.
    fn finish(self) -> anyhow::Result<Seen> {
        Ok(Seen {
            log: self.log.finish()?,
            redis: self.redis.finish()?,
            stream: self.stream.finish()?,
            fired: self.firings.finish()?,
        })
    }
}

/// Waits until every symbol's last trade is in Redis and everybody `has_seen` what there is; false
/// where that takes too long.
async fn rest(
    stored: &mut Stored,
    left: &[Left],
    has_seen: impl Fn() -> bool,
) -> anyhow::Result<bool> {
    /// In which what was wrongly added, or fired, would show.
    const MOMENT: Duration = Duration::from_millis(500);
    let began = Instant::now();
    while began.elapsed() < REST_PATIENCE {
        let awaited = block_in_place(|| stored.awaited(left))?;
        if awaited == 0 && has_seen() {
            sleep(MOMENT).await;
            return Ok(true);
        }
        sleep(ASK_EVERY).await;
    }
    Ok(false)
}

/// What keeps a rate from being held: a sentence, empty where nothing does.
fn why_not(stages: &[(&'static str, &Lateness)]) -> String {
    let late = stages.iter().find(|(_, lateness)| lateness.worst() > BEHIND);
    let falls_back = stages.iter().find(|(_, lateness)| lateness.falls_back());
    match (late, falls_back) {
        (Some((stage, lateness)), _) => {
            format!("{stage} was up to {:.1} s late", lateness.worst().as_secs_f64())
        }
        (None, Some((stage, _))) => format!("{stage} fell back over the last half"),
        (None, None) => String::new(),
    }
}

/// How far behind the log the consumers say that they are. Blocks.
fn lags(metrics: &[String]) -> anyhow::Result<Option<(&'static str, Duration)>> {
    let mut worst: Option<f64> = None;
    for address in metrics {
        let (status, text) = http::get(address, "/metrics")
            .with_context(|| format!("--metrics {address} does not answer"))?;
        if status != 200 {
            bail!("--metrics {address} answers with {status}");
        }
        worst = text.lines().filter_map(lag).chain(worst).reduce(f64::max);
    }
    Ok(worst.map(|seconds| ("a consumer", Duration::from_secs_f64(seconds.max(0.0)))))
}

/// `gostocks_consumer_lag_seconds{partition="3"} 0.25`
fn lag(line: &str) -> Option<f64> {
    line.strip_prefix("gostocks_consumer_lag_seconds{")?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::tests::step;

    #[test]
    fn a_rate_is_not_held_where_a_stage_is_late() {
        let lateness = |late: u64| {
            let (step, mut lateness) = (step(), Lateness::new());
            for number in step.trades() {
                lateness.add(&step, number, step.due(number) + late * 1_000_000);
            }
            lateness
        };
        let (early, late) = (lateness(900), lateness(1_250));
        assert_eq!(why_not(&[("log", &early), ("visible", &early)]), "");
        assert_eq!(why_not(&[("log", &early), ("visible", &late)]), "visible was up to 1.2 s late");
    }

    #[test]
    fn lags_are_read_from_metrics() {
        assert_eq!(lag("gostocks_consumer_lag_seconds{partition=\"3\"} 0.25"), Some(0.25));
        assert_eq!(lag("gostocks_consumer_lag_records{partition=\"3\"} 7"), None);
        assert_eq!(lag("# HELP gostocks_consumer_lag_seconds Age"), None);
    }
}
