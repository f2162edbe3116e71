//! What Redis must hold, worked out the long way from what the topic holds.
//!
//! Shares no code with the processor: records are decoded by prost, trades are sorted rather than
//! folded.

use std::collections::BTreeMap;

use prost::Message;
use rpc::market::v1::StockTick;

use crate::Record;

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

/// One trade as it lies on the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedTrade {
    pub symbol: String,
    pub price: f64,
    pub volume: f64,
    pub timestamp: i64,
}

/// Open, high, low, close, volume and number of trades.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    pub volume: f64,
    pub trades: u64,
}

/// What is known of one symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolView {
    pub price: f64,
    pub timestamp: i64,
    pub volume: f64,
    pub day: i64,
    pub day_bar: Bar,
    /// 1 m candles by start. The log of a test must not reach back past the retention.
    pub candles: BTreeMap<i64, Bar>,
}

/// The trades of a topic, in the order of the log within each partition. Records that are not
/// ticks are passed over.
pub fn trades(records: &[Record]) -> Vec<LoggedTrade> {
    let ticks = records.iter().filter_map(|record| StockTick::decode(&*record.value).ok());
    ticks.flat_map(unpack).collect()
}

fn unpack(tick: StockTick) -> Vec<LoggedTrade> {
    let one = |price, volume, timestamp| LoggedTrade {
        symbol: tick.symbol.clone(),
        price,
        volume,
        timestamp,
    };
    if tick.prices.is_empty() {
        return vec![one(tick.price, tick.volume, tick.timestamp)];
    }
    (0..tick.prices.len())
        .map(|at| one(tick.prices[at], tick.volumes[at], tick.timestamps[at]))
        .collect()
}

/// What Redis must hold of each symbol after these trades.
pub fn expected(trades: &[LoggedTrade]) -> BTreeMap<String, SymbolView> {
    let mut symbols: BTreeMap<&str, Vec<&LoggedTrade>> = BTreeMap::new();
    for trade in trades {
        symbols.entry(&trade.symbol).or_default().push(trade);
    }
    symbols.into_iter().map(|(symbol, trades)| (symbol.to_owned(), view(&trades))).collect()
}

fn view(trades: &[&LoggedTrade]) -> SymbolView {
    // A stable sort: equal times stay in the order of the log.
    let mut by_time = trades.to_vec();
    by_time.sort_by_key(|trade| trade.timestamp);
    let last = by_time[by_time.len() - 1];
    let day = last.timestamp.div_euclid(DAY) * DAY;
    let mut minutes: BTreeMap<i64, Vec<&LoggedTrade>> = BTreeMap::new();
    for trade in trades {
        minutes.entry(trade.timestamp.div_euclid(MINUTE) * MINUTE).or_default().push(trade);
    }
    let today: Vec<_> = trades.iter().copied().filter(|trade| trade.timestamp >= day).collect();
    SymbolView {
        price: last.price,
        timestamp: last.timestamp,
        volume: last.volume,
        day,
        day_bar: bar(&today),
        candles: minutes.into_iter().map(|(start, trades)| (start, bar(&trades))).collect(),
    }
}

fn bar(trades: &[&LoggedTrade]) -> Bar {
    let mut by_time = trades.to_vec();
    by_time.sort_by_key(|trade| trade.timestamp);
    let prices = || trades.iter().map(|trade| trade.price);
    Bar {
        open: by_time[0].price,
        high: prices().fold(f64::MIN, f64::max),
        low: prices().fold(f64::MAX, f64::min),
        close: by_time[by_time.len() - 1].price,
        volume: trades.iter().fold(0.0, |sum, trade| sum + trade.volume),
        trades: trades.len() as u64,
    }
}

/// What Redis holds of each symbol.
///
/// # Panics
/// Where Redis does not answer, or holds something else than prices and candles.
pub fn stored(address: &str) -> BTreeMap<String, SymbolView> {
    let client = redis::Client::open(format!("redis://{address}")).expect("an address");
    let mut connection = client.get_connection().expect("a Redis");
    let mut hash = |key: &str| -> BTreeMap<String, String> {
        redis::cmd("HGETALL").arg(key).query(&mut connection).expect("a hash")
    };
    let mut lister = client.get_connection().expect("a Redis");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("price:{*}").query(&mut lister).expect("the keys");
    let mut views = BTreeMap::new();
    for key in keys {
        let symbol = key.trim_start_matches("price:{").trim_end_matches('}').to_owned();
        let price = hash(&key);
        let candles = hash(&format!("candles:{{{symbol}}}:1m"));
        views.insert(symbol, view_of(&price, &candles));
    }
    views
}

fn view_of(price: &BTreeMap<String, String>, candles: &BTreeMap<String, String>) -> SymbolView {
    let number = |field: &str| price[field].parse().expect("a number");
    SymbolView {
        price: number("price"),
        timestamp: price["timestamp"].parse().expect("milliseconds"),
        volume: number("volume"),
        day: price["day"].parse().expect("milliseconds"),
        day_bar: Bar {
            open: number("day_open"),
            high: number("day_high"),
            low: number("day_low"),
            close: number("day_close"),
            volume: number("day_volume"),
            trades: price["day_trades"].parse().expect("a count"),
        },
        candles: candles
            .iter()
            .map(|(start, text)| (start.parse().expect("milliseconds"), bar_of(text)))
            .collect(),
    }
}

fn bar_of(text: &str) -> Bar {
    let parts: Vec<&str> = text.split(' ').collect();
    let number = |at: usize| parts[at].parse().expect("a number");
    Bar {
        open: number(0),
        high: number(1),
        low: number(2),
        close: number(3),
        volume: number(4),
        trades: parts[5].parse().expect("a count"),
    }
}
