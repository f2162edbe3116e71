//! What the alert service does with a record of the log, on one core: decodes it, finds out whose it
//! is, evaluates each of its trades. Beside it what one would write first: prost, the standard
//! library's map, and each symbol's thresholds in two `BTreeMap`s, which know nothing of late trades
//! nor of repeated ones. Nothing fires.
//!
//! `cargo bench --package benches --bench evaluation`

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use follow::Symbols;
use market::{Price, Sequence, Trade, Volume};
use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::market::v1::StockTick;
use service as _;
use triggers::{AlertId, Armed, Condition, Firing, Partition, SymbolKey, Terms, Version};
use wire::record::Gatherer;
use wire::tick::Decoder;

/// What the alert service keeps to judge late alerts by.
const RECENT_TRADES: usize = 65_536;

/// Trades an iteration.
const TRADES: usize = 20_000;

fn price(value: f64) -> Price {
    Price::new(value).expect("a price")
}

fn name(symbol: usize) -> String {
    format!("SYMBOL:{symbol}")
}

/// Whether it is above, where, and of which symbol: none is met by prices from 100 to 101.
fn levels(alerts: usize, symbols: usize) -> impl Iterator<Item = (bool, f64, usize)> {
    let mut random = SmallRng::seed_from_u64(1);
    (0..alerts).map(move |_| {
        let symbol = random.random_range(0..symbols);
        match random.random_bool(0.5) {
            true => (true, random.random_range(101.5..200.0), symbol),
            false => (false, random.random_range(1.0..99.5), symbol),
        }
    })
}

/// One after the other, as a consumer has them of a fetch.
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// As the ingestor writes them, later than all before `from`.
    fn new(symbols: usize, trades_a_record: usize, from: i64) -> Self {
        let mut random = SmallRng::seed_from_u64(2);
        let mut gatherer = Gatherer::new(trades_a_record);
        let mut records = Self { bytes: Vec::new(), ends: Vec::new() };
        for number in 0..TRADES / trades_a_record {
            let symbol = name(random.random_range(0..symbols));
            for _ in 0..trades_a_record {
                let price = price(random.random_range(100.0..101.0));
                let timestamp = from + number as i64;
                let received_at = timestamp.cast_unsigned() * 1_000_000;
                let trade = Trade { price, timestamp, volume: Volume::ZERO, received_at };
                gatherer.add(&symbol, &trade, []);
            }
            let Ok(()) = gatherer.drain(|_, record, _, _| {
                records.bytes.extend_from_slice(record);
                records.ends.push(records.bytes.len());
                Ok::<_, Infallible>(())
            });
        }
        records
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// The service's own way.
struct Ours {
    decoder: Decoder,
    symbols: Symbols,
    partition: Partition,
    /// By symbol number.
    keys: Vec<SymbolKey>,
    offset: i64,
    fired: Vec<Firing>,
}

impl Ours {
    fn new(alerts: usize, symbols: usize) -> Self {
        let (mut numbers, mut partition) = (Symbols::new(1), Partition::new(RECENT_TRADES));
        let key = |symbol| {
            numbers.number(&name(symbol));
            partition.intern(&name(symbol)).expect("few symbols")
        };
        let keys = (0..symbols).map(key).collect();
        let mut fired = Vec::new();
        for (id, (above, target, symbol)) in levels(alerts, symbols).enumerate() {
            let target = price(target);
            let condition = if above { Condition::Above(target) } else { Condition::Below(target) };
            let armed = Armed {
                id: AlertId(id as i64),
                version: Version { revision: 0, generation: 1 },
                terms: Terms::new(condition, None).expect("good terms"),
                armed_at: Sequence::default(),
                judged_to: Sequence::default(),
                latched: false,
                asleep_until: i64::MIN,
                reference: None,
            };
            let _ = partition.arm(&name(symbol), armed, &mut fired);
        }
        assert!(fired.is_empty(), "no trade was seen");
        Self { decoder: Decoder::new(), symbols: numbers, partition, keys, offset: 0, fired }
    }

    fn evaluate(&mut self, record: &[u8]) -> usize {
        let record = self.decoder.decode(record).expect("a record");
        let key = self.keys[self.symbols.number(record.symbol()) as usize];
        self.offset += 1;
        for (index, trade) in (0..).zip(record.trades()) {
            let sequence = Sequence { offset: self.offset, index };
            self.partition.evaluate(key, &trade, sequence, &mut self.fired);
        }
        self.fired.len()
    }
}

/// Of one symbol, the ids of those that are above and of those that are below, by target.
type Levels = [BTreeMap<u64, Vec<usize>>; 2];

struct First(HashMap<String, Levels>);

impl First {
    fn new(alerts: usize, symbols: usize) -> Self {
        let mut all: HashMap<String, Levels> =
            (0..symbols).map(|symbol| (name(symbol), Levels::default())).collect();
        for (id, (above, target, symbol)) in levels(alerts, symbols).enumerate() {
            let levels = all.get_mut(&name(symbol)).expect("each has some");
            // The bits of what is positive are in its order.
            levels[usize::from(!above)].entry(target.to_bits()).or_default().push(id);
        }
        Self(all)
    }

    fn evaluate(&self, record: &[u8]) -> usize {
        let tick = <StockTick as Message>::decode(record).expect("a message");
        let [above, below] = &self.0[&tick.symbol];
        let one = [tick.price];
        let prices = if tick.prices.is_empty() { &one[..] } else { &tick.prices };
        let fires = |price: &&f64| {
            above.first_key_value().is_some_and(|(target, _)| **price >= f64::from_bits(*target))
                || below
                    .last_key_value()
                    .is_some_and(|(target, _)| **price <= f64::from_bits(*target))
        };
        prices.iter().filter(fires).count()
    }
}

fn evaluation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode and evaluate");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.sample_size(20).throughput(Throughput::Elements(TRADES as u64));
    for (alerts, symbols) in [(1_000_000, 500), (10_000_000, 10_000)] {
        let mut ours = Ours::new(alerts, symbols);
        let first = First::new(alerts, symbols);
        let mut from = 1_700_000_000_000;
        for trades in [1, 10, 50] {
            let case = format!("{alerts} alerts, {symbols} symbols, {trades} a record");
            group.bench_function(BenchmarkId::new("ours", &case), |bencher| {
                // Each time later than the time before, as on the log: an old one is not evaluated.
                let later = || {
                    from += TRADES as i64;
                    Records::new(symbols, trades, from)
                };
                let evaluate = |records: Records| {
                    let fired: usize = records.iter().map(|record| ours.evaluate(record)).sum();
                    assert_eq!(black_box(fired), 0);
                    records
                };
                bencher.iter_batched(later, evaluate, BatchSize::LargeInput);
            });
            let records = Records::new(symbols, trades, from);
            group.bench_function(BenchmarkId::new("prost, two BTreeMaps", &case), |bencher| {
                bencher.iter(|| {
                    let fired: usize = records.iter().map(|record| first.evaluate(record)).sum();
                    assert_eq!(black_box(fired), 0);
                });
            });
        }
    }
}

criterion_group!(benches, evaluation);
criterion_main!(benches);
