//! The original's clients read what is on the topic: kcat takes the records, and a decoder that
//! protoc generates from the original's three-field message reads every one of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prost::Message;
use rpc::market::v1::StockTick;
use testkit::oracle::LoggedTrade;
use testkit::{Pipeline, Recording, kafka, python};

/// What a client of the original sees of a record.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    symbol: String,
    price: f64,
    timestamp: i64,
}

/// The topic by partition and offset, through kcat and `seed_client.py`.
fn read(way: &Pipeline) -> BTreeMap<(i64, i64), Seen> {
    let modules = Modules::generate(way.topic());
    let mut kcat = Command::new("kcat")
        .args(["-C", "-q", "-e", "-o", "beginning", "-X", "check.crcs=true"])
        .args(["-b", way.kafka().brokers(), "-t", way.topic(), "-f", "%p %o %S\\n%s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat (`cargo stack test` installs it)");
    let output = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/seed_client.py"))
        .arg(&modules.0)
        .stdin(kcat.stdout.take().expect("its output"))
        .stderr(Stdio::inherit())
        .output()
        .expect("a Python");
    assert!(kcat.wait().expect("kcat").success(), "kcat reads the topic");
    assert!(output.status.success(), "a client of the original reads every record");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let record = |line: &str| {
        let fields: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |at: usize| fields[at].as_i64().expect("a whole number");
        let symbol = fields[2].as_str().expect("text").to_owned();
        let price = fields[3].as_f64().expect("a number");
        ((number(0), number(1)), Seen { symbol, price, timestamp: number(4) })
    };
    text.lines().map(record).collect()
}

/// The folder of a Python module made of the original's message; removed when dropped.
struct Modules(PathBuf);

impl Modules {
    fn generate(name: &str) -> Self {
        let modules = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        fs::create_dir_all(&modules.0).expect("the folder is ours");
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/stock");
        let status = Command::new("protoc")
            .arg("--proto_path")
            .arg(proto)
            .arg("--python_out")
            .arg(&modules.0)
            .arg("stock.proto")
            .status()
            .expect("protoc (`cargo stack test` installs it)");
        assert!(status.success(), "protoc takes the original's message");
        modules
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The topic after a whole replay.
fn played(market: &Recording, settings: &[(&str, &str)]) -> Pipeline {
    let way = Pipeline::new(kafka().brokers(), "seed");
    let _feed = way.feed(market, &["--speed", "0"]);
    let _ingestor = way.ingestor(&market.symbols(), settings);
    way.wait_logged(market.trades().len());
    way
}

fn by_symbol(trades: impl IntoIterator<Item = Seen>) -> BTreeMap<String, Vec<Seen>> {
    let mut symbols: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for trade in trades {
        symbols.entry(trade.symbol.clone()).or_default().push(trade);
    }
    symbols
}

fn seen(LoggedTrade { symbol, price, timestamp, .. }: LoggedTrade) -> Seen {
    Seen { symbol, price, timestamp }
}

#[test]
fn with_a_record_a_trade_they_see_every_trade() {
    let market = Recording::random();
    let way = played(&market, &[("TICKS_PER_RECORD", "1")]);
    let records = read(&way);
    assert_eq!(records.len(), market.trades().len());
    // A symbol is on one partition, so what is read partition by partition is in its order.
    assert_eq!(by_symbol(records.into_values()), by_symbol(market.trades().into_iter().map(seen)));
}

#[test]
fn of_gathered_records_they_see_the_last_arrival() {
    let market = Recording::random();
    let way = played(&market, &[("TICKS_PER_RECORD", "10")]);
    let records = read(&way);
    let mut feed = by_symbol(market.trades().into_iter().map(seen));
    let mut gathered = 0;
    for record in way.kafka().records(way.topic()) {
        let place = (i64::from(record.partition), record.offset);
        let tick = StockTick::decode(&*record.value).expect("a tick");
        assert_eq!(record.key.as_deref(), Some(tick.symbol.as_bytes()));
        gathered += usize::from(tick.prices.len() > 1);
        // The record holds the feed's next trades of that symbol; the last is what is seen of it.
        let of_symbol = feed.get_mut(&tick.symbol).expect("a symbol of the feed");
        let held = of_symbol.drain(..tick.prices.len().max(1)).next_back();
        assert_eq!(records.get(&place), held.as_ref(), "{place:?}");
    }
    assert!(gathered > 10, "records of several trades were among them");
    assert!(feed.values().all(Vec::is_empty), "and in them every trade of the feed");
}
