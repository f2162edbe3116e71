//! Requests, good and bad, to a real gateway on a Redis that a real processor has written.

use prost::Message;
use rpc::seed::stock::StockTick;
use serde_json::json;
use testkit::{Pipeline, eventually, kafka, oracle};

const T: i64 = 1_610_064_000_000;

#[test]
fn each_request_gets_its_answer() {
    let mut way = Pipeline::new(kafka().brokers(), "requests");
    way.kafka().create_topic(way.topic(), 6);
    let mut gateway = way.gateway(&[]);
    gateway.wait_ready();
    let _processor = way.processor("processor-group");

    // From a producer of the original: three fields, and one record a trade.
    let symbols = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "A/B", "100%", "ZÜRICH", "?#&+"];
    let records = symbols.map(|symbol| {
        let tick = StockTick { symbol: symbol.to_owned(), price: 1.25, timestamp: T };
        (symbol, tick.encode_to_vec())
    });
    let records = records.iter().map(|(symbol, value)| (*symbol, value.as_slice()));
    way.kafka().produce(way.topic(), records);
    let redis = way.redis().address().to_owned();
    eventually(std::time::Duration::from_secs(30), "the prices are in Redis", || {
        oracle::stored(&redis).len() == symbols.len()
    });

    for (path, symbol) in [
        ("/price/AAPL", "AAPL"),
        ("/price/aapl", "AAPL"),
        ("/price/AAPL?cache=none", "AAPL"),
        ("/price/BINANCE:BTCUSDT", "BINANCE:BTCUSDT"),
        ("/price/binance%3abtcusdt", "BINANCE:BTCUSDT"),
        ("/price/IC%20MARKETS:1", "IC MARKETS:1"),
        ("/price/A%2FB", "A/B"),
        ("/price/100%25", "100%"),
        ("/price/Z%C3%9CRICH", "ZÜRICH"),
        ("/price/%3F%23&+", "?#&+"),
    ] {
        let (status, body) = way.get(path).expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        let members = [&body["symbol"], &body["price"], &body["timestamp"], &body["volume"]];
        assert_eq!(members, [&json!(symbol), &json!(1.25), &json!(T), &json!(0.0)], "{path}");
    }
    assert_eq!(way.get("/health"), Some((200, json!({"status": "ok", "service": "gateway"}))));

    let long = format!("/price/{}", "A".repeat(65));
    for (path, status, kind) in [
        ("/price/MSFT", 404, "unknown-symbol"),
        ("/price/IC+MARKETS:1", 404, "unknown-symbol"),
        ("/price/A/B", 404, "no-such-path"),
        ("/price/", 404, "no-such-path"),
        ("/price/100%", 400, "bad-symbol"),
        ("/price/%zz", 400, "bad-symbol"),
        ("/price/%FF", 400, "bad-symbol"),
        ("/price/A%00", 400, "bad-symbol"),
        ("/price/A%0AB", 400, "bad-symbol"),
        (&long, 400, "bad-symbol"),
    ] {
        let (found, body) = way.get(path).expect("an answer");
        let kind = json!(format!("/problems/{kind}"));
        assert_eq!((found, &body["type"]), (status, &kind), "{path}: {body}");
        assert_eq!(body["status"], status, "{path}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }

    way.redis().kill9();
    eventually(std::time::Duration::from_secs(10), "Redis is missed", || {
        matches!(way.get("/price/AAPL"), Some((503, _)))
    });
    assert_eq!(way.get("/price/%zz").map(|(status, _)| status), Some(400), "not for Redis to say");
    way.redis().restart();
    eventually(std::time::Duration::from_secs(10), "and found again", || {
        matches!(way.get("/price/AAPL"), Some((200, _)))
    });
}
