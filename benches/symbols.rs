//! The number of a symbol by its name, as the followers of the log (`follow`) and the threshold
//! index (`triggers`) look it up, beside hash maps of the standard library and its rivals.
//!
//! `cargo bench --package benches --bench symbols`

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use follow::Symbols;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use triggers::Partition;

/// Look-ups an iteration.
const LOOK_UPS: usize = 4_096;

fn name(number: usize) -> String {
    // As long as those of a market: some of three letters, some with their exchange before them.
    match number % 4 {
        0 => format!("BINANCE:{number}USDT"),
        1 => format!("OANDA:{number}_USD"),
        _ => format!("S{number}"),
    }
}

fn bench<N>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    map: &str,
    parameter: &str,
    wanted: &[String],
    mut number: impl FnMut(&str) -> N,
) {
    group.bench_function(BenchmarkId::new(map, parameter), |bencher| {
        bencher.iter(|| {
            for name in wanted {
                black_box(number(black_box(name)));
            }
        });
    });
}

fn map<H: BuildHasher + Default>(names: &[String]) -> HashMap<String, u32, H> {
    names.iter().cloned().zip(0..).collect()
}

fn symbols(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("symbols");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(LOOK_UPS as u64));
    for count in [500, 10_000] {
        let names: Vec<String> = (0..count).map(name).collect();
        let mut random = SmallRng::seed_from_u64(1);
        // Names of their own, as they lie in a record and not as they lie in the map.
        let wanted: Vec<String> =
            (0..LOOK_UPS).map(|_| names[random.random_range(0..count)].clone()).collect();
        let parameter = format!("of {count}");

        let mut followed = Symbols::new(6);
        let mut partition = Partition::new(0);
        for name in &names {
            followed.number(name);
            partition.intern(name);
        }
        bench(&mut group, "follow", &parameter, &wanted, |name| followed.number(name));
        bench(&mut group, "triggers", &parameter, &wanted, |name| partition.intern(name));

        let sip = map::<std::hash::RandomState>(&names);
        let ahash = map::<ahash::RandomState>(&names);
        let foldhash = map::<foldhash::fast::RandomState>(&names);
        bench(&mut group, "HashMap, SipHash", &parameter, &wanted, |name| sip.get(name).copied());
        bench(&mut group, "HashMap, ahash", &parameter, &wanted, |name| ahash.get(name).copied());
        bench(&mut group, "HashMap, foldhash", &parameter, &wanted, |name| {
            foldhash.get(name).copied()
        });
    }
}

criterion_group!(benches, symbols);
criterion_main!(benches);
