//! The synthetic market and the protocol around it.

use std::process::Command;
use std::time::{Duration, Instant};

use feed::DisconnectReason;

use crate::client::{Client, now_ms};
use crate::program::Program;

const DEFAULT: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];

#[tokio::test]
async fn subscribed_symbols_trade_now() {
    let program = Program::start(&["--rate", "1000"]);
    let mut client = Client::follow(&program.url, &DEFAULT);
    let mut seen = std::collections::HashMap::<String, u32>::new();
    for _ in 0..100 {
        let trades = client.trades().await;
        assert_eq!(trades.len(), 4);
        for trade in trades {
            let age = now_ms() - trade["t"].as_i64().unwrap();
            assert!((0..5_000).contains(&age), "{age} ms old");
            *seen.entry(trade["s"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let mut names: Vec<_> = seen.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, DEFAULT);
    client.stop().await;
}

#[tokio::test]
async fn the_rate_is_kept() {
    let program = Program::start(&["--rate", "20000", "--trades-per-frame", "10"]);
    let mut client = Client::follow(&program.url, &DEFAULT);
    client.trades().await;
    let began = Instant::now();
    let mut trades = 0;
    while trades < 60_000 {
        trades += client.trades().await.len();
    }
    // Where it stood still before, it makes up for that: so not a single second is looked at.
    let took = began.elapsed().as_secs_f64();
    assert!((2.4..4.5).contains(&took), "three seconds' trades took {took:.2} s");
    client.stop().await;
}

#[tokio::test]
async fn past_the_limit_finnhubs_error_is_sent() {
    let program = Program::start(&["--max-symbols", "2"]);
    let mut client = Client::follow(&program.url, &DEFAULT);
    let mut error = None;
    let mut seen = std::collections::HashSet::new();
    while error.is_none() || seen.len() < 2 {
        let raw = client.raw().await;
        match crate::client::trades(&raw) {
            Some(trades) => seen.extend(trades.iter().map(|t| t["s"].to_string())),
            None => error = Some(String::from_utf8(raw.to_vec()).unwrap()),
        }
    }
    let expected = r#"{"type":"error","msg":"Subscribing to too many symbols"}"#;
    assert_eq!(error.as_deref(), Some(expected));
    assert!(!seen.contains("\"IC MARKETS:1\""));
    client.stop().await;
}

#[tokio::test]
async fn pings_come_also_where_nothing_trades() {
    let program = Program::start(&["--ping-every", "0.05", "--symbols-count", "1"]);
    let mut client = Client::follow(&program.url, &["TSLA"]);
    for _ in 0..3 {
        assert_eq!(&client.raw().await[..], br#"{"type":"ping"}"#);
    }
    client.stop().await;
}

#[tokio::test]
async fn only_the_token_that_was_asked_for_gets_in() {
    let program = Program::start(&["--token", "right"]);
    let wrong = Client::follow(&format!("{}/?token=wrong", program.url), &DEFAULT);
    wrong.wait_disconnects(DisconnectReason::Refused, 2).await;
    wrong.stop().await;
    let mut right = Client::follow(&format!("{}/any/path?x=1&token=right", program.url), &DEFAULT);
    right.trades().await;
    right.stop().await;
}

#[tokio::test]
async fn sigterm_closes_what_is_open() {
    let mut program = Program::start(&[]);
    let mut client = Client::follow(&program.url, &DEFAULT);
    client.trades().await;
    let status = tokio::task::spawn_blocking(move || program.terminate()).await.unwrap();
    assert!(status.success());
    client.wait_disconnects(DisconnectReason::Closed, 1).await;
    client.stop().await;
}

#[tokio::test]
async fn two_clients_see_the_same_trades() {
    let program = Program::start(&["--rate", "1000", "--seed", "7"]);
    let mut first = Client::follow(&program.url, &["AAPL"]);
    let mut second = Client::follow(&program.url, &["AAPL"]);
    for _ in 0..50 {
        let (one, two) = (first.trades().await, second.trades().await);
        for (one, two) in one.iter().zip(&two) {
            assert_eq!((&one["p"], &one["v"]), (&two["p"], &two["v"]));
        }
    }
    first.stop().await;
    second.stop().await;
}

#[test]
fn the_markets_symbols_are_listed_as_settings_want_them() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap()
    };
    let listed = run(&["symbols", "4"]);
    assert_eq!(listed.stdout, b"AAPL,BINANCE:BTCUSDT,IC MARKETS:1,SIM00004\n");
    assert_eq!(run(&["symbols", "0"]).status.code(), Some(2));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let program = Program::start(&[]);
    let address = program.url.trim_start_matches("ws://");
    let second = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["feed", "--listen", address])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8(second.stdout).unwrap();
    assert!(log.contains(&format!("--listen {address}")), "{log}");
}

/// Not a benchmark, only the floor that one needs: more than what any consumer here takes.
#[tokio::test]
async fn more_than_a_million_trades_a_second_can_be_sent() {
    let program = Program::start(&["--rate", "10000000", "--trades-per-frame", "50"]);
    let mut client = Client::follow(&program.url, &DEFAULT);
    client.trades().await;
    let began = Instant::now();
    let mut trades = 0_u64;
    while began.elapsed() < Duration::from_secs(1) {
        client.raw().await;
        trades += 50;
    }
    println!("{trades} trades in a second");
    // On an idle machine some millions; this one may be busy with other tests.
    assert!(trades > 200_000, "{trades} trades in a second");
    client.stop().await;
}
