//! A feed that was not made with the project, in Python: it sends garbage between its frames and
//! drops the connection every few hundred of them. Everything valid arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use testkit::oracle::LoggedTrade;
use testkit::{Pipeline, Program, kafka, python};

/// Over three of its connections' worth.
const TRADES: u32 = 2_000;
const SYMBOLS: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];

/// The `n`-th trade that `foreign_feed.py` sends.
fn trade(n: u32) -> LoggedTrade {
    LoggedTrade {
        symbol: SYMBOLS[n as usize % 7 % 3].to_owned(),
        price: 100.0 + f64::from(n) / 100.0,
        volume: f64::from(n % 5),
        timestamp: 1_610_064_000_000 + i64::from(n),
    }
}

#[test]
fn everything_valid_arrives_from_a_feed_that_is_neither_ours_nor_well() {
    let way = Pipeline::new(kafka().brokers(), "foreign");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/foreign_feed.py");
    let mut command = Command::new(python());
    command.arg(script).arg(way.feed_port().to_string()).arg(TRADES.to_string());
    let mut feed = Program::start_foreign("foreign-feed", command);
    feed.wait_for_log("listening");
    let mut ingestor = way.ingestor(&SYMBOLS.join(","), &[]);
    feed.wait_for_log("all sent");

    // Each has a time of its own, and what was sent again is equal to what it was before.
    let sent: BTreeMap<i64, LoggedTrade> =
        (0..TRADES).map(trade).map(|trade| (trade.timestamp, trade)).collect();
    let mut arrived = BTreeSet::new();
    testkit::eventually(std::time::Duration::from_secs(60), "everything valid arrives", || {
        let logged = way.logged();
        for trade in &logged {
            assert_eq!(sent.get(&trade.timestamp), Some(trade), "nothing else arrives");
        }
        arrived = logged.iter().map(|trade| trade.timestamp).collect();
        arrived.len() == sent.len()
    });

    assert!(ingestor.is_alive(), "it never ended");
    assert!(ingestor.metric("gostocks_feed_connects_total") >= 6.0, "it came back each time");
    for reason in ["closed", "lost", "too_long"] {
        let series = format!("gostocks_feed_disconnects_total{{reason=\"{reason}\"}}");
        assert!(ingestor.metric(&series) >= 1.0, "{reason}");
    }
    let frames = ["json", "too_deep", "not_object", "no_type", "no_data", "unknown_type"];
    for reason in frames.into_iter().chain(["feed_error", "not_utf8"]) {
        let series = format!("gostocks_feed_frames_rejected_total{{reason=\"{reason}\"}}");
        assert!(ingestor.metric(&series) >= 1.0, "{reason}");
    }
    for reason in ["shape", "symbol", "price", "volume", "timestamp", "timestamp_ahead"] {
        let series = format!("gostocks_feed_trades_rejected_total{{reason=\"{reason}\"}}");
        assert!(ingestor.metric(&series) >= 1.0, "{reason}");
    }
    assert!(!ingestor.log().contains("SECRET"), "the token is in no log");
}
