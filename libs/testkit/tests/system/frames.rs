//! A table of frames, good and bad, through the real ingestor: each bad one is counted under its
//! reason, and nothing of it reaches the log.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::{Pipeline, Recording, eventually, kafka};

const T: i64 = 1_610_064_000_000;

#[derive(Clone, Copy)]
enum Outcome {
    /// Dropped as a whole, for this reason.
    Frame(&'static str),
    /// Its one trade is dropped, for this reason.
    Trade(&'static str),
    /// These are the prices of its trades.
    Prices(&'static [f64]),
    /// A trade is dropped for this reason; the others have these prices.
    Partly(&'static str, &'static [f64]),
}
use Outcome::{Frame, Partly, Prices, Trade};

fn table() -> Vec<(String, Outcome)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let ahead = i64::try_from(now).expect("before 292 million years") + 3_600_000;
    let good = |price: f64| json!({"c": null, "p": price, "s": "AAPL", "t": T, "v": 1});
    // One trade, with a member of it replaced by other JSON.
    let with = |name: &str, value: &str| {
        let mut members = vec![("p", "1.5"), ("s", "\"AAPL\""), ("t", "1610064000000"), ("v", "1")];
        members.retain(|member| member.0 != name);
        let mut text: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
        if !value.is_empty() {
            text.push(format!("\"{name}\":{value}"));
        }
        format!("{{\"data\":[{{{}}}],\"type\":\"trade\"}}", text.join(","))
    };
    let long = format!("\"{}\"", "A".repeat(65));
    let umlauts = format!("\"{}\"", "Ü".repeat(33));
    let deep = "[".repeat(200_000);
    let frames = [
        // Not JSON.
        ("not json", Frame("json")),
        ("{", Frame("json")),
        (r#"{"type":"ping"}}"#, Frame("json")),
        (r#"{"type":"ping"} {"type":"ping"}"#, Frame("json")),
        (r#"{"type":"ping",}"#, Frame("json")),
        (r#"{'type':'ping'}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"AAPL","p":NaN,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"AAPL","p":Infinity,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"AAPL","p":.5,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"AAPL","p":01,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"AA\qPL","p":1,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"type":"trade","data":[{"s":"\ud800","p":1,"t":1610064000000}]}"#, Frame("json")),
        (r#"{"data":[{"c":null,"p":1.5,"s":"AAPL","t":16"#, Frame("json")),
        (&deep, Frame("too_deep")),
        // Not a frame.
        ("null", Frame("not_object")),
        ("[]", Frame("not_object")),
        ("7", Frame("not_object")),
        (r#""trade""#, Frame("not_object")),
        ("{}", Frame("no_type")),
        (r#"{"type":null}"#, Frame("no_type")),
        (r#"{"type":7,"data":[]}"#, Frame("no_type")),
        (r#"{"Type":"ping"}"#, Frame("no_type")),
        (r#"{"type":"trade"}"#, Frame("no_data")),
        (r#"{"type":"trade","data":null}"#, Frame("no_data")),
        (r#"{"type":"trade","data":{}}"#, Frame("no_data")),
        // Frames of another kind.
        (r#"{"type":"news","data":[{"headline":"Markets open"}]}"#, Frame("unknown_type")),
        (r#"{"type":""}"#, Frame("unknown_type")),
        (r#"{"type":"TRADE","data":[]}"#, Frame("unknown_type")),
        (r#"{"type":"error","msg":"Subscribing to too many symbols"}"#, Frame("feed_error")),
        (r#"{"type":"error"}"#, Frame("feed_error")),
        (r#"{"type":"ping"}"#, Prices(&[])),
        (r#"{"type":"trade","data":[]}"#, Prices(&[])),
        // Something else than a trade.
        (r#"{"type":"trade","data":[null]}"#, Trade("shape")),
        (r#"{"type":"trade","data":["AAPL"]}"#, Trade("shape")),
        (&with("c", "5"), Trade("shape")),
        (&with("c", "[1]"), Trade("shape")),
        // A member that is missing or wrong.
        (&with("s", ""), Trade("symbol")),
        (&with("s", "null"), Trade("symbol")),
        (&with("s", "7"), Trade("symbol")),
        (&with("s", "\"\""), Trade("symbol")),
        (&with("s", &long), Trade("symbol")),
        (&with("s", &umlauts), Trade("symbol")),
        (&with("s", r#""A\nB""#), Trade("symbol")),
        (&with("s", r#""A\u0000""#), Trade("symbol")),
        (&with("p", ""), Trade("price")),
        (&with("p", "null"), Trade("price")),
        (&with("p", "0"), Trade("price")),
        (&with("p", "-0.0"), Trade("price")),
        (&with("p", "-39432.48"), Trade("price")),
        (&with("p", "\"1.5\""), Trade("price")),
        (&with("p", "1e-400"), Trade("price")),
        (&with("v", "-1"), Trade("volume")),
        (&with("v", "\"1\""), Trade("volume")),
        (&with("v", "[1]"), Trade("volume")),
        (&with("t", ""), Trade("timestamp")),
        (&with("t", "null"), Trade("timestamp")),
        (&with("t", "0"), Trade("timestamp")),
        (&with("t", "-1610064000000"), Trade("timestamp")),
        (&with("t", "1610064000000.5"), Trade("timestamp")),
        (&with("t", "\"1610064000000\""), Trade("timestamp")),
        (&with("t", "1e300"), Trade("timestamp_ahead")),
        (&with("t", &ahead.to_string()), Trade("timestamp_ahead")),
        (&with("t", "9223372036854775807"), Trade("timestamp_ahead")),
        // Odd, and good.
        (&with("p", "1e-5"), Prices(&[0.000_01])),
        (&with("p", "3.9432480e+4"), Prices(&[39_432.48])),
        (&with("v", ""), Prices(&[1.5])),
        (&with("v", "null"), Prices(&[1.5])),
        (&with("c", "[]"), Prices(&[1.5])),
        (&with("t", "1610064000000.0"), Prices(&[1.5])),
        (&with("s", r#""\u0061apl""#), Prices(&[1.5])),
        (&with("x", r#"{"deeper":[{"p":7,"s":"\"}]"}]}"#), Prices(&[1.5])),
        ("\t{ \"type\" :\r \"trade\" , \"data\" : [ ] }  ", Prices(&[])),
    ];
    let mut table: Vec<_> = frames.map(|(text, outcome)| (text.to_owned(), outcome)).into();
    // One bad trade drops that trade alone.
    let mixed =
        json!({"data": [good(2.5), {"s": "AAPL", "p": 0, "t": T}, good(3.5)], "type": "trade"});
    table.push((mixed.to_string(), Partly("price", &[2.5, 3.5])));
    table
}

#[test]
fn each_bad_frame_is_counted_under_its_reason_and_never_produced() {
    let table = table();
    let way = Pipeline::new(kafka().brokers(), "frames");
    let _feed = way.feed(
        &Recording::of(table.iter().map(|(text, _)| text.clone()).collect()),
        &["--speed", "0"],
    );
    let mut ingestor = way.ingestor("AAPL", &[]);

    let mut prices: Vec<f64> = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, outcome) in &table {
        let (kind, reason, good) = match *outcome {
            Frame(reason) => ("frames", reason, &[][..]),
            Trade(reason) => ("trades", reason, &[][..]),
            Partly(reason, good) => ("trades", reason, good),
            Prices(good) => {
                prices.extend(good);
                continue;
            }
        };
        prices.extend(good);
        let series = format!("gostocks_feed_{kind}_rejected_total{{reason=\"{reason}\"}}");
        *counts.entry(series).or_default() += 1;
    }
    way.wait_logged(prices.len());
    eventually(Duration::from_secs(10), "every frame is read", || {
        ingestor.metric("gostocks_feed_frames_total") as usize == table.len()
    });
    for (series, count) in counts {
        assert_eq!(ingestor.metric(&series) as usize, count, "{series}");
    }
    let logged: Vec<f64> = way.logged().into_iter().map(|trade| trade.price).collect();
    assert_eq!(logged, prices, "the good ones, in order");
    assert_eq!(ingestor.metric("gostocks_feed_trades_total") as usize, prices.len());
    assert!(ingestor.is_alive(), "none was fatal");
}
