//! The threshold index, beside the two ways that come to mind first: each symbol's thresholds in
//! two `BTreeMap`s, and all of them looked at with every tick.
//!
//! `cargo bench --package benches --bench triggers`

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use market::{Price, Sequence, Trade, Volume};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use triggers::{AlertId, Armed, Condition, Partition, SymbolKey, Terms, Version};

/// What the alert service keeps to judge late alerts by.
const RECENT_TRADES: usize = 65_536;

const VERSION: Version = Version { revision: 0, generation: 1 };

/// Ticks an iteration.
const TICKS: usize = 4_096;

/// Looking at every alert with every tick is not worth waiting for past this many.
const MOST_SCANNED: usize = 100_000;

fn price(value: f64) -> Price {
    Price::new(value).expect("a price")
}

struct Wish {
    symbol: usize,
    is_above: bool,
    target: f64,
}

/// On both sides of prices from 100 to 101, which reach none of them.
fn wishes(alerts: usize, symbols: usize) -> Vec<Wish> {
    let mut random = SmallRng::seed_from_u64(1);
    let wish = |_| {
        let is_above = random.random_bool(0.5);
        let target = match is_above {
            true => random.random_range(101.5..200.0),
            false => random.random_range(1.0..99.5),
        };
        Wish { symbol: random.random_range(0..symbols), is_above, target }
    };
    (0..alerts).map(wish).collect()
}

/// A symbol and its price each.
fn ticks(symbols: usize) -> Vec<(usize, f64)> {
    let mut random = SmallRng::seed_from_u64(2);
    let tick = |_| (random.random_range(0..symbols), random.random_range(100.0..101.0));
    (0..TICKS).map(tick).collect()
}

fn name(symbol: usize) -> String {
    format!("SYMBOL:{symbol}")
}

fn armed(id: usize, wish: &Wish) -> Armed {
    let target = price(wish.target);
    let condition = match wish.is_above {
        true => Condition::Above(target),
        false => Condition::Below(target),
    };
    Armed {
        id: AlertId(id as i64),
        version: VERSION,
        terms: Terms::new(condition, None).expect("good terms"),
        armed_at: Sequence::default(),
        judged_to: Sequence::default(),
        latched: false,
        asleep_until: i64::MIN,
        reference: None,
    }
}

/// Also the keys of the symbols.
fn partition(symbols: usize, wishes: &[Wish]) -> (Partition, Vec<SymbolKey>) {
    let mut partition = Partition::new(RECENT_TRADES);
    let keys =
        (0..symbols).map(|symbol| partition.intern(&name(symbol)).expect("few symbols")).collect();
    let mut fired = Vec::new();
    for (id, wish) in wishes.iter().enumerate() {
        let _ = partition.arm(&name(wish.symbol), armed(id, wish), &mut fired);
    }
    assert!(fired.is_empty(), "no trade was seen");
    (partition, keys)
}

/// The next trade of the log.
struct Log {
    next: i64,
}

impl Log {
    fn append(&mut self, price: Price) -> (Trade, Sequence) {
        self.next += 1;
        let trade = Trade { price, timestamp: self.next, volume: Volume::ZERO, received_at: 0 };
        (trade, Sequence { offset: self.next, index: 0 })
    }
}

/// Ticks that fire nothing.
fn evaluate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evaluate");
    group.throughput(Throughput::Elements(TICKS as u64));
    for symbols in [1, 500, 10_000] {
        for alerts in [0, 1_000, 100_000, 1_000_000, 10_000_000] {
            let (wishes, ticks) = (wishes(alerts, symbols), ticks(symbols));
            let parameter = format!("{alerts} alerts, {symbols} symbols");
            ours(&mut group, &parameter, symbols, &wishes, &ticks);
            if alerts > 0 && alerts <= 1_000_000 {
                btree(&mut group, &parameter, symbols, &wishes, &ticks);
            }
            if alerts > 0 && alerts <= MOST_SCANNED {
                scan(&mut group, &parameter, symbols, &wishes, &ticks);
            }
        }
    }
}

fn ours(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    symbols: usize,
    wishes: &[Wish],
    ticks: &[(usize, f64)],
) {
    let (mut partition, keys) = partition(symbols, wishes);
    let ticks: Vec<_> =
        ticks.iter().map(|(symbol, value)| (keys[*symbol], price(*value))).collect();
    let (mut log, mut fired) = (Log { next: 0 }, Vec::new());
    group.bench_function(BenchmarkId::new("index", parameter), |bencher| {
        bencher.iter(|| {
            for (key, price) in &ticks {
                let (trade, sequence) = log.append(*price);
                partition.evaluate(*key, &trade, sequence, &mut fired);
            }
        });
    });
    assert!(fired.is_empty(), "none is reached");
}

fn btree(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    symbols: usize,
    wishes: &[Wish],
    ticks: &[(usize, f64)],
) {
    // Prices are positive: their bits are in their order.
    let mut sides: Vec<[BTreeMap<(u64, usize), ()>; 2]> = Vec::new();
    sides.resize_with(symbols, Default::default);
    for (id, wish) in wishes.iter().enumerate() {
        let side = usize::from(wish.is_above);
        sides[wish.symbol][side].insert((wish.target.to_bits(), id), ());
    }
    group.bench_function(BenchmarkId::new("BTreeMap", parameter), |bencher| {
        bencher.iter(|| {
            let mut reached = 0;
            for (symbol, price) in ticks {
                let [below, above] = &sides[*symbol];
                let nearest = above
                    .first_key_value()
                    .is_some_and(|((target, _), ())| *target <= price.to_bits());
                let farthest = below
                    .last_key_value()
                    .is_some_and(|((target, _), ())| *target >= price.to_bits());
                reached += usize::from(nearest || farthest);
            }
            assert_eq!(black_box(reached), 0);
        });
    });
}

fn scan(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    symbols: usize,
    wishes: &[Wish],
    ticks: &[(usize, f64)],
) {
    let mut targets = vec![Vec::new(); symbols];
    for wish in wishes {
        targets[wish.symbol].push((wish.is_above, wish.target));
    }
    // As many ticks as can be waited for; the throughput is told apart.
    let ticks = &ticks[..64];
    group.throughput(Throughput::Elements(ticks.len() as u64));
    group.bench_function(BenchmarkId::new("scan", parameter), |bencher| {
        bencher.iter(|| {
            for (symbol, price) in ticks {
                let is_reached = |(is_above, target): &(bool, f64)| match is_above {
                    true => price >= target,
                    false => price <= target,
                };
                let reached = targets[*symbol].iter().filter(|each| is_reached(each)).count();
                assert_eq!(black_box(reached), 0);
            }
        });
    });
    group.throughput(Throughput::Elements(TICKS as u64));
}

/// One trade that fires a hundred thousand alerts of a million.
fn gap(criterion: &mut Criterion) {
    const FIRED: usize = 100_000;
    let mut wishes = wishes(900_000, 500);
    let mut random = SmallRng::seed_from_u64(3);
    wishes.extend((0..FIRED).map(|_| Wish {
        symbol: 500,
        is_above: true,
        target: random.random_range(101.0..102.0),
    }));
    let mut group = criterion.benchmark_group("fire");
    group.throughput(Throughput::Elements(FIRED as u64)).sample_size(10);
    group.bench_function("100000 alerts at one gap", |bencher| {
        bencher.iter_batched_ref(
            || (partition(501, &wishes), Vec::with_capacity(FIRED)),
            |((partition, keys), fired)| {
                let (trade, sequence) = Log { next: 0 }.append(price(102.0));
                partition.evaluate(keys[500], &trade, sequence, fired);
                assert_eq!(fired.len(), FIRED);
            },
            BatchSize::PerIteration,
        );
    });
}

/// An alert comes and goes among a million others.
fn arm_and_disarm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arm and disarm");
    group.throughput(Throughput::Elements(1));
    for symbols in [1, 500] {
        let wishes = wishes(1_000_000, symbols);
        let (mut partition, _) = partition(symbols, &wishes);
        let (mut fired, mut next) = (Vec::new(), 0);
        let names: Vec<String> = (0..symbols).map(name).collect();
        let parameter = format!("among 1000000 on {symbols} symbols");
        group.bench_function(parameter, |bencher| {
            bencher.iter(|| {
                next = (next + 1) % wishes.len();
                let alert = armed(1_000_000 + next, &wishes[next]);
                let _ = partition.arm(&names[wishes[next].symbol], alert, &mut fired);
                partition.disarm(alert.id, VERSION);
            });
        });
    }
}

/// A million alerts made known, as after a start.
fn load(criterion: &mut Criterion) {
    let wishes = wishes(1_000_000, 500);
    let (partition, _) = partition(500, &wishes);
    eprintln!("bytes an alert: {:.1}", partition.bytes() as f64 / wishes.len() as f64);
    drop(partition);
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(wishes.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(10));
    group.bench_function("1000000 alerts on 500 symbols", |bencher| {
        bencher.iter_with_large_drop(|| self::partition(500, &wishes));
    });
}

criterion_group!(benches, evaluate, gap, arm_and_disarm, load);
criterion_main!(benches);
