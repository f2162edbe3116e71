//! A batch of a partition's trades written and read, beside the same in protobuf by prost: in
//! columns, and as a message a trade. All of them give valid trades with their places in the log,
//! and how many bytes a trade takes is told beside the times.
//!
//! `cargo bench --package benches --bench batches`

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use market::{Price, Sequence, Trade, Volume};
use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use service as _;
use wire::batch::{PackedTrade, Packer, TickBatch};

/// Those of one partition of six, of a market of 500.
const SYMBOLS: usize = 83;

/// The fields of a packed batch.
#[derive(Message)]
struct Columns {
    #[prost(int64, tag = "1")]
    first_offset: i64,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
    #[prost(uint32, repeated, tag = "3")]
    symbols: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    offsets: Vec<u32>,
    #[prost(uint32, repeated, tag = "5")]
    indexes: Vec<u32>,
    #[prost(double, repeated, tag = "6")]
    prices: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    volumes: Vec<f64>,
    #[prost(int64, repeated, tag = "8")]
    timestamps: Vec<i64>,
    #[prost(fixed64, repeated, tag = "9")]
    received_ats: Vec<u64>,
}

#[derive(Message)]
struct Rows {
    #[prost(int64, tag = "1")]
    first_offset: i64,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    rows: Vec<Row>,
}

#[derive(Message)]
struct Row {
    #[prost(uint32, tag = "1")]
    symbol: u32,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(double, tag = "4")]
    price: f64,
    #[prost(double, tag = "5")]
    volume: f64,
    #[prost(int64, tag = "6")]
    timestamp: i64,
    #[prost(fixed64, tag = "7")]
    received_at: u64,
}

/// A way to write trades and to read them again. `read` hears each trade.
trait Format {
    fn write(&mut self, market: &Market, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8], heard: impl FnMut(PackedTrade));
}

/// Trades in the order of the log, ten a record; a symbol's number is that of its name.
struct Market {
    names: Vec<String>,
    trades: Vec<PackedTrade>,
}

impl Market {
    fn new(count: usize) -> Self {
        const FIRST: i64 = 12_345_678;
        let mut random = SmallRng::seed_from_u64(1);
        let (mut names, mut numbers) = (Vec::new(), [None; SYMBOLS]);
        let (mut symbol, mut timestamp) = (0, 1_672_348_887_195);
        let trade = |at: usize| {
            if at.is_multiple_of(10) {
                let one = random.random_range(0..SYMBOLS);
                symbol = *numbers[one].get_or_insert_with(|| {
                    names.push(format!("SYMBOL:{one}"));
                    names.len() - 1
                });
            }
            timestamp += random.random_range(0..20);
            let price = f64::from(random.random_range(100..100_000)) / 100.0;
            let trade = Trade {
                price: Price::new(price).expect("a price"),
                volume: Volume::new(f64::from(random.random_range(1..1_000))).expect("a volume"),
                timestamp,
                received_at: timestamp.cast_unsigned() * 1_000_000 + random.random_range(0..1_000),
            };
            let sequence = Sequence { offset: FIRST + at as i64 / 10, index: (at % 10) as u32 };
            PackedTrade { symbol, sequence, trade }
        };
        let trades = (0..count).map(trade).collect();
        Self { names, trades }
    }
}

struct Packed(Packer);

impl Format for Packed {
    fn write(&mut self, market: &Market, bytes: &mut Vec<u8>) {
        for packed in &market.trades {
            let name = &market.names[packed.symbol];
            self.0.push(packed.symbol as u32, name, packed.sequence, &packed.trade);
        }
        self.0.encode(bytes);
    }

    fn read(bytes: &[u8], heard: impl FnMut(PackedTrade)) {
        TickBatch::decode(bytes).expect("a batch").trades().for_each(heard);
    }
}

fn offset_from(first: i64, packed: &PackedTrade) -> u32 {
    (packed.sequence.offset - first) as u32
}

impl Format for Columns {
    fn write(&mut self, market: &Market, bytes: &mut Vec<u8>) {
        self.first_offset = market.trades[0].sequence.offset;
        self.names.clone_from(&market.names);
        self.symbols.clear();
        self.offsets.clear();
        self.indexes.clear();
        self.prices.clear();
        self.volumes.clear();
        self.timestamps.clear();
        self.received_ats.clear();
        for packed in &market.trades {
            self.symbols.push(packed.symbol as u32);
            self.offsets.push(offset_from(self.first_offset, packed));
            self.indexes.push(packed.sequence.index);
            self.prices.push(packed.trade.price.get());
            self.volumes.push(packed.trade.volume.get());
            self.timestamps.push(packed.trade.timestamp);
            self.received_ats.push(packed.trade.received_at);
        }
        bytes.clear();
        self.encode(bytes).expect("there is room");
    }

    fn read(bytes: &[u8], mut heard: impl FnMut(PackedTrade)) {
        let columns = Self::decode(bytes).expect("columns");
        for at in 0..columns.prices.len() {
            let offset = columns.first_offset + i64::from(columns.offsets[at]);
            heard(PackedTrade {
                symbol: columns.symbols[at] as usize,
                sequence: Sequence { offset, index: columns.indexes[at] },
                trade: Trade {
                    price: Price::new(columns.prices[at]).expect("a price"),
                    volume: Volume::new(columns.volumes[at]).expect("a volume"),
                    timestamp: columns.timestamps[at],
                    received_at: columns.received_ats[at],
                },
            });
        }
    }
}

impl Format for Rows {
    fn write(&mut self, market: &Market, bytes: &mut Vec<u8>) {
        self.first_offset = market.trades[0].sequence.offset;
        self.names.clone_from(&market.names);
        self.rows.clear();
        self.rows.extend(market.trades.iter().map(|packed| Row {
            symbol: packed.symbol as u32,
            offset: offset_from(self.first_offset, packed),
            index: packed.sequence.index,
            price: packed.trade.price.get(),
            volume: packed.trade.volume.get(),
            timestamp: packed.trade.timestamp,
            received_at: packed.trade.received_at,
        }));
        bytes.clear();
        self.encode(bytes).expect("there is room");
    }

    fn read(bytes: &[u8], mut heard: impl FnMut(PackedTrade)) {
        let rows = Self::decode(bytes).expect("rows");
        for row in &rows.rows {
            let offset = rows.first_offset + i64::from(row.offset);
            heard(PackedTrade {
                symbol: row.symbol as usize,
                sequence: Sequence { offset, index: row.index },
                trade: Trade {
                    price: Price::new(row.price).expect("a price"),
                    volume: Volume::new(row.volume).expect("a volume"),
                    timestamp: row.timestamp,
                    received_at: row.received_at,
                },
            });
        }
    }
}

fn write<F: Format>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    market: &Market,
    mut format: F,
) {
    let (count, mut bytes) = (market.trades.len(), Vec::new());
    format.write(market, &mut bytes);
    let size = bytes.len() as f64 / count as f64;
    eprintln!("bytes a trade, {name}, {count} trades: {size:.1}");
    group.bench_function(BenchmarkId::new(name, count), |bencher| {
        bencher.iter(|| {
            format.write(black_box(market), &mut bytes);
            black_box(&bytes);
        });
    });
}

fn read<F: Format>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    market: &Market,
    mut format: F,
) {
    let (mut bytes, mut heard) = (Vec::new(), Vec::new());
    format.write(market, &mut bytes);
    F::read(&bytes, |packed| heard.push(packed));
    assert_eq!(heard, market.trades);
    group.bench_function(BenchmarkId::new(name, market.trades.len()), |bencher| {
        bencher.iter(|| {
            F::read(black_box(&bytes), |packed| {
                black_box(packed);
            });
        });
    });
}

fn batches(criterion: &mut Criterion) {
    for is_write in [true, false] {
        let name = if is_write { "write a batch" } else { "read a batch" };
        let mut group = criterion.benchmark_group(name);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
        for count in [10, 100, 1_000, 4_096] {
            let market = Market::new(count);
            group.throughput(Throughput::Elements(count as u64));
            if is_write {
                write(&mut group, "rkyv", &market, Packed(Packer::new()));
                write(&mut group, "protobuf, columns", &market, Columns::default());
                write(&mut group, "protobuf, a message a trade", &market, Rows::default());
            } else {
                read(&mut group, "rkyv", &market, Packed(Packer::new()));
                read(&mut group, "protobuf, columns", &market, Columns::default());
                read(&mut group, "protobuf, a message a trade", &market, Rows::default());
            }
        }
    }
}

criterion_group!(benches, batches);
criterion_main!(benches);
