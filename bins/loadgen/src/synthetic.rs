use std::time::Instant;

use market::Symbol;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tracing::warn;

use crate::cli::{Distribution, Market};
use crate::outbox::{Line, Outbox};
use crate::pace::Pace;
use crate::source::{BATCH_BYTES, Now};
use crate::subscriptions::Subscriptions;
use crate::walk::Walk;

/// The symbols of the synthetic market: the original's three, then made-up ones.
pub(crate) fn market(count: usize) -> impl Iterator<Item = String> {
    const FIRST: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];
    let made_up = (FIRST.len() + 1..).map(|number| format!("SIM{number:0>5}"));
    FIRST.map(str::to_owned).into_iter().chain(made_up).take(count)
}

/// A market that one connection sees.
#[derive(Debug)]
pub(crate) struct Synthetic {
    arguments: Market,
    backwards: bool,
    /// Those that trade at all; `None`: all that are subscribed.
    universe: Option<Vec<Symbol>>,
    walks: Vec<Walk>,
    /// Where each symbol's share of the trades ends, of the last one's end.
    shares: Vec<f64>,
    /// Falls on symbols, and on the trades that come late.
    dice: Xoshiro256PlusPlus,
    stream: Option<Stream>,
    text: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    began: Instant,
    pace: Pace,
    given_up: u64,
    warned: Option<Instant>,
}

/// One trade in so many is late when times run backwards, by up to so many milliseconds.
const LATE_ONE_IN: u32 = 10;
const LATE_MS: i64 = 5_000;

impl Synthetic {
    pub(crate) fn new(arguments: Market, backwards: bool) -> anyhow::Result<Self> {
        let universe = arguments
            .symbols_count
            .map(|count| market(count.get()).map(|name| Symbol::new(&name)).collect())
            .transpose()?;
        Ok(Self {
            backwards,
            universe,
            walks: Vec::new(),
            shares: Vec::new(),
            dice: Xoshiro256PlusPlus::seed_from_u64(arguments.seed),
            stream: None,
            text: Vec::new(),
            arguments,
        })
    }

    pub(crate) fn subscribe(&mut self, wanted: &Subscriptions, now: Now) -> anyhow::Result<()> {
        let mut before = std::mem::take(&mut self.walks);
        for symbol in wanted.iter() {
            if self.universe.as_ref().is_some_and(|universe| !universe.contains(&symbol.name)) {
                continue;
            }
            // A walk that goes on does so where it was.
            let walk = match before.iter().position(|walk| walk.symbol.name == symbol.name) {
                Some(index) => before.swap_remove(index),
                None => Walk::new(symbol.clone(), self.arguments.seed)?,
            };
            self.walks.push(walk);
        }
        let mut end = 0.0;
        let share = |rank: usize| match self.arguments.distribution {
            Distribution::Uniform => 1.0,
            Distribution::Zipf => 1.0 / (rank + 1) as f64,
        };
        self.shares = (0..self.walks.len())
            .map(|rank| {
                end += share(rank);
                end
            })
            .collect();
        if self.walks.is_empty() {
            self.stream = None;
        } else if self.stream.is_none() {
            let pace = Pace::new(self.arguments.rate, self.arguments.trades_per_frame.get());
            self.stream = Some(Stream { began: now.instant, pace, given_up: 0, warned: None });
        }
        Ok(())
    }

    pub(crate) fn fill(&mut self, now: Now, outbox: &mut Outbox) -> Option<Instant> {
        let mut stream = self.stream.take()?;
        stream.give_up(now);
        let frames = stream.pace.frames_due(now.since(stream.began));
        for _ in 0..frames {
            self.render_frame(stream.pace.trades_per_frame(), now.unix_ms);
            stream.pace.sent_frame();
            if outbox.trades(&self.text) != Line::Open || outbox.bytes().len() >= BATCH_BYTES {
                break;
            }
        }
        let next = stream.began + stream.pace.next();
        self.stream = Some(stream);
        Some(next)
    }

    fn render_frame(&mut self, trades: u64, unix_ms: i64) {
        self.text.clear();
        self.text.extend_from_slice(br#"{"data":["#);
        for index in 0..trades {
            if index > 0 {
                self.text.push(b',');
            }
            let late = self.backwards && self.dice.random_range(0..LATE_ONE_IN) == 0;
            let delay = if late { self.dice.random_range(1..=LATE_MS) } else { 0 };
            let at = self.dice.random::<f64>() * self.shares.last().copied().unwrap_or_default();
            let rank = self.shares.partition_point(|end| *end <= at).min(self.walks.len() - 1);
            self.walks[rank].push_trade(&mut self.text, unix_ms - delay);
        }
        self.text.extend_from_slice(br#"],"type":"trade"}"#);
    }
}

impl Stream {
    /// Says so at most once a second.
    fn give_up(&mut self, now: Now) {
        self.given_up += self.pace.give_up(now.since(self.began));
        let quiet = self.warned.is_none_or(|at| now.since(at).as_secs() >= 1);
        if self.given_up > 0 && quiet {
            warn!(trades = self.given_up, "the client is slower than the rate: trades not sent");
            self.given_up = 0;
            self.warned = Some(now.instant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::cli::Faults;

    fn arguments(distribution: Distribution) -> Market {
        let trades_per_frame = NonZeroU64::new(10).unwrap();
        Market { rate: 10_000.0, trades_per_frame, symbols_count: None, distribution, seed: 1 }
    }

    fn subscriptions(symbols: &[&str]) -> Subscriptions {
        let mut all = Subscriptions::default();
        for symbol in symbols {
            let message = serde_json::json!({"type": "subscribe", "symbol": symbol}).to_string();
            all.request(message.as_bytes(), 0).unwrap();
        }
        all
    }

    /// How many trades of each symbol a second brings, and the times in the order sent.
    fn second(arguments: Market, symbols: &[&str]) -> (HashMap<String, u64>, Vec<i64>) {
        let mut market = Synthetic::new(arguments, true).unwrap();
        let began = Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
        market.subscribe(&subscriptions(symbols), began).unwrap();
        let (mut counts, mut times) = (HashMap::new(), Vec::new());
        for millis in 1..=1_000 {
            let instant = began.instant + Duration::from_millis(millis);
            let mut outbox = Outbox::new(Faults::default());
            market.fill(Now { instant, unix_ms: began.unix_ms + millis as i64 }, &mut outbox);
            if outbox.bytes().is_empty() {
                continue;
            }
            let frame: serde_json::Value = serde_json::from_slice(&market.text).unwrap();
            for trade in frame["data"].as_array().unwrap() {
                *counts.entry(trade["s"].as_str().unwrap().to_owned()).or_default() += 1;
                times.push(trade["t"].as_i64().unwrap());
            }
        }
        (counts, times)
    }

    #[test]
    fn the_trades_fall_evenly_or_as_in_a_market() {
        let symbols = ["AAPL", "MSFT", "TSLA", "X"];
        let (even, _) = second(arguments(Distribution::Uniform), &symbols);
        assert_eq!(even.values().sum::<u64>(), 10_000);
        assert!(even.values().all(|count| (2_200..2_800).contains(count)), "{even:?}");
        let (zipf, _) = second(arguments(Distribution::Zipf), &symbols);
        // Of 1 + 1/2 + 1/3 + 1/4 the first has 48 % and the last 12 %.
        assert!((4_600..5_000).contains(&zipf["AAPL"]), "{zipf:?}");
        assert!((1_000..1_400).contains(&zipf["X"]), "{zipf:?}");
    }

    #[test]
    fn only_what_is_subscribed_and_in_the_market_trades() {
        let mut arguments = arguments(Distribution::Uniform);
        arguments.symbols_count = std::num::NonZeroUsize::new(4);
        let (counts, _) = second(arguments.clone(), &["SIM00004", "aapl", "SIM00005"]);
        let mut names: Vec<_> = counts.into_keys().collect();
        names.sort();
        assert_eq!(names, ["SIM00004", "aapl"]);
        assert_eq!(second(arguments, &["TSLA"]).0.len(), 0);
    }

    #[test]
    fn times_run_backwards_when_asked_to() {
        let (_, times) = second(arguments(Distribution::Uniform), &["AAPL"]);
        let backwards = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((700..1_100).contains(&backwards), "{backwards}");
    }

    #[test]
    fn the_market_begins_with_the_originals_symbols() {
        let names: Vec<_> = market(5).collect();
        assert_eq!(names, ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "SIM00004", "SIM00005"]);
    }
}
