//! The threshold index, beside the two ways that come to mind first: each symbol's thresholds in
//! two `BTreeMap`s, and all of them looked at with every tick. Those two know levels alone, and
//! neither a late trade from another nor one seen before; the index is asked as the service asks it.
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
use triggers::{
    AlertId, Armed, Condition, Firing, Partition, Percent, PriceRange, Repeat, SymbolKey, Terms,
    Version,
};

/// What the alert service keeps to judge late alerts by.
const RECENT_TRADES: usize = 65_536;

const VERSION: Version = Version { revision: 0, generation: 1 };

/// Ticks an iteration.
const TICKS: usize = 4_096;

/// Alerts that a scan looks at in an iteration, over as many ticks as that makes.
const SCANNED: usize = 4_000_000;

fn price(value: f64) -> Price {
    Price::new(value).expect("a price")
}

struct Wish {
    symbol: usize,
    terms: Terms,
}

impl Wish {
    fn new(symbol: usize, condition: Condition) -> Self {
        let terms = Terms::new(condition, None).expect("good terms");
        Self { symbol, terms }
    }

    /// A level, as those see it who know nothing else: whether it is above, and where.
    fn level(&self) -> (bool, f64) {
        match self.terms.condition() {
            Condition::Above(target) => (true, target.get()),
            Condition::Below(target) => (false, target.get()),
            other => unreachable!("{other:?} is no level"),
        }
    }
}

/// A condition that prices from 100 to 101 do not meet.
type Draw = fn(&mut SmallRng) -> Condition;

fn level(random: &mut SmallRng) -> Condition {
    match random.random_bool(0.5) {
        true => Condition::Above(price(random.random_range(101.5..200.0))),
        false => Condition::Below(price(random.random_range(1.0..99.5))),
    }
}

fn crossing(random: &mut SmallRng) -> Condition {
    match (random.random_range(0..3), level(random)) {
        (0, Condition::Above(target) | Condition::Below(target)) => Condition::Crosses(target),
        (_, Condition::Above(target)) => Condition::CrossesAbove(target),
        (_, Condition::Below(target)) => Condition::CrossesBelow(target),
        _ => unreachable!("a level"),
    }
}

fn range(random: &mut SmallRng) -> Condition {
    let mut bounds = |lower, upper| {
        let range =
            PriceRange::new(price(random.random_range(lower)), price(random.random_range(upper)));
        range.expect("the lower one is lower")
    };
    let left = bounds(1.0..99.5, 101.5..200.0);
    let entered = bounds(101.5..150.0, 150.5..200.0);
    match random.random_bool(0.5) {
        true => Condition::LeavesRange(left),
        false => Condition::EntersRange(entered),
    }
}

fn few_percent(random: &mut SmallRng) -> Percent {
    Percent::from_thousandths(random.random_range(2_000..50_000)).expect("a percent")
}

fn percent(random: &mut SmallRng) -> Condition {
    match random.random_bool(0.5) {
        true => Condition::RisesPercent(few_percent(random)),
        false => Condition::FallsPercent(few_percent(random)),
    }
}

fn trailing(random: &mut SmallRng) -> Condition {
    match random.random_bool(0.5) {
        true => Condition::TrailingDrop(few_percent(random)),
        false => Condition::TrailingRise(few_percent(random)),
    }
}

fn any(random: &mut SmallRng) -> Condition {
    let draws: [Draw; 5] = [level, crossing, range, percent, trailing];
    draws[random.random_range(0..draws.len())](random)
}

fn wishes_of(draw: Draw, alerts: usize, symbols: usize) -> Vec<Wish> {
    let mut random = SmallRng::seed_from_u64(1);
    let wish = |_| {
        let condition = draw(&mut random);
        Wish::new(random.random_range(0..symbols), condition)
    };
    (0..alerts).map(wish).collect()
}

/// On both sides of prices from 100 to 101, which reach none of them.
fn wishes(alerts: usize, symbols: usize) -> Vec<Wish> {
    wishes_of(level, alerts, symbols)
}

/// A symbol and its price each.
fn ticks(symbols: usize, count: usize) -> Vec<(usize, f64)> {
    let mut random = SmallRng::seed_from_u64(2);
    let tick = |_| (random.random_range(0..symbols), random.random_range(100.0..101.0));
    (0..count).map(tick).collect()
}

fn name(symbol: usize) -> String {
    format!("SYMBOL:{symbol}")
}

fn armed(id: usize, wish: &Wish) -> Armed {
    Armed {
        id: AlertId(id as i64),
        version: VERSION,
        terms: wish.terms,
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
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(TICKS as u64));
    for symbols in [1, 500, 10_000] {
        for alerts in [0, 1_000, 100_000, 1_000_000, 10_000_000] {
            let (wishes, ticks) = (wishes(alerts, symbols), ticks(symbols, TICKS));
            let parameter = format!("{alerts} alerts, {symbols} symbols");
            ours(&mut group, &parameter, symbols, &wishes, &ticks);
            if alerts > 0 {
                btree(&mut group, &parameter, symbols, &wishes, &ticks);
                scan(&mut group, &parameter, symbols, &wishes, &ticks);
            }
        }
    }
}

/// The same with a million alerts of each kind, and how much memory they take once they have seen
/// trades: a percent has its reference by then, and a trailing one its highest price.
fn kinds(criterion: &mut Criterion) {
    const ALERTS: usize = 1_000_000;
    const SYMBOLS: usize = 500;
    let kinds: [(&str, Draw); 6] = [
        ("levels", level),
        ("crossings", crossing),
        ("ranges", range),
        ("percents", percent),
        ("trailing", trailing),
        ("of all kinds", any),
    ];
    let mut group = criterion.benchmark_group("evaluate by kind");
    // They come round again, and a price as high as the highest moves what trails: enough of them
    // that it is as rare as on a market.
    let ticks = ticks(SYMBOLS, 64 * TICKS);
    group.throughput(Throughput::Elements(ticks.len() as u64));
    for (name, draw) in kinds {
        let wishes = wishes_of(draw, ALERTS, SYMBOLS);
        let mut partition = ours(&mut group, name, SYMBOLS, &wishes, &ticks);
        let _ = partition.take_progress();
        eprintln!("bytes an alert, {name}: {:.1}", partition.bytes() as f64 / ALERTS as f64);
    }
    // Each tick is its symbol's highest: what trails is behind, and is moved up when it is asked.
    let wishes = wishes_of(|random| Condition::TrailingDrop(few_percent(random)), ALERTS, SYMBOLS);
    let (mut partition, keys) = partition(SYMBOLS, &wishes);
    let (mut log, mut fired, mut now) = (Log { next: 0 }, Vec::new(), 100.0);
    group.bench_function("trailing drops, each price the highest so far", |bencher| {
        bencher.iter(|| {
            for (symbol, _) in &ticks {
                now *= 1.0 + 1e-8;
                let (trade, sequence) = log.append(price(now));
                partition.evaluate(keys[*symbol], &trade, sequence, &mut fired);
            }
        });
    });
    assert!(fired.is_empty(), "it only rises");
}

fn ours(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    symbols: usize,
    wishes: &[Wish],
    ticks: &[(usize, f64)],
) -> Partition {
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
    partition
}

/// What is reached from above and from below, by symbol. Prices are positive: their bits are in
/// their order.
type Sides = [BTreeMap<(u64, usize), ()>; 2];

fn sides(symbols: usize, wishes: &[Wish]) -> Vec<Sides> {
    let mut sides: Vec<Sides> = Vec::new();
    sides.resize_with(symbols, Default::default);
    for (id, wish) in wishes.iter().enumerate() {
        let (is_above, target) = wish.level();
        sides[wish.symbol][usize::from(is_above)].insert((target.to_bits(), id), ());
    }
    sides
}

fn btree(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    symbols: usize,
    wishes: &[Wish],
    ticks: &[(usize, f64)],
) {
    let sides = sides(symbols, wishes);
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
        targets[wish.symbol].push(wish.level());
    }
    // As many ticks as can be waited for; the throughput is told apart.
    let ticks = &ticks[..(SCANNED * symbols / wishes.len()).clamp(1, TICKS)];
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
    wishes.extend(
        (0..FIRED)
            .map(|_| Wish::new(500, Condition::Above(price(random.random_range(101.0..102.0))))),
    );
    let mut group = criterion.benchmark_group("fire");
    group.throughput(Throughput::Elements(FIRED as u64)).sample_size(10);
    group.bench_function("index/100000 alerts at one gap", |bencher| {
        bencher.iter_batched_ref(
            || (partition(501, &wishes), Vec::with_capacity(FIRED)),
            |((partition, keys), fired)| jump(partition, keys[500], fired, FIRED),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("BTreeMap/100000 alerts at one gap", |bencher| {
        bencher.iter_batched_ref(
            || (sides(501, &wishes), Vec::with_capacity(FIRED)),
            |(sides, fired)| {
                let [_, above] = &mut sides[500];
                while let Some(nearest) = above.first_entry()
                    && nearest.key().0 <= 102_f64.to_bits()
                {
                    fired.push(nearest.remove_entry().0.1);
                }
                assert_eq!(fired.len(), FIRED);
            },
            BatchSize::PerIteration,
        );
    });
    let repeat = Some(Repeat { cooldown: 60_000, hysteresis: None });
    for wish in &mut wishes[900_000..] {
        wish.terms = Terms::new(wish.terms.condition(), repeat).expect("good terms");
    }
    group.bench_function("index/100000 repeating alerts at one gap", |bencher| {
        bencher.iter_batched_ref(
            || (partition(501, &wishes), Vec::with_capacity(FIRED)),
            |((partition, keys), fired)| jump(partition, keys[500], fired, FIRED),
            BatchSize::PerIteration,
        );
    });
}

fn jump(partition: &mut Partition, key: SymbolKey, fired: &mut Vec<Firing>, expected: usize) {
    let (trade, sequence) = Log { next: 0 }.append(price(102.0));
    partition.evaluate(key, &trade, sequence, fired);
    assert_eq!(fired.len(), expected);
}

/// An alert comes and goes among a million others.
fn arm_and_disarm(criterion: &mut Criterion) {
    const ALERTS: usize = 1_000_000;
    let mut group = criterion.benchmark_group("arm and disarm");
    group.throughput(Throughput::Elements(1));
    for symbols in [1, 500] {
        let wishes = wishes(ALERTS, symbols);
        let names: Vec<String> = (0..symbols).map(name).collect();
        let parameter = format!("among {ALERTS} on {symbols} symbols");

        let (mut partition, _) = partition(symbols, &wishes);
        let (mut fired, mut next) = (Vec::new(), 0);
        group.bench_function(BenchmarkId::new("index", &parameter), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % ALERTS;
                let alert = armed(ALERTS + next, &wishes[next]);
                let _ = partition.arm(&names[wishes[next].symbol], alert, &mut fired);
                partition.disarm(alert.id, VERSION);
            });
        });
        drop(partition);

        // Who deletes knows the threshold here; by its id alone it could not be found.
        let (mut sides, mut next) = (sides(symbols, &wishes), 0);
        group.bench_function(BenchmarkId::new("BTreeMap", &parameter), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % ALERTS;
                let (is_above, target) = wishes[next].level();
                let side = &mut sides[wishes[next].symbol][usize::from(is_above)];
                side.insert((target.to_bits(), ALERTS + next), ());
                side.remove(&(target.to_bits(), ALERTS + next));
            });
        });
    }
}

/// A million alerts made known, as after a start.
fn load(criterion: &mut Criterion) {
    let wishes = wishes(1_000_000, 500);
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(wishes.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(10));
    group.bench_function("1000000 alerts on 500 symbols", |bencher| {
        bencher.iter_with_large_drop(|| self::partition(500, &wishes));
    });
}

criterion_group!(benches, evaluate, kinds, gap, arm_and_disarm, load);
criterion_main!(benches);
