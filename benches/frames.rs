//! A frame of the feed read into its trades, beside serde_json, sonic-rs and simd-json with types
//! that borrow every string they can. Those three parse and no more; ours also checks price,
//! volume and time, and checks the symbol and puts it in upper case. simd-json writes to what it
//! reads, so that it is handed a copy, and serde_json is asked for exact numbers
//! (`float_roundtrip`), as the other three give them.
//!
//! `cargo bench --package benches --bench frames`

use std::borrow::Cow;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
// Its allocator, the one that services have, is everybody's here.
use service as _;
use wire::frame::{Frame, FrameDecoder};

/// After every trade here, Unix milliseconds.
const NOW: i64 = 1_800_000_000_000;

/// Trades that are made up, of so many symbols.
const TRADES: usize = 2_000;
const SYMBOLS: usize = 500;

#[derive(Deserialize)]
struct TypedFrame<'a> {
    #[serde(borrow)]
    data: Vec<TypedTrade<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct TypedTrade<'a> {
    #[serde(borrow, default)]
    c: Option<Vec<Text<'a>>>,
    p: f64,
    #[serde(borrow)]
    s: Text<'a>,
    t: i64,
    #[serde(default)]
    v: f64,
}

/// Borrowed where it has no escapes. Without a type of its own serde copies what is in a list.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is read of a frame: each value of each trade, so that nobody can leave one out.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    trades: usize,
    price: f64,
    volume: f64,
    time: i64,
    letters: usize,
    conditions: usize,
}

impl Sum {
    fn of_typed(frame: &TypedFrame<'_>) -> Self {
        assert_eq!(frame.kind.0, "trade");
        let mut sum = Self { trades: frame.data.len(), ..Self::default() };
        for trade in &frame.data {
            sum.price += trade.p;
            sum.volume += trade.v;
            sum.time += trade.t;
            sum.letters += trade.s.0.len();
            sum.conditions +=
                trade.c.iter().flatten().map(|condition| condition.0.len()).sum::<usize>();
        }
        sum
    }

    fn check(&self, other: &Self, frame: &str) {
        let is_near = |one: f64, two: f64| (one - two).abs() <= 1e-12 * one.abs();
        let counts = |sum: &Self| (sum.trades, sum.time, sum.letters, sum.conditions);
        assert!(
            counts(self) == counts(other)
                && is_near(self.price, other.price)
                && is_near(self.volume, other.volume),
            "{self:?} or {other:?} of {frame}"
        );
    }
}

fn wire() -> impl FnMut(&[u8]) -> Sum {
    let mut decoder = FrameDecoder::new();
    move |frame| {
        let Ok(Frame::Trades(trades)) = decoder.decode(frame, NOW) else { panic!("trades") };
        let mut sum = Sum { trades: trades.len(), ..Sum::default() };
        for trade in trades {
            sum.price += trade.price.get();
            sum.volume += trade.volume.get();
            sum.time += trade.timestamp;
            sum.letters += trade.symbol.len();
            sum.conditions += trade.conditions.map(str::len).sum::<usize>();
        }
        sum
    }
}

fn serde_json(frame: &[u8]) -> Sum {
    Sum::of_typed(&serde_json::from_slice(frame).expect("a frame"))
}

fn sonic_rs(frame: &[u8]) -> Sum {
    Sum::of_typed(&sonic_rs::from_slice(frame).expect("a frame"))
}

fn simd_json() -> impl FnMut(&[u8]) -> Sum {
    let mut buffers = simd_json::Buffers::default();
    let mut copy = Vec::new();
    move |frame| {
        copy.clear();
        copy.extend_from_slice(frame);
        let frame = simd_json::serde::from_slice_with_buffers(&mut copy, &mut buffers);
        Sum::of_typed(&frame.expect("a frame"))
    }
}

fn compare(group: &mut BenchmarkGroup<'_, WallTime>, parameter: &str, frames: &[String]) {
    let (mut wire, mut simd_json) = (wire(), simd_json());
    let mut trades = 0;
    for frame in frames {
        let sum = wire(frame.as_bytes());
        sum.check(&serde_json(frame.as_bytes()), frame);
        sum.check(&sonic_rs(frame.as_bytes()), frame);
        sum.check(&simd_json(frame.as_bytes()), frame);
        trades += sum.trades;
    }
    group.throughput(Throughput::Elements(trades as u64));
    bench(group, "wire", parameter, frames, wire);
    bench(group, "serde_json", parameter, frames, serde_json);
    bench(group, "sonic-rs", parameter, frames, sonic_rs);
    bench(group, "simd-json", parameter, frames, simd_json);
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    parameter: &str,
    frames: &[String],
    mut read: impl FnMut(&[u8]) -> Sum,
) {
    group.bench_function(BenchmarkId::new(name, parameter), |bencher| {
        bencher.iter(|| {
            for frame in frames {
                black_box(read(black_box(frame.as_bytes())));
            }
        });
    });
}

/// The trades of the recording, each as its feed wrote it, and the frames in which they came.
fn recorded() -> Option<(Vec<String>, Vec<String>)> {
    let text = fs::read_to_string(testkit::replay_file()?).expect("a readable file");
    let frames: Vec<String> = text.lines().map(str::to_owned).collect();
    let trades = frames.iter().flat_map(|frame| {
        let data = frame.strip_prefix(r#"{"data":[{"#).expect("a frame begins with its trades");
        let data = data.strip_suffix(r#"}],"type":"trade"}"#).expect("a frame ends with its type");
        data.split("},{").map(|members| format!("{{{members}}}"))
    });
    Some((trades.collect(), frames))
}

/// Frames of so many trades.
fn frames_of(trades: &[String], trades_a_frame: usize) -> Vec<String> {
    let frame = |trades: &[String]| format!(r#"{{"data":[{}],"type":"trade"}}"#, trades.join(","));
    trades.chunks(trades_a_frame).map(frame).collect()
}

/// A trade of a stock, its members as JSON.
struct Stock {
    conditions: &'static str,
    price: String,
    symbol: String,
    time: i64,
    volume: u32,
}

fn stocks() -> Vec<Stock> {
    const CONDITIONS: [&str; 4] = ["null", r#"["1"]"#, r#"["1","12"]"#, r#"["1","8","24","12"]"#];
    let mut random = SmallRng::seed_from_u64(1);
    let symbol = |random: &mut SmallRng| -> String {
        let letters = random.random_range(1..5);
        (0..letters).map(|_| random.random_range('A'..='Z')).collect()
    };
    let symbols: Vec<String> = (0..SYMBOLS).map(|_| symbol(&mut random)).collect();
    let mut time = 1_672_348_887_195;
    let mut stock = |_| {
        time += random.random_range(0..20);
        Stock {
            conditions: CONDITIONS[random.random_range(0..CONDITIONS.len())],
            price: format!("{}", f64::from(random.random_range(100..100_000)) / 100.0),
            symbol: symbols[random.random_range(0..SYMBOLS)].clone(),
            time,
            volume: random.random_range(1..1_000),
        }
    };
    (0..TRADES).map(&mut stock).collect()
}

fn plain(Stock { conditions, price, symbol, time, volume }: &Stock) -> String {
    format!(r#"{{"c":{conditions},"p":{price},"s":"{symbol}","t":{time},"v":{volume}}}"#)
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    if let Some((trades, frames)) = recorded() {
        for trades_a_frame in [1, 10, 100] {
            let frames = frames_of(&trades, trades_a_frame);
            compare(&mut group, &format!("recorded, {trades_a_frame} a frame"), &frames);
        }
        compare(&mut group, "as recorded", &frames);
    }
    let trades: Vec<String> = stocks().iter().map(plain).collect();
    for trades_a_frame in [1, 10, 100] {
        let frames = frames_of(&trades, trades_a_frame);
        compare(&mut group, &format!("stocks, {trades_a_frame} a frame"), &frames);
    }
}

/// What the feed may send, since JSON allows it, and does not: ten trades a frame.
fn adversarial(criterion: &mut Criterion) {
    type Spell = fn(&Stock) -> String;
    let spellings: [(&str, Spell); 7] = [
        ("other order", |Stock { conditions, price, symbol, time, volume }| {
            format!(r#"{{"v":{volume},"t":{time},"s":"{symbol}","p":{price},"c":{conditions}}}"#)
        }),
        ("whitespace", |stock| plain(stock).replace(':', " : ").replace(',', " ,\n  ")),
        ("lower case", |stock| plain(stock).to_ascii_lowercase()),
        ("escapes", |stock| {
            let escape = |letter: char| format!("\\u{:04x}", u32::from(letter));
            let symbol = stock.symbol.chars().map(escape).collect();
            plain(&Stock {
                symbol,
                conditions: r#"["\u0031","\/"]"#,
                price: stock.price.clone(),
                ..*stock
            })
            .replace("\"p\"", r#""\u0070""#)
        }),
        ("further members", |stock| {
            let more = r#"{"x":{"a":[1,2.5e3,{"b":null}],"s":"NOT \"IT\""},"exchange":"NASDAQ","ok":true,"#;
            plain(stock).replacen('{', more, 1)
        }),
        ("deep", |stock| {
            let deep = format!(r#"{{"x":{}{},"#, "[".repeat(100), "]".repeat(100));
            plain(stock).replacen('{', &deep, 1)
        }),
        ("long numbers", |stock| {
            let point = if stock.price.contains('.') { "" } else { "." };
            let price = format!("{}{point}00000000142108547152020037174", stock.price);
            let stock = Stock { price, symbol: stock.symbol.clone(), ..*stock };
            plain(&stock).replace(r#""v":"#, r#""v":0.30000000000000004440892098500626"#)
        }),
    ];
    let stocks = stocks();
    let mut group = criterion.benchmark_group("adversarial frames");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    for (name, spell) in spellings {
        let trades: Vec<String> = stocks.iter().map(spell).collect();
        compare(&mut group, name, &frames_of(&trades, 10));
    }
}

criterion_group!(benches, frames, adversarial);
criterion_main!(benches);
