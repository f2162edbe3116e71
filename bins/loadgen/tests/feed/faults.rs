//! The feed's misbehaviour, when asked for.

use std::time::Duration;

use feed::DisconnectReason;

use crate::client::{Client, trades};
use crate::program::Program;

#[tokio::test]
async fn connections_are_dropped_every_so_many_frames() {
    let program = Program::start(&["--rate", "10000", "--drop-every", "200"]);
    let mut client = Client::follow(&program.url, &["AAPL"]);
    for _ in 0..600 {
        client.trades().await;
    }
    client.wait_disconnects(DisconnectReason::Lost, 3).await;
    client.stop().await;
}

#[tokio::test]
async fn a_stalled_connection_says_nothing_more_and_stays() {
    let arguments = ["--rate", "1000", "--stall-after", "5", "--ping-every", "0.01"];
    let program = Program::start(&arguments);
    let mut client = Client::follow(&program.url, &["AAPL"]);
    for _ in 0..5 {
        client.trades().await;
    }
    assert_eq!(client.raw_within(Duration::from_millis(300)).await, None);
    assert_eq!(client.disconnects(DisconnectReason::Lost), 0);
    client.stop().await;
}

#[tokio::test]
async fn frames_come_three_times() {
    let program = Program::start(&["--triplicate", "--rate", "1000"]);
    let mut client = Client::follow(&program.url, &["AAPL"]);
    for _ in 0..20 {
        let frame = client.raw().await;
        assert_eq!(client.raw().await, frame);
        assert_eq!(client.raw().await, frame);
    }
    client.stop().await;
}

#[tokio::test]
async fn garbage_comes_between_good_frames() {
    let program = Program::start(&["--garbage-every", "1", "--rate", "10000"]);
    let mut client = Client::follow(&program.url, &["AAPL"]);
    let (mut good, mut garbage) = (0, 0);
    while good < 100 {
        match trades(&client.raw().await) {
            Some(_) => good += 1,
            None => garbage += 1,
        }
    }
    // All but the text that is not UTF-8, which the client skips.
    assert!((90..=105).contains(&garbage), "{garbage}");
    assert_eq!(client.connects.load(std::sync::atomic::Ordering::Relaxed), 1);
    client.stop().await;
}

#[tokio::test]
async fn times_run_backwards() {
    let program = Program::start(&["--backwards", "--rate", "10000"]);
    let mut client = Client::follow(&program.url, &["AAPL"]);
    let mut times = Vec::new();
    while times.len() < 1_000 {
        times.extend(client.trades().await.iter().map(|trade| trade["t"].as_i64().unwrap()));
    }
    assert!(times.windows(2).any(|pair| pair[1] < pair[0]));
    client.stop().await;
}

#[tokio::test]
async fn a_second_connection_of_a_token_drops_both() {
    let program = Program::start(&["--second-connection", "drop-both", "--rate", "1000"]);
    let url = format!("{}/?token=mine", program.url);
    let mut first = Client::follow(&url, &["AAPL"]);
    first.trades().await;
    let other = Client::follow(&format!("{}/?token=theirs", program.url), &["AAPL"]);
    let second = Client::follow(&url, &["AAPL"]);
    first.wait_disconnects(DisconnectReason::Lost, 1).await;
    second.wait_disconnects(DisconnectReason::Lost, 1).await;
    assert_eq!(other.disconnects(DisconnectReason::Lost), 0);
    for client in [first, second, other] {
        client.stop().await;
    }
}

#[tokio::test]
async fn handshakes_are_answered_with_the_status_asked_for() {
    let program = Program::start(&["--refuse-with", "200"]);
    let client = Client::follow(&program.url, &["AAPL"]);
    client.wait_disconnects(DisconnectReason::Refused, 2).await;
    client.stop().await;
}
