//! What Redis holds of the symbols, before a step and after it.

use anyhow::Context;
use redis::{Client, Connection};

use crate::bench::plan::{Left, Step};
use crate::bench::wrong::Wrong;

/// Whose sums are held against what was sent: those of days, of which the most are kept.
const INTERVAL: &str = "1d";

/// What Redis holds of one symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// Over the candles of days: how many trades, and their volume.
    trades: u64,
    volume: f64,
    /// Of the latest trade: price, time and volume, as text. `None` where there is none.
    latest: Option<[String; 3]>,
}

/// A connection and the keys of the symbols.
pub(crate) struct Stored {
    connection: Connection,
    prices: Vec<String>,
    candles: Vec<String>,
}

impl Stored {
    /// `address` is host:port or a redis:// URL. Blocks, as does all of it.
    pub(crate) fn connect(address: &str, symbols: &[String]) -> anyhow::Result<Self> {
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("redis://{address}"),
        };
        let connection = Client::open(url)?.get_connection();
        let connection = connection.with_context(|| format!("Redis at {address}"))?;
        let keys = |key: fn(&str) -> String| symbols.iter().map(|name| key(name)).collect();
        Ok(Self {
            connection,
            prices: keys(|name| format!("price:{{{name}}}")),
            candles: keys(|name| format!("candles:{{{name}}}:{INTERVAL}")),
        })
    }

    pub(crate) fn held(&mut self) -> anyhow::Result<Vec<Held>> {
        let mut pipe = redis::pipe();
        for (price, candles) in self.prices.iter().zip(&self.candles) {
            pipe.cmd("HMGET").arg(price).arg(&["price", "timestamp", "volume", "candles"]);
            pipe.cmd("HVALS").arg(candles);
        }
        type Answer = (Option<String>, Option<String>, Option<String>, Option<String>);
        let answers: Vec<redis::Value> = pipe.query(&mut self.connection)?;
        let mut held = Vec::with_capacity(self.prices.len());
        for (answer, key) in answers.chunks_exact(2).zip(&self.candles) {
            let (price, time, volume, newest): Answer = redis::from_redis_value(answer[0].clone())?;
            let candles: Vec<String> = redis::from_redis_value(answer[1].clone())?;
            let newest = newest.as_deref().and_then(newest_of);
            let latest = price.zip(time).zip(volume);
            let mut of = Held { latest: latest.map(|((p, t), v)| [p, t, v]), ..Held::default() };
            for candle in candles.iter().map(String::as_str).chain(newest) {
                let (volume, trades) =
                    sums(candle).with_context(|| format!("{key} holds {candle:?}"))?;
                of.volume += volume;
                of.trades += trades;
            }
            held.push(of);
        }
        Ok(held)
    }

    /// How many symbols' latest trade is not yet that last one.
    pub(crate) fn awaited(&mut self, left: &[Left]) -> anyhow::Result<usize> {
        let mut pipe = redis::pipe();
        self.prices.iter().for_each(|price| {
            pipe.cmd("HGET").arg(price).arg("volume");
        });
        let volumes: Vec<Option<f64>> = pipe.query(&mut self.connection)?;
        let is_there = |(left, volume): &(&Left, Option<f64>)| {
            left.last == 0 || volume.is_some_and(|volume| volume == left.last as f64)
        };
        Ok(left.len() - left.iter().zip(volumes).filter(is_there).count())
    }
}

/// The newest day's candle, which stands with the price until the next one begins: of
/// `interval start candle, interval start candle, …`.
fn newest_of(candles: &str) -> Option<&str> {
    candles.split(", ").find_map(|candle| {
        let (_, candle) = candle.strip_prefix(INTERVAL)?.strip_prefix(' ')?.split_once(' ')?;
        Some(candle)
    })
}

/// Volume and number of trades of a candle: `open high low close volume trades …`.
fn sums(candle: &str) -> Option<(f64, u64)> {
    let mut parts = candle.split(' ').skip(4);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Holds what Redis has gained against what a step has left of each symbol. Pure.
pub(crate) fn compare(
    symbols: &[String],
    (before, after): (&[Held], &[Held]),
    (step, left): (&Step, &[Left]),
    wrong: &mut Wrong,
) {
    for (((symbol, before), after), left) in symbols.iter().zip(before).zip(after).zip(left) {
        let (trades, volume) =
            (after.trades.wrapping_sub(before.trades), after.volume - before.volume);
        if trades != left.trades {
            wrong.add("symbols with another number of trades in Redis", || {
                format!("{symbol} has {} more, not {}", trades.cast_signed(), left.trades)
            });
        }
        if volume != left.volume as f64 {
            wrong.add("symbols with another sum of volumes in Redis", || {
                format!("{symbol} has {volume} more, not {}", left.volume)
            });
        }
        let expected = match left.last {
            0 => before.latest.clone().map(numbers),
            last => {
                let price = step.price(last) as f64 / 100.0;
                Some([price, step.time(last) as f64, last as f64])
            }
        };
        if after.latest.clone().map(numbers) != expected {
            wrong.add("symbols with another latest trade in Redis", || {
                format!("{symbol}: {:?}, not {expected:?}", after.latest)
            });
        }
    }
}

fn numbers(latest: [String; 3]) -> [f64; 3] {
    latest.map(|text| text.parse().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::tests::step;

    /// What is wrong where Redis has gained this.
    fn compared(trades: u64, volume: f64, latest: [&str; 3]) -> Vec<String> {
        let before = Held { trades: 10, volume: 0.5, latest: None };
        let latest = Some(latest.map(str::to_owned));
        let after = Held { trades: 10 + trades, volume: 0.5 + volume, latest };
        let left = Left { trades: 2, volume: 501 + 503, last: 503 };
        let mut wrong = Wrong::default();
        let symbols = ["A".to_owned()];
        compare(&symbols, (&[before], &[after]), (&step(), &[left]), &mut wrong);
        wrong.sentences()
    }

    #[test]
    fn redis_has_gained_what_was_sent() {
        let (price, time) = (step().price(503) as f64 / 100.0, step().time(503).to_string());
        let price = price.to_string();
        let latest = [&*price, &time, "503.0"];
        let check = |wrong: Vec<String>, expected: &[&str]| assert_eq!(wrong, expected);
        check(compared(2, 1_004.0, latest), &[]);
        check(
            compared(1, 503.0, latest),
            &[
                "1 symbols with another number of trades in Redis: A has 1 more, not 2",
                "1 symbols with another sum of volumes in Redis: A has 503 more, not 1004",
            ],
        );
        let wrong = compared(2, 1_004.0, [&*price, &time, "501.0"]);
        assert!(wrong[0].starts_with("1 symbols with another latest trade in Redis"), "{wrong:?}");
    }

    #[test]
    fn a_candles_sums_are_read() {
        assert_eq!(sums("1.0 2.0 0.5 1.5 12.25 7 1@2.3 4@5.6"), Some((12.25, 7)));
        assert_eq!(sums("1.0 2.0 0.5"), None);
        let newest = "1h 3600000 1.0 2.0 0.5 1.5 2.0 3 1@2.3 4@5.6, 1d 0 1.0 2.0 0.5 1.5 12.25 7 1@2.3 4@5.6";
        assert_eq!(newest_of(newest).and_then(sums), Some((12.25, 7)));
        assert_eq!(newest_of("1h 0 1.0 2.0"), None);
    }
}
