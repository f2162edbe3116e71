//! A recorded feed through every program: its last price is the latest, its candles are the file's
//! own, and reading the log again, or twice at once, changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::oracle::{self, Bar};
use testkit::{Exit, Pipeline, Recording, kafka};

const SYMBOL: &str = "BINANCE:BTCUSDT";
const PATIENCE: Duration = Duration::from_secs(60);

/// What the file says, straight from its JSON.
struct Truth {
    trades: usize,
    last: Value,
    /// By start.
    minutes: BTreeMap<i64, Bar>,
    day: Bar,
}

impl Truth {
    fn of(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("the file");
        let (mut trades, mut last, mut time) = (0, Value::Null, 0);
        let (mut minutes, mut days) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            let frame: Value = serde_json::from_str(line).expect("a frame");
            for trade in frame["data"].as_array().expect("trades") {
                assert_eq!(trade["s"], SYMBOL);
                let at = trade["t"].as_i64().expect("milliseconds");
                assert!(
                    at >= time,
                    "the file is in order of time, so the last trade is the latest"
                );
                time = at;
                count(minutes.entry(at - at % 60_000).or_default(), trade);
                count(days.entry(at - at % 86_400_000).or_default(), trade);
                last = trade.clone();
                trades += 1;
            }
        }
        assert_eq!(days.len(), 1, "the file is of one day");
        let day = days.into_values().next().flatten().expect("a trade");
        let minutes = minutes.into_iter().filter_map(|(start, bar)| Some((start, bar?)));
        Self { trades, last, minutes: minutes.collect(), day }
    }

    #[track_caller]
    fn check(&self, way: &mut Pipeline, when: &str) {
        let redis = way.redis().address().to_owned();
        let price = self.last["p"].as_f64().expect("a price");
        let timestamp = self.last["t"].as_i64().expect("milliseconds");
        let mut stored = BTreeMap::new();
        let same = servers::poll(PATIENCE, || {
            stored = oracle::stored(&redis);
            let view = stored.get(SYMBOL)?;
            let is_same = stored.len() == 1
                && (view.price, view.timestamp) == (price, timestamp)
                && view.candles["1m"] == self.minutes
                && view.day_bar == self.day;
            is_same.then_some(())
        });
        if same.is_none() {
            panic!("{when}: Redis does not hold the file's candles, but {stored:?}");
        }
        let expected = json!({
            "symbol": SYMBOL,
            "price": self.last["p"],
            "timestamp": self.last["t"],
            "volume": self.last["v"],
            // The recording is years old.
            "stale": true,
            "day": {
                "start": timestamp - timestamp % 86_400_000,
                "open": self.day.open,
                "high": self.day.high,
                "low": self.day.low,
                "volume": self.day.volume,
            },
        });
        for path in ["/price/BINANCE:BTCUSDT", "/price/binance%3Abtcusdt"] {
            let before = now_ms();
            let (status, mut body) = way.get(path).expect("an answer");
            let age = body.as_object_mut().and_then(|body| body.remove("age_ms"));
            assert_eq!((status, &body), (200, &expected), "{when}: {path}");
            let asked_at = age.and_then(|age| age.as_i64()).expect("an age") + timestamp;
            assert!((before..=now_ms()).contains(&asked_at), "{when}: {path}: {asked_at}");
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds")
}

fn count(bar: &mut Option<Bar>, trade: &Value) {
    let (price, volume) = (trade["p"].as_f64(), trade["v"].as_f64());
    let (price, volume) = (price.expect("a price"), volume.expect("a volume"));
    let bar = bar.get_or_insert(Bar {
        open: price,
        high: price,
        low: price,
        close: price,
        volume: 0.0,
        trades: 0,
    });
    bar.high = bar.high.max(price);
    bar.low = bar.low.min(price);
    bar.close = price;
    bar.volume += volume;
    bar.trades += 1;
}

#[test]
fn a_recorded_feed_gives_its_price_and_candles_however_often_it_is_read() {
    let Some(file) = Recording::real() else { return };
    let truth = Truth::of(file.path());
    let mut way = Pipeline::new(kafka().brokers(), "replay");
    let _feed = way.feed(&file, &["--speed", "0"]);
    let _ingestor = way.ingestor(SYMBOL, &[]);
    let mut processor = way.processor("processor-group");
    let mut gateway = way.gateway(&[]);
    gateway.wait_ready();
    assert_eq!(way.wait_logged(truth.trades), file.trades(), "every trade once, in order");
    truth.check(&mut way, "as it comes");
    way.wait_read(&processor);

    assert_eq!(processor.terminate(), Exit::Code(0));
    way.kafka().rewind(way.topic(), &way.group("processor-group"));
    let processor = way.processor("processor-group");
    way.wait_read(&processor);
    truth.check(&mut way, "with the group set back to the start");

    let (two, three) = (way.processor("two"), way.processor("three"));
    way.wait_read(&two);
    way.wait_read(&three);
    truth.check(&mut way, "read by two others at once");
}

#[test]
fn two_processors_may_follow_the_same_feed() {
    let Some(file) = Recording::real() else { return };
    let truth = Truth::of(file.path());
    let mut way = Pipeline::new(kafka().brokers(), "two");
    let mut processors = [way.processor("one"), way.processor("two")];
    // Both are at it before the first trade, and race each other for every one.
    processors.iter_mut().for_each(|processor| {
        processor.wait_ready();
    });
    let _feed = way.feed(&file, &["--speed", "15"]);
    let _ingestor = way.ingestor(SYMBOL, &[("TICKS_PER_RECORD", "1")]);
    let mut gateway = way.gateway(&[]);
    gateway.wait_ready();
    way.wait_logged(truth.trades);
    for processor in &processors {
        way.wait_read(processor);
    }
    truth.check(&mut way, "two groups at once");
}

#[test]
fn every_symbol_of_a_market_finds_its_way() {
    let market = Recording::random();
    let way = Pipeline::new(kafka().brokers(), "market");
    let _feed = way.feed(&market, &["--speed", "0"]);
    let _ingestor = way.ingestor(&market.symbols(), &[]);
    let _processor = way.processor("processor-group");
    let mut gateway = way.gateway(&[]);
    gateway.wait_ready();
    way.wait_logged(market.trades().len());
    way.check_redis("late and equal times, two days, six partitions");
    way.check_prices("symbols with spaces, slashes and more");
}
