//! What Redis must hold, worked out the long way from what the topic holds.
//!
//! Shares no code with the processor but the decoder of packed batches: records are decoded by prost,
//! trades are sorted rather than folded.

use std::collections::BTreeMap;

use prost::Message;
use redis::{Connection, RedisError};
use rpc::market::v1::StockTick;
use wire::batch::TickBatch;
use wire::slots;

use crate::Record;

const DAY: i64 = 86_400_000;

/// Name, milliseconds and how many of the newest are kept, where nothing else is set.
const CANDLES: [(&str, i64, i64); 6] = [
    ("1s", 1_000, 900),
    ("1m", 60_000, 1_440),
    ("5m", 300_000, 576),
    ("15m", 900_000, 672),
    ("1h", 3_600_000, 720),
    ("1d", DAY, 366),
];
/// How many recent trades of a symbol.
const RECENT: usize = 50;

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
    /// By interval, then by start.
    pub candles: BTreeMap<String, BTreeMap<i64, Bar>>,
    /// The last trades in the order of the log: price, volume and time.
    pub recent: Vec<(f64, f64, i64)>,
}

/// Everything that Redis holds of a topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    pub symbols: BTreeMap<String, SymbolView>,
    /// By partition, the trades of its stream.
    pub streams: BTreeMap<i32, Vec<StreamTrade>>,
}

/// A trade of a stream, whichever entry it is in.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamTrade {
    pub offset: i64,
    pub index: u32,
    pub received_at: u64,
    pub trade: LoggedTrade,
}

impl Held {
    /// The first thing in which the two differ, for a test that fails.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        for (symbol, expected) in &expected.symbols {
            let Some(found) = self.symbols.get(symbol) else {
                return Some(format!("{symbol} is missing"));
            };
            for (interval, expected) in &expected.candles {
                let Some(found) = found.candles.get(interval) else {
                    return Some(format!("{symbol} has no candles of {interval}"));
                };
                let starts = found.keys().chain(expected.keys());
                if let Some(start) = starts.into_iter().find(|at| found.get(at) != expected.get(at))
                {
                    let (found, expected) = (found.get(start), expected.get(start));
                    return Some(format!(
                        "{symbol}, {interval} from {start}: {found:?}, not {expected:?}"
                    ));
                }
            }
            if found != expected {
                return Some(format!("{symbol}: {found:#?}, not {expected:#?}"));
            }
        }
        for (partition, expected) in &expected.streams {
            let found = self.streams.get(partition).map_or(&[][..], Vec::as_slice);
            let same = found.iter().zip(expected).take_while(|(one, two)| one == two).count();
            if same < found.len().max(expected.len()) {
                let (found, expected) = (found.get(same), expected.get(same));
                return Some(format!(
                    "stream {partition}, trade {same}: {found:?}, not {expected:?}"
                ));
            }
        }
        (self != expected).then(|| "Redis holds what the log does not".to_owned())
    }
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

/// What Redis must hold after these records, nothing of which is past any retention but candles.
pub fn expected_of(records: &[Record]) -> Held {
    let mut streams: BTreeMap<i32, Vec<StreamTrade>> = BTreeMap::new();
    for record in records {
        let Ok(tick) = StockTick::decode(&*record.value) else { continue };
        let received_ats = match &tick.received_ats[..] {
            [] => vec![tick.received_at],
            several => several.to_vec(),
        };
        let trades = (0..).zip(unpack(tick)).zip(received_ats);
        let stream = streams.entry(record.partition).or_default();
        stream.extend(trades.map(|((index, trade), received_at)| StreamTrade {
            offset: record.offset,
            index,
            received_at,
            trade,
        }));
    }
    Held { symbols: expected(&trades(records)), streams }
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
    let today: Vec<_> = trades.iter().copied().filter(|trade| trade.timestamp >= day).collect();
    SymbolView {
        price: last.price,
        timestamp: last.timestamp,
        volume: last.volume,
        day,
        day_bar: bar(&today),
        candles: CANDLES
            .iter()
            .map(|(name, interval, retain)| ((*name).to_owned(), bars(trades, *interval, *retain)))
            .collect(),
        recent: trades[trades.len().saturating_sub(RECENT)..]
            .iter()
            .map(|trade| (trade.price, trade.volume, trade.timestamp))
            .collect(),
    }
}

fn bars(trades: &[&LoggedTrade], interval: i64, retain: i64) -> BTreeMap<i64, Bar> {
    let mut buckets: BTreeMap<i64, Vec<&LoggedTrade>> = BTreeMap::new();
    for trade in trades {
        let start = trade.timestamp.div_euclid(interval) * interval;
        buckets.entry(start).or_default().push(trade);
    }
    let newest = *buckets.keys().next_back().expect("a trade");
    let kept = buckets.into_iter().filter(|(start, _)| *start > newest - retain * interval);
    kept.map(|(start, trades)| (start, bar(&trades))).collect()
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

/// What Redis holds. `address` is that of one, or of some nodes of a cluster, separated by commas.
///
/// # Panics
/// Where it holds something else than what belongs there, or a stream is out of order.
pub fn stored_in(address: &str, topic: &str) -> Held {
    let symbols = stored(address);
    let mut streams = BTreeMap::new();
    for connection in &mut masters(address) {
        for key in keys(connection, &format!("ticks:{{{topic}/*}}")) {
            let text = key.trim_start_matches("ticks:{").trim_end_matches('}');
            let (_, partition) = text.rsplit_once('/').expect("a partition");
            let trades = stream(connection, &key);
            streams.insert(partition.parse().expect("a partition"), trades);
        }
    }
    Held { symbols, streams }
}

/// An entry of a stream: its id and its fields.
type Entry = (String, BTreeMap<String, Vec<u8>>);

fn stream(connection: &mut Connection, key: &str) -> Vec<StreamTrade> {
    let entries: Vec<Entry> =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(connection).unwrap_or_default();
    let mut trades: Vec<StreamTrade> = Vec::new();
    for (id, fields) in entries {
        let batch = TickBatch::decode(&fields["batch"]).expect("a batch");
        let last = batch.last();
        assert_eq!(id, format!("{}-{}", last.offset, last.index + 1), "an id is a position");
        assert_eq!(fields["trades"], batch.len().to_string().into_bytes());
        if let Some(before) = trades.last() {
            let after = format!("{:019}-{:010}", before.offset, before.index + 1);
            assert_eq!(fields["after"], after.into_bytes(), "an entry names the one before");
        }
        let names: Vec<&str> = batch.symbols().collect();
        trades.extend(batch.trades().map(|packed| StreamTrade {
            offset: packed.sequence.offset,
            index: packed.sequence.index,
            received_at: packed.trade.received_at,
            trade: LoggedTrade {
                symbol: names[packed.symbol].to_owned(),
                price: packed.trade.price.get(),
                volume: packed.trade.volume.get(),
                timestamp: packed.trade.timestamp,
            },
        }));
    }
    let place = |trade: &StreamTrade| (trade.offset, trade.index);
    assert!(trades.is_sorted_by(|one, two| place(one) < place(two)), "{key} is out of order");
    trades
}

/// What Redis holds of each symbol.
///
/// # Panics
/// Where a Redis that is alone does not answer, or it holds something else than belongs there.
pub fn stored(address: &str) -> BTreeMap<String, SymbolView> {
    let mut views = BTreeMap::new();
    for connection in &mut masters(address) {
        for key in keys(connection, "price:{*}") {
            let symbol = key.trim_start_matches("price:{").trim_end_matches('}').to_owned();
            // Of a node that is being replaced some may be elsewhere by now.
            if let Ok(Some(view)) = stored_symbol(connection, &symbol) {
                views.insert(symbol, view);
            }
        }
    }
    views
}

fn masters(address: &str) -> Vec<Connection> {
    let is_alone = !address.contains(',');
    let open = |node: &str| {
        let client = redis::Client::open(format!("redis://{node}")).expect("an address");
        let connection = client.get_connection();
        if is_alone { Some(connection.expect("a Redis")) } else { connection.ok() }
    };
    let is_master = |connection: &mut Connection| {
        let role: Result<Vec<redis::Value>, _> = redis::cmd("ROLE").query(connection);
        let role = role.ok().and_then(|role| role.into_iter().next());
        role.is_some_and(|role| redis::from_redis_value::<String>(role).as_deref() == Ok("master"))
    };
    address
        .split(',')
        .filter_map(open)
        .filter_map(|mut it| is_master(&mut it).then_some(it))
        .collect()
}

fn keys(connection: &mut Connection, pattern: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(pattern).query(connection).expect("the keys")
}

fn stored_symbol(
    connection: &mut Connection,
    symbol: &str,
) -> Result<Option<SymbolView>, RedisError> {
    // As of one moment: candles go from one key to another.
    let mut pipeline = redis::pipe();
    pipeline.atomic().hgetall(format!("price:{{{symbol}}}"));
    pipeline.get(format!("recent:{{{symbol}}}"));
    for (interval, ..) in CANDLES {
        pipeline.hgetall(format!("candles:{{{symbol}}}:{interval}"));
    }
    let mut answers = pipeline.query::<Vec<redis::Value>>(connection)?.into_iter();
    let mut next = || answers.next().expect("an answer to each");
    let price: BTreeMap<String, String> = redis::from_redis_value(next())?;
    let recent: Option<Vec<u8>> = redis::from_redis_value(next())?;
    let mut candles = BTreeMap::new();
    for (interval, ..) in CANDLES {
        let bars: BTreeMap<String, String> = redis::from_redis_value(next())?;
        let bars =
            bars.iter().map(|(start, text)| (start.parse().expect("milliseconds"), bar_of(text)));
        candles.insert(interval.to_owned(), bars.collect::<BTreeMap<i64, Bar>>());
    }
    // The newest ones stand beside the price: `interval start candle`, separated by commas.
    for newest in price.get("candles").iter().flat_map(|candles| candles.split(", ")) {
        let (interval, started) = newest.split_once(' ').expect("an interval");
        let (start, bar) = started_bar(started);
        let bars = candles.get_mut(interval);
        if let Some(other) = bars.and_then(|bars| bars.insert(start, bar)) {
            panic!("{symbol}, {interval} from {start}: {other:?} stands beside the newest candle");
        }
    }
    Ok((!price.is_empty()).then(|| view_of(&price, candles, recent.as_deref())))
}

fn view_of(
    price: &BTreeMap<String, String>,
    candles: BTreeMap<String, BTreeMap<i64, Bar>>,
    recent: Option<&[u8]>,
) -> SymbolView {
    let number = |field: &str| price[field].parse().expect("a number");
    let (day, day_bar) = started_bar(&price["day"]);
    let recent = slots::in_order(recent.unwrap_or_default()).expect("a ring of trades");
    SymbolView {
        price: number("price"),
        timestamp: price["timestamp"].parse().expect("milliseconds"),
        volume: number("volume"),
        day,
        day_bar,
        candles,
        recent: recent
            .iter()
            .map(|(_, trade)| (trade.price.get(), trade.volume.get(), trade.timestamp))
            .collect(),
    }
}

fn started_bar(text: &str) -> (i64, Bar) {
    let (start, bar) = text.split_once(' ').expect("a start");
    (start.parse().expect("milliseconds"), bar_of(bar))
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
