use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::oracle::LoggedTrade;
use crate::{replay_file, scratch};

/// 2021-01-08 23:58 UTC: a random market's trades run over the end of a day.
const BEGIN: i64 = 1_610_150_280_000;

const SYMBOLS: &[&str] =
    &["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "BRK.A", "OANDA:EUR_USD", "A/B", "ZÜRICH:NESN"];

/// Frames of a feed, one a line of a file, as `loadgen feed --file` plays them.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    lines: Vec<String>,
}

impl Recording {
    /// The real trades of [`replay_file`].
    pub fn real() -> Option<Self> {
        let path = replay_file()?;
        let text = fs::read_to_string(&path).expect("a readable file");
        Some(Self { path, lines: text.lines().map(str::to_owned).collect() })
    }

    /// Four minutes of a market of seven symbols, with frames of several of them, late and equal
    /// times, and every spelling of conditions and volumes that Finnhub has. Always the same.
    pub fn random() -> Self {
        let mut random = SmallRng::seed_from_u64(11);
        let mut clock = BEGIN;
        let mut lines = Vec::new();
        while clock < BEGIN + 240_000 {
            let count = random.random_range(1..8);
            let trades: Vec<Value> = (0..count).map(|_| trade(&mut random, &mut clock)).collect();
            lines.push(json!({"data": trades, "type": "trade"}).to_string());
        }
        Self::of(lines)
    }

    /// A minute of a market of one symbol whose price walks, as real ones do. Always the same.
    pub fn walk() -> Self {
        let mut random = SmallRng::seed_from_u64(12);
        let (mut clock, mut price) = (BEGIN, 40_000.0_f64);
        let mut lines = Vec::new();
        while clock < BEGIN + 60_000 {
            let trades: Vec<Value> = (0..random.random_range(1..6))
                .map(|_| {
                    clock += random.random_range(0..100);
                    price *= 1.0 + random.random_range(-0.000_5..0.000_5);
                    let late = if random.random_bool(0.01) { 2_000 } else { 0 };
                    let price = (price * 100.0).round() / 100.0;
                    let volume = f64::from(random.random_range(1..100_000)) / 1e5;
                    json!({"p": price, "s": SYMBOLS[1], "t": clock - late, "v": volume})
                })
                .collect();
            lines.push(json!({"data": trades, "type": "trade"}).to_string());
        }
        Self::of(lines)
    }

    /// Each frame also with another symbol, of eleven in turn: for more partitions to be busy.
    pub fn with_copies(&self) -> Self {
        let copy = |(number, line): (usize, &String)| {
            let mut frame: Value = serde_json::from_str(line).expect("a frame");
            for trade in frame["data"].as_array_mut().expect("trades") {
                trade["s"] = json!(format!("COPY:{}", number % 11));
            }
            [line.clone(), frame.to_string()]
        };
        Self::of(self.lines.iter().enumerate().flat_map(copy).collect())
    }

    /// The same market of so many symbols, each at prices of its own.
    pub fn spread(&self, symbols: usize) -> Self {
        const TRADES_A_FRAME: usize = 20;
        let mut lines = Vec::new();
        for line in &self.lines {
            let frame: Value = serde_json::from_str(line).expect("a frame");
            let trades = frame["data"].as_array().expect("trades");
            // One symbol after the other: the trades of each stay in order.
            let all: Vec<Value> = (0..symbols)
                .flat_map(|number| trades.iter().map(move |trade| of_symbol(trade, number)))
                .collect();
            let frame = |trades: &[Value]| json!({"data": trades, "type": "trade"}).to_string();
            lines.extend(all.chunks(TRADES_A_FRAME).map(frame));
        }
        Self::of(lines)
    }

    /// From its earliest trade to its latest.
    pub fn period(&self) -> Duration {
        let times: Vec<i64> = self.trades().iter().map(|trade| trade.timestamp).collect();
        let ends = times.iter().max().zip(times.iter().min());
        Duration::from_millis(ends.map_or(0, |(latest, earliest)| latest.abs_diff(*earliest)))
    }

    /// These frames, in a file of their own.
    pub fn of(lines: Vec<String>) -> Self {
        let path = scratch::folder("recording").join("frames.ndjson");
        fs::write(&path, lines.join("\n")).expect("the folder is ours");
        Self { path, lines }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every trade, in order. For a recording of valid frames alone.
    pub fn trades(&self) -> Vec<LoggedTrade> {
        let frame = |line: &String| serde_json::from_str::<Value>(line).expect("a frame");
        let trade = |trade: &Value| LoggedTrade {
            symbol: trade["s"].as_str().expect("a symbol").to_ascii_uppercase(),
            price: trade["p"].as_f64().expect("a price"),
            volume: trade["v"].as_f64().unwrap_or_default(),
            timestamp: trade["t"].as_i64().expect("milliseconds"),
        };
        let frames = self.lines.iter().map(frame);
        let data = frames.map(|frame| frame["data"].as_array().expect("trades").clone());
        data.flatten().map(|each| trade(&each)).collect()
    }

    /// The symbols of its trades, for `SYMBOLS`.
    pub fn symbols(&self) -> String {
        let symbols: BTreeSet<_> = self.trades().into_iter().map(|trade| trade.symbol).collect();
        Vec::from_iter(symbols).join(",")
    }
}

fn of_symbol(trade: &Value, number: usize) -> Value {
    let price = trade["p"].as_f64().expect("a price") * (1.0 + number as f64 / 1_000.0);
    let mut trade = trade.clone();
    trade["s"] = json!(format!("{}:{number}", trade["s"].as_str().expect("a symbol")));
    trade["p"] = json!((price * 100.0).round().max(1.0) / 100.0);
    trade
}

fn trade(random: &mut SmallRng, clock: &mut i64) -> Value {
    *clock += random.random_range(0..150);
    let late = if random.random_bool(0.1) { random.random_range(0..90_000) } else { 0 };
    let conditions = [json!(null), json!([]), json!(["1", "12"])];
    let volumes = [json!(0), json!(random.random_range(1..1_000)), json!(0.000_263)];
    let price = f64::from(random.random_range(1..10_000)) / 100.0;
    json!({
        "c": conditions[random.random_range(0..conditions.len())],
        "p": price,
        "s": SYMBOLS[random.random_range(0..SYMBOLS.len())],
        "t": *clock - late,
        "v": volumes[random.random_range(0..volumes.len())],
    })
}
