//! Trades folded into what is known of a symbol: its latest price, its day, the last fifty trades,
//! and the candles of the six usual intervals. Beside it the candles alone in maps: a `BTreeMap` of
//! each interval, and one `HashMap`. They keep as many, but do not know which have changed.
//!
//! `cargo bench --package benches --bench candles`

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use market::{
    CANDLES, Candle, CandleSpec, Price, Sequence, Stamp, StateSpec, SymbolState, Trade, Volume,
    parse_candle_specs,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use service as _;

/// 2021-01-08 00:00 UTC, Unix milliseconds.
const BEGIN: i64 = 1_610_064_000_000;

/// Trades an iteration: a batch, after which what has changed is written to Redis.
const TRADES: usize = 4_096;

fn trade_at(timestamp: i64, random: &mut SmallRng) -> Trade {
    let price = Price::new(f64::from(random.random_range(10_000..10_100)) / 100.0);
    let volume = Volume::new(f64::from(random.random_range(1..1_000)) / 64.0);
    let (price, volume) = (price.expect("a price"), volume.expect("a volume"));
    Trade { price, timestamp, volume, received_at: 0 }
}

/// A batch, and how much later each next one is.
struct Flow {
    trades: Vec<Trade>,
    period: i64,
}

impl Flow {
    /// Trades so many milliseconds apart, some of them late.
    fn new(apart: i64, period: i64, late: impl Fn(usize) -> i64) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let trade = |at: usize| trade_at(BEGIN + apart * at as i64 - late(at), &mut random);
        Self { trades: (0..TRADES).map(trade).collect(), period }
    }

    /// The real ones.
    fn recorded() -> Option<Self> {
        let trades = testkit::Recording::real()?.trades();
        let trade = |trade: &testkit::oracle::LoggedTrade| Trade {
            price: Price::new(trade.price).expect("a price"),
            timestamp: trade.timestamp,
            volume: Volume::new(trade.volume).expect("a volume"),
            received_at: 0,
        };
        Some(Self { trades: trades.iter().map(trade).collect(), period: 60_000 })
    }

    fn next(&mut self) {
        self.trades.iter_mut().for_each(|trade| trade.timestamp += self.period);
    }
}

/// A record each, one behind the other.
#[derive(Default)]
struct Log(i64);

impl Log {
    fn append(&mut self) -> Sequence {
        self.0 += 1;
        Sequence::of_record(self.0)
    }
}

fn fold(state: &mut SymbolState, trades: &[Trade], log: &mut Log) {
    for trade in trades {
        assert!(state.reaches(trade.timestamp), "none is very late");
        black_box(state.apply(trade, log.append()));
    }
}

/// As when what has changed was written.
fn settle(state: &mut SymbolState) {
    for candles in &mut state.candles {
        candles.take_changes(|start, candle| {
            black_box((start, candle));
        });
        candles.take_expired(|start| {
            black_box(start);
        });
    }
    state.cool();
}

/// By start, of each interval.
struct Trees(Vec<(CandleSpec, BTreeMap<i64, Candle>)>);

impl Trees {
    fn new(specs: &[CandleSpec]) -> Self {
        Self(specs.iter().map(|spec| (*spec, BTreeMap::new())).collect())
    }

    fn add(&mut self, trade: &Trade, sequence: Sequence) {
        let stamp = Stamp { time: trade.timestamp, sequence };
        for (spec, candles) in &mut self.0 {
            let candle = candles.entry(spec.interval.start(trade.timestamp));
            candle
                .and_modify(|candle| candle.add(trade, stamp))
                .or_insert_with(|| Candle::new(trade, stamp));
            if candles.len() > spec.retain as usize {
                candles.pop_first();
            }
        }
    }
}

/// By interval and start.
struct Table {
    specs: Vec<CandleSpec>,
    candles: HashMap<(usize, i64), Candle>,
    retain: usize,
}

impl Table {
    fn new(specs: &[CandleSpec]) -> Self {
        let retain = specs.iter().map(|spec| spec.retain as usize).sum();
        Self { specs: specs.to_vec(), candles: HashMap::new(), retain }
    }

    fn add(&mut self, trade: &Trade, sequence: Sequence) {
        let stamp = Stamp { time: trade.timestamp, sequence };
        for (at, spec) in self.specs.iter().enumerate() {
            let candle = self.candles.entry((at, spec.interval.start(trade.timestamp)));
            candle
                .and_modify(|candle| candle.add(trade, stamp))
                .or_insert_with(|| Candle::new(trade, stamp));
        }
        // Now and then.
        if self.candles.len() > 2 * self.retain {
            self.candles.retain(|(at, start), _| {
                let spec = &self.specs[*at];
                *start > trade.timestamp - i64::from(spec.retain) * spec.interval.milliseconds()
            });
        }
    }
}

/// All three hold the same candles, of these trades and no others.
fn check(spec: &StateSpec, trades: &[Trade]) {
    let (mut log, mut state) = (Log::default(), SymbolState::new(spec));
    fold(&mut state, trades, &mut log);
    let (mut log, mut trees, mut table) =
        (Log::default(), Trees::new(&spec.candles), Table::new(&spec.candles));
    for trade in trades {
        let sequence = log.append();
        trees.add(trade, sequence);
        table.add(trade, sequence);
    }
    for (at, (candles, (_, tree))) in state.candles.iter().zip(&trees.0).enumerate() {
        assert!(candles.iter().eq(tree.iter().map(|(start, candle)| (*start, candle))));
        for (start, candle) in candles.iter() {
            assert_eq!(table.candles.get(&(at, start)), Some(candle));
        }
    }
}

fn compare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    spec: &StateSpec,
    parameter: &str,
    flow: impl Fn() -> Flow,
) {
    check(spec, &flow().trades);
    group.throughput(Throughput::Elements(flow().trades.len() as u64));

    let (mut flow_now, mut log, mut state) = (flow(), Log::default(), SymbolState::new(spec));
    group.bench_function(BenchmarkId::new("market", parameter), |bencher| {
        bencher.iter(|| {
            fold(&mut state, &flow_now.trades, &mut log);
            settle(&mut state);
            flow_now.next();
        });
    });

    let (mut flow_now, mut log, mut trees) = (flow(), Log::default(), Trees::new(&spec.candles));
    group.bench_function(BenchmarkId::new("BTreeMap", parameter), |bencher| {
        bencher.iter(|| {
            flow_now.trades.iter().for_each(|trade| trees.add(trade, log.append()));
            flow_now.next();
        });
    });

    let (mut flow_now, mut log, mut table) = (flow(), Log::default(), Table::new(&spec.candles));
    group.bench_function(BenchmarkId::new("HashMap", parameter), |bencher| {
        bencher.iter(|| {
            flow_now.trades.iter().for_each(|trade| table.add(trade, log.append()));
            flow_now.next();
        });
    });
}

fn candles(criterion: &mut Criterion) {
    let candles = parse_candle_specs(CANDLES).expect("good specs");
    let spec = StateSpec { candles, recent: 50 };
    let mut group = criterion.benchmark_group("candles");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let batch = TRADES as i64;
    compare(&mut group, &spec, "within a second", || Flow::new(0, 1_000, |_| 0));
    compare(&mut group, &spec, "50 a second", || Flow::new(20, 20 * batch, |_| 0));
    compare(&mut group, &spec, "each in another second", || Flow::new(1_000, 1_000 * batch, |_| 0));
    compare(&mut group, &spec, "one in ten late by half a minute", || {
        Flow::new(20, 20 * batch, |at| if at % 10 == 9 { 30_000 } else { 0 })
    });
    if Flow::recorded().is_some() {
        compare(&mut group, &spec, "recorded", || Flow::recorded().expect("it is there"));
    }
}

criterion_group!(benches, candles);
criterion_main!(benches);
