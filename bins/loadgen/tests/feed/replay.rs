//! Replays of a recorded feed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, now_ms, trades};
use crate::program::Program;

/// 30 frames of three trades each, of A, B and A, ten milliseconds apart.
fn recorded() -> Vec<String> {
    (0..30)
        .map(|frame| {
            let trade = |symbol: &str, index: i64| {
                let (time, price) = (1_600_000_000_000 + frame * 10, frame * 3 + index + 1);
                format!(r#"{{"c":null,"p":{price}.50,"s":"{symbol}","t":{time},"v":0.5}}"#)
            };
            let trades = [trade("A", 0), trade("B", 1), trade("A", 2)].join(",");
            format!(r#"{{"data":[{trades}],"type":"trade"}}"#)
        })
        .collect()
}

fn file(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("frames.ndjson");
    std::fs::write(&path, recorded().join("\n")).unwrap();
    path
}

fn replay(path: &Path, arguments: &[&str]) -> Program {
    let mut all = vec!["--file", path.to_str().unwrap()];
    all.extend(arguments);
    Program::start(&all)
}

#[tokio::test]
async fn a_replay_sends_the_file_as_it_is_and_then_only_pings() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--ping-every", "0.5"]);
    // Two clients: each has a replay of its own.
    for _ in 0..2 {
        let mut client = Client::follow(&program.url, &["B", "X", "A"]);
        for expected in recorded() {
            assert_eq!(client.raw().await, expected.as_bytes());
        }
        assert_eq!(&client.raw().await[..], br#"{"type":"ping"}"#);
        client.stop().await;
    }
}

#[tokio::test]
async fn only_the_trades_of_subscribed_symbols_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--speed", "0"]);
    let mut client = Client::follow(&program.url, &["a"]);
    for frame in 0..30_i64 {
        let prices: Vec<_> = client.trades().await.iter().map(|t| t["p"].as_f64()).collect();
        let first = (frame * 3 + 1) as f64 + 0.5;
        assert_eq!(prices, [Some(first), Some(first + 2.0)]);
    }
    assert_eq!(client.raw_within(Duration::from_millis(200)).await, None);
    client.stop().await;
}

#[tokio::test]
async fn rebased_trades_are_of_now() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--rebase-time", "--speed", "2"]);
    let mut client = Client::follow(&program.url, &["A", "B"]);
    for frame in 0..30 {
        let time = client.trades().await[0]["t"].as_i64().unwrap();
        let age = now_ms() - time;
        assert!((0..10_000).contains(&age), "frame {frame} is {age} ms old");
    }
    client.stop().await;
}

#[tokio::test]
async fn a_loop_goes_on_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--speed", "0", "--loop"]);
    let mut client = Client::follow(&program.url, &["A", "B"]);
    for _ in 0..10 {
        for expected in recorded() {
            assert_eq!(client.raw().await, expected.as_bytes());
        }
    }
    client.stop().await;
}

#[tokio::test]
async fn a_replay_that_is_dropped_goes_on_after_the_reconnect() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--drop-every", "7"]);
    let mut client = Client::follow(&program.url, &["A", "B"]);
    for expected in recorded() {
        assert_eq!(client.raw().await, expected.as_bytes());
    }
    assert_eq!(client.connects.load(std::sync::atomic::Ordering::Relaxed), 5);
    client.stop().await;
}

#[tokio::test]
async fn a_resumed_replay_goes_on_where_the_last_client_left_it() {
    let directory = tempfile::tempdir().unwrap();
    let program = replay(&file(&directory), &["--speed", "0.1", "--resume"]);
    let mut first = Client::follow(&program.url, &["A", "B"]);
    let all = recorded();
    assert_eq!(first.raw().await, all[0].as_bytes());
    first.stop().await;
    let mut second = Client::follow(&program.url, &["A", "B"]);
    let next = second.raw().await;
    let found = all.iter().position(|frame| next == frame.as_bytes());
    assert!(found.is_some_and(|index| (1..30).contains(&index)), "{found:?}");
    second.stop().await;
}

/// Real trades, where the recording that comes with the project's data is at hand.
#[tokio::test]
async fn the_real_recording_is_replayed_byte_for_byte() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("GOSTOCKS_SHARED_DATA")
        .map_or_else(|| here.join("../../../shared/data"), PathBuf::from);
    let path = data.join("btcusdt-2021-01-08.ndjson");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return;
    };
    let program = replay(&path, &["--speed", "0"]);
    let mut client = Client::follow(&program.url, &["BINANCE:BTCUSDT"]);
    let mut count = 0;
    for line in text.lines() {
        let frame = client.raw().await;
        assert_eq!(frame, line.as_bytes());
        count += trades(&frame).map_or(0, |trades: Vec<Value>| trades.len());
    }
    assert_eq!(count, 2_001);
    client.stop().await;
}

#[test]
fn a_file_that_is_no_recording_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.ndjson");
    std::fs::write(&empty, "\nnothing here\n").unwrap();
    for (path, sentence) in [
        (directory.path().join("absent.ndjson"), "No such file"),
        (empty, "no line is a frame of trades"),
    ] {
        let path = path.to_str().unwrap();
        let outcome = std::process::Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["feed", "--listen", "127.0.0.1:0", "--file", path])
            .output()
            .unwrap();
        let log = String::from_utf8(outcome.stdout).unwrap();
        assert_eq!(outcome.status.code(), Some(1));
        assert!(log.contains(sentence) && log.contains(path), "{log}");
    }
}
