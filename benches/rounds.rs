//! A round of the ingestor: trades in order of arrival become one record a symbol. Beside it what
//! one would write with a map and the generated message.
//!
//! `cargo bench --package benches --bench rounds`

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use market::{Price, Trade, Volume};
use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::market::v1::StockTick;
use service as _;
use wire::record::Gatherer;

/// Of the standard library's hash; its own map has no entry by a borrowed name.
type Messages = hashbrown::HashMap<String, StockTick, std::hash::RandomState>;

const SYMBOLS: usize = 500;
const TRADES_A_RECORD: usize = 50;
/// As most of Finnhub's trades have one or two.
const CONDITIONS: [&str; 2] = ["1", "12"];

struct Arrival {
    symbol: String,
    trade: Trade,
    conditions: &'static [&'static str],
}

fn arrivals(count: usize, has_conditions: bool) -> Vec<Arrival> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut timestamp = 1_672_348_887_195;
    let arrival = |_| {
        timestamp += random.random_range(0..2);
        let price = f64::from(random.random_range(100..100_000)) / 100.0;
        let trade = Trade {
            price: Price::new(price).expect("a price"),
            volume: Volume::new(f64::from(random.random_range(1..1_000))).expect("a volume"),
            timestamp,
            received_at: timestamp.cast_unsigned() * 1_000_000,
        };
        let symbol = format!("SYM{}", random.random_range(0..SYMBOLS));
        let conditions = if has_conditions { random.random_range(0..=2) } else { 0 };
        Arrival { symbol, trade, conditions: &CONDITIONS[..conditions] }
    };
    (0..count).map(arrival).collect()
}

/// Bytes of the records.
fn gathered(gatherer: &mut Gatherer, arrivals: &[Arrival]) -> usize {
    for Arrival { symbol, trade, conditions } in arrivals {
        gatherer.add(symbol, trade, conditions.iter().copied());
    }
    let mut bytes = 0;
    let Ok(()) = gatherer.drain(|_, record, _, _| {
        bytes += black_box(record).len();
        Ok::<_, Infallible>(())
    });
    bytes
}

/// As many bytes, by messages that are filled symbol by symbol.
fn mapped(messages: &mut Messages, out: &mut Vec<u8>, arrivals: &[Arrival]) -> usize {
    let mut bytes = 0;
    let mut send = |message: &mut StockTick| {
        let of_last = message.condition_counts.last().map_or(0, |&count| count as usize);
        let before = message.condition_values.len() - of_last;
        message.conditions.extend(message.condition_values[before..].iter().cloned());
        if message.prices.len() == 1 {
            message.prices.clear();
            message.timestamps.clear();
            message.volumes.clear();
            message.received_ats.clear();
            message.condition_values.clear();
        }
        if message.condition_values.is_empty() {
            message.condition_counts.clear();
        }
        out.clear();
        message.encode(out).expect("a buffer grows");
        bytes += black_box(&*out).len();
        message.clear();
    };
    for Arrival { symbol, trade, conditions } in arrivals {
        let message = messages.entry_ref(symbol.as_str()).or_default();
        if message.symbol.is_empty() {
            message.symbol.push_str(symbol);
        }
        message.price = trade.price.get();
        message.timestamp = trade.timestamp;
        message.volume = trade.volume.get();
        message.received_at = trade.received_at;
        message.prices.push(trade.price.get());
        message.timestamps.push(trade.timestamp);
        message.volumes.push(trade.volume.get());
        message.received_ats.push(trade.received_at);
        message.condition_counts.push(conditions.len() as u32);
        message.condition_values.extend(conditions.iter().map(|&text| text.to_owned()));
        if message.prices.len() == TRADES_A_RECORD {
            send(message);
        }
    }
    messages.values_mut().filter(|message| !message.symbol.is_empty()).for_each(send);
    bytes
}

fn rounds(criterion: &mut Criterion) {
    for has_conditions in [false, true] {
        let conditions = if has_conditions { ", with conditions" } else { "" };
        let mut group = criterion.benchmark_group(format!("round of the ingestor{conditions}"));
        for count in [1_000, 8_000, 16_000, 64_000] {
            let arrivals = arrivals(count, has_conditions);
            let (mut gatherer, mut messages) =
                (Gatherer::new(TRADES_A_RECORD), Messages::default());
            let mut out = Vec::new();
            let bytes = gathered(&mut gatherer, &arrivals);
            assert_eq!(bytes, mapped(&mut messages, &mut out, &arrivals), "as many bytes");
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("wire", count), |bencher| {
                bencher.iter(|| gathered(&mut gatherer, &arrivals));
            });
            group.bench_function(BenchmarkId::new("map and prost", count), |bencher| {
                bencher.iter(|| mapped(&mut messages, &mut out, &arrivals));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).sample_size(30);
    targets = rounds
}
criterion_main!(benches);
