use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use market::Trade;
use wire::tick::Decoder;

use super::*;

const RECEIVED: u64 = 1_700_000_000_000_000_000;

/// A log that keeps what it gets, decoded, and may fail.
#[derive(Default)]
struct Kept {
    records: RefCell<Vec<(String, Vec<Trade>)>>,
    /// This many records are taken, and then none.
    room: Option<usize>,
    /// For so many looks records are on their way.
    behind: Cell<usize>,
    failure: Option<DeliveryFailed>,
}

fn failed() -> DeliveryFailed {
    DeliveryFailed { topic: "market_ticks".to_owned(), reason: "it is full".to_owned() }
}

impl Log for Kept {
    fn send(
        &self,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
        arrival: Arrival,
    ) -> Result<(), DeliveryFailed> {
        assert!(headers.is_empty(), "nothing is traced");
        let mut records = self.records.borrow_mut();
        if self.room == Some(records.len()) {
            return Err(failed());
        }
        let mut decoder = Decoder::new();
        let record = decoder.decode(value).expect("a record decodes");
        assert_eq!(record.symbol(), key);
        let trades: Vec<_> = record.trades().collect();
        // Frames came a nanosecond apart.
        let after = |received_at| received_at - RECEIVED;
        let all: u64 = trades.iter().map(|trade| after(trade.received_at)).sum();
        let mean = all / trades.len() as u64;
        assert_eq!((after(arrival.received_at), arrival.trades), (mean, trades.len()));
        records.push((key.to_owned(), trades));
        Ok(())
    }

    fn has_on_its_way(&self, records: usize, _wait: Duration) -> bool {
        assert!(records >= BEHIND);
        let looks = self.behind.get();
        self.behind.set(looks.saturating_sub(1));
        looks > 0
    }

    fn failure(&self) -> Option<DeliveryFailed> {
        self.failure.clone()
    }
}

/// What becomes of these frames, all queued before the encoder starts.
fn encode(frames: &[&str], ticks_per_record: usize, log: &Kept) -> Result<(), DeliveryFailed> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (sender, mut receiver) = mpsc::channel(4_096);
    for (frame, received_at) in frames.iter().zip(RECEIVED..) {
        let payload = BytesMut::from(frame.as_bytes());
        sender.try_send(Received { payload, received_at }).expect("room");
    }
    drop(sender);
    let mut encoder = Encoder::new(ticks_per_record, Pace::new(Duration::ZERO));
    // However slow this machine is.
    encoder.gathers_at_most = Duration::from_secs(60);
    encoder.run(runtime.handle(), &mut receiver, log)
}

/// Records as `SYMBOL price price …`.
#[track_caller]
fn check(frames: &[&str], ticks_per_record: usize, expected: &[&str]) {
    let log = Kept::default();
    encode(frames, ticks_per_record, &log).expect("nothing is lost");
    let records = log.records.into_inner();
    let found: Vec<_> = records
        .iter()
        .map(|(symbol, trades)| {
            trades
                .iter()
                .fold(symbol.clone(), |text, trade| format!("{text} {}", trade.price.get()))
        })
        .collect();
    assert_eq!(found, expected);
}

fn frame(trades: &[(&str, &str)]) -> String {
    let trade = |(symbol, price): &(&str, &str)| {
        format!(r#"{{"c":["1"],"p":{price},"s":"{symbol}","t":1699999999999,"v":0.5}}"#)
    };
    let trades: Vec<_> = trades.iter().map(trade).collect();
    format!(r#"{{"data":[{}],"type":"trade"}}"#, trades.join(","))
}

#[test]
fn what_is_queued_becomes_one_record_a_symbol() {
    let first = frame(&[("AAPL", "1"), ("MSFT", "2")]);
    let second = frame(&[("aapl", "3"), ("AAPL", "4")]);
    check(&[&first, &second], 1_000, &["AAPL 1 3 4", "MSFT 2"]);
    check(&[&first, &second], 2, &["AAPL 1 3", "AAPL 4", "MSFT 2"]);
    check(&[&first, &second], 1, &["AAPL 1", "AAPL 3", "AAPL 4", "MSFT 2"]);
}

#[test]
fn bad_trades_and_frames_are_dropped_and_the_good_ones_kept() {
    let mixed =
        frame(&[("AAPL", "1"), ("AAPL", "-1"), ("", "2"), ("AAPL", "1e999"), ("AAPL", "3")]);
    let ahead = mixed.replace("1699999999999", "1700000060001");
    let good = frame(&[("AAPL", "4")]);
    let long = frame(&[(&"A".repeat(65), "5")]);
    let frames = [
        "",
        "not json",
        "[]",
        r#"{"type":"ping"}"#,
        r#"{"type":"error","msg":"Subscribing to too many symbols"}"#,
        r#"{"type":"news","data":[]}"#,
        r#"{"type":"trade","data":null}"#,
        &mixed,
        &ahead,
        &long,
        &good[..good.len() - 1],
        &good,
    ];
    check(&frames, 1_000, &["AAPL 1 3 4"]);
}

#[test]
fn a_trade_a_minute_ahead_is_the_last_that_is_taken() {
    let minute = frame(&[("A", "1")]).replace("1699999999999", "1700000060000");
    let later = frame(&[("A", "2")]).replace("1699999999999", "1700000060001");
    check(&[&minute, &later], 1_000, &["A 1"]);
}

#[test]
fn equal_trades_are_kept() {
    let one = frame(&[("A", "1")]);
    check(&[&one, &one, &one], 1_000, &["A 1 1 1"]);
}

#[test]
fn more_frames_than_a_round_takes_lose_nothing() {
    let frames: Vec<_> = (1..=3_000).map(|price| frame(&[("A", &price.to_string())])).collect();
    let log = Kept::default();
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    encode(&frames, 500, &log).expect("nothing is lost");
    let records = log.records.into_inner();
    assert!(records.iter().all(|(_, trades)| trades.len() <= 500));
    let prices = records.iter().flat_map(|(_, trades)| trades).map(|t| t.price.get());
    assert!(prices.eq((1..=3_000).map(f64::from)));
}

#[test]
fn while_the_log_is_behind_a_round_takes_what_arrives() {
    let frames: Vec<_> = (1..=3_000).map(|price| frame(&[("A", &price.to_string())])).collect();
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    let rounds = |looks| {
        let log = Kept { behind: Cell::new(looks), ..Kept::default() };
        encode(&frames, 10_000, &log).expect("nothing is lost");
        let records = log.records.into_inner();
        records.iter().map(|(_, trades)| trades.len()).collect::<Vec<_>>()
    };
    assert_eq!(rounds(0), [1_024, 1_024, 952]);
    assert_eq!(rounds(8), [1_024 + 8 * FRAMES_PER_LOOK, 1_024, 440]);
    assert_eq!(rounds(usize::MAX), [3_000], "the feed has ended");
    let log = Kept { behind: Cell::new(usize::MAX), failure: Some(failed()), ..Kept::default() };
    assert_eq!(encode(&frames, 10_000, &log).expect_err("failed").reason, "it is full");
}

/// An encoder whose rounds are a minute apart, unless the feed ends.
fn slow_paced() -> Encoder {
    let minute = Duration::from_secs(60);
    Encoder { gathers_at_most: minute, ..Encoder::new(10_000, Pace::always(minute)) }
}

#[test]
fn a_round_that_is_early_takes_what_arrives() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (sender, mut receiver) = mpsc::channel(1);
    let feed = std::thread::spawn(move || {
        for price in 1..=300 {
            let payload = BytesMut::from(frame(&[("A", &price.to_string())]).as_bytes());
            // As soon as the one before was taken.
            sender.blocking_send(Received { payload, received_at: RECEIVED }).expect("taken");
        }
    });
    let log = Kept::default();
    slow_paced().run(runtime.handle(), &mut receiver, &log).expect("nothing is lost");
    feed.join().expect("it ends");
    let records = log.records.into_inner();
    assert_eq!(records.len(), 1, "the round ends with the feed");
    assert_eq!(records[0].1.len(), 300);
}

#[test]
fn a_round_of_a_fast_feed_is_never_early() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (sender, mut receiver) = mpsc::channel(2_048);
    for _ in 0..1_500 {
        let payload = BytesMut::from(frame(&[("A", "1"), ("A", "2")]).as_bytes());
        sender.try_send(Received { payload, received_at: RECEIVED }).expect("room");
    }
    drop(sender);
    let log = Kept::default();
    slow_paced().run(runtime.handle(), &mut receiver, &log).expect("nothing is lost");
    let records = log.records.into_inner();
    let rounds: Vec<_> = records.iter().map(|(_, trades)| trades.len()).collect();
    assert_eq!(rounds, [FAST_ROUND, 3_000 - FAST_ROUND]);
}

#[test]
fn frames_without_a_trade_are_no_round() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut encoder = slow_paced();
    let began = encoder.sent;
    let mut sent_after = |text: &str| {
        let (sender, mut receiver) = mpsc::channel(1);
        let payload = BytesMut::from(text.as_bytes());
        sender.try_send(Received { payload, received_at: RECEIVED }).expect("room");
        drop(sender);
        let encoded = encoder.run(runtime.handle(), &mut receiver, &Kept::default());
        encoded.expect("nothing is lost");
        encoder.sent
    };
    for text in
        [r#"{"type":"ping"}"#, r#"{"type":"error","msg":"no"}"#, "{", &frame(&[("A", "-1")])]
    {
        assert_eq!(sent_after(text), began, "{text}");
    }
    assert!(sent_after(&frame(&[("A", "1")])) > began);
}

#[test]
fn a_large_round_is_sent_while_the_log_is_behind() {
    let frames: Vec<_> = (1..=3_000).map(|_| frame(&[("A", "1"); 10])).collect();
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    let log = Kept { behind: Cell::new(usize::MAX), ..Kept::default() };
    encode(&frames, 30_000, &log).expect("nothing is lost");
    let records = log.records.into_inner();
    let rounds: Vec<_> = records.iter().map(|(_, trades)| trades.len()).collect();
    let large = LARGE_ROUND.next_multiple_of(10);
    assert_eq!(rounds, [large, 30_000 - large]);
    // Not while its records are not full.
    let symbols: Vec<String> = (0..1_000).map(|number| format!("S{number}")).collect();
    let frames: Vec<_> = symbols.iter().map(|of| frame(&[(of.as_str(), "1"); 10])).collect();
    let frames: Vec<_> = frames.iter().cycle().take(3_000).map(String::as_str).collect();
    let log = Kept { behind: Cell::new(usize::MAX), ..Kept::default() };
    encode(&frames, 30_000, &log).expect("nothing is lost");
    let full = |(_, trades): &(String, Vec<Trade>)| trades.len() == 30;
    assert!(log.records.into_inner().iter().all(full), "one round");
}

#[test]
fn a_record_that_the_log_does_not_take_ends_it() {
    let log = Kept { room: Some(1), ..Kept::default() };
    let frames = [&*frame(&[("A", "1"), ("B", "2"), ("C", "3")])];
    assert_eq!(encode(&frames, 1_000, &log).expect_err("full").reason, "it is full");
    assert_eq!(log.records.into_inner().len(), 1);
}

#[test]
fn a_record_that_fails_later_is_noticed_while_the_feed_is_silent() {
    let log = Kept { failure: Some(failed()), ..Kept::default() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (sender, mut receiver) = mpsc::channel(1);
    let outcome =
        Encoder::new(1, Pace::new(Duration::ZERO)).run(runtime.handle(), &mut receiver, &log);
    assert_eq!(outcome.expect_err("failed").reason, "it is full");
    drop(sender);
}

#[test]
fn the_records_of_a_fast_feed_are_let_to_become_fuller() {
    let symbols: Vec<String> = (0..100).map(|number| format!("S{number}")).collect();
    // One round takes so many frames, unless its records are worth filling.
    let frames = FRAMES_PER_ROUND + 76;
    for (trades, ticks_per_record, expected) in
        [(1, 1_000, 100 + 76), (2, 1_000, 100), (2, 11, 200 + 76)]
    {
        let of = |symbol: &String| frame(&vec![(symbol.as_str(), "1"); trades]);
        let frames: Vec<String> = symbols.iter().cycle().take(frames).map(of).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let log = Kept::default();
        encode(&frames, ticks_per_record, &log).expect("nothing is lost");
        let records = log.records.into_inner();
        let kept: usize = records.iter().map(|(_, trades)| trades.len()).sum();
        assert_eq!(kept, frames.len() * trades);
        assert_eq!(records.len(), expected, "{trades} a frame, {ticks_per_record} a record");
    }
}
