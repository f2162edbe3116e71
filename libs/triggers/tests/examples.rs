//! What fires, by example.

use market::{Price, Sequence, Trade, Volume};
use triggers::{AlertId, Armed, Arming, Condition, Firing, HistoryError, Partition};

const RING: usize = 4;

fn price(value: f64) -> Price {
    Price::new(value).expect("a test's price is positive")
}

fn trade(timestamp: i64, value: f64) -> Trade {
    Trade { price: price(value), volume: Volume::ZERO, timestamp, received_at: 0 }
}

fn condition(text: &str) -> Condition {
    let (side, value) = text.split_once(' ').expect("a side and a price");
    let target = price(value.parse().expect("a price"));
    match side {
        "above" => Condition::Above(target),
        "below" => Condition::Below(target),
        _ => panic!("no side: {side}"),
    }
}

fn alert(id: i64, text: &str, armed_at: i64) -> Armed {
    Armed { id: AlertId(id), generation: 1, condition: condition(text), armed_at }
}

/// Evaluates a trade a record, from `offset` on.
fn read(partition: &mut Partition, offset: i64, trades: &[(i64, f64)]) -> Vec<Firing> {
    let mut fired = Vec::new();
    let symbol = partition.intern("AAPL");
    for (offset, (timestamp, value)) in (offset..).zip(trades) {
        let sequence = Sequence { offset, index: 0 };
        partition.evaluate(symbol, &trade(*timestamp, *value), sequence, &mut fired);
        partition.advance(offset + 1);
    }
    fired
}

fn arm(partition: &mut Partition, alert: Armed) -> (Arming, Vec<Firing>) {
    let mut fired = Vec::new();
    let arming = partition.arm("AAPL", alert, &mut fired);
    (arming, fired)
}

fn texts(fired: &[Firing]) -> Vec<String> {
    fired.iter().map(|firing| format!("fires at {}", firing.price.get())).collect()
}

/// The alert is armed before the first trade; trades are a second apart.
#[track_caller]
fn check(text: &str, prices: &[f64], expected: &[&str]) {
    let trades: Vec<_> = (1_000..).step_by(1_000).zip(prices.iter().copied()).collect();
    check_timed(text, &trades, expected);
}

#[track_caller]
fn check_timed(text: &str, trades: &[(i64, f64)], expected: &[&str]) {
    let mut partition = Partition::new(RING);
    assert_eq!(arm(&mut partition, alert(1, text, 0)), (Arming::Armed, Vec::new()));
    assert_eq!(texts(&read(&mut partition, 0, trades)), expected, "{text}: {trades:?}");
}

#[test]
fn levels() {
    check("above 100", &[99.0, 100.0], &["fires at 100"]);
    check("above 100", &[99.0, 99.99], &[]);
    check("above 100", &[101.0], &["fires at 101"]); // no crossing is needed
    check("above 100", &[100.0, 101.0, 99.0, 102.0], &["fires at 100"]); // once
    check("below 100", &[101.0, 100.0], &["fires at 100"]);
    check("below 100", &[100.01], &[]);
    check("below 100", &[0.01, 5.0], &["fires at 0.01"]);
}

#[test]
fn a_late_trade_does_not_fire() {
    check_timed("above 100", &[(2_000, 99.0), (1_999, 100.0)], &[]);
    check_timed("above 100", &[(2_000, 99.0), (2_000, 100.0)], &["fires at 100"]); // equal time
    check_timed("above 100", &[(9, 99.0), (8, 101.0), (8, 102.0), (10, 103.0)], &["fires at 103"]);
    // One that is far ahead makes the others late.
    check_timed("below 100", &[(9_000, 101.0), (2_000, 99.0), (3_000, 98.0)], &[]);
}

/// The prices 10, 20, 30, … at the offsets 0, 1, 2, … are read; the ring holds four.
fn read_to(next_offset: i64) -> Partition {
    let mut partition = Partition::new(RING);
    let trades: Vec<_> = (1..=next_offset).map(|n| (n * 1_000, n as f64 * 10.0)).collect();
    read(&mut partition, 0, &trades);
    partition
}

#[track_caller]
fn check_arming(text: &str, armed_at: i64, expected: Arming, fires: &[&str]) {
    let (arming, fired) = arm(&mut read_to(10), alert(1, text, armed_at));
    assert_eq!((arming, texts(&fired)), (expected, fires.iter().map(|s| s.to_string()).collect()));
}

#[test]
fn an_alert_sees_the_trades_from_its_arming_on() {
    check_arming("above 80", 10, Arming::Armed, &[]);
    check_arming("above 80", 9, Arming::Fired, &["fires at 100"]);
    check_arming("above 80", 6, Arming::Fired, &["fires at 80"]); // the first, not the newest
    check_arming("above 80", 5, Arming::Behind { from: 4 }, &[]); // the ring begins at 6
    check_arming("below 60", 6, Arming::Armed, &[]);
}

#[test]
fn an_alert_armed_ahead_waits() {
    let mut partition = read_to(2);
    assert_eq!(arm(&mut partition, alert(1, "above 5", 3)).0, Arming::Armed);
    assert_eq!(texts(&read(&mut partition, 2, &[(5_000, 30.0)])), [""; 0]);
    assert_eq!(texts(&read(&mut partition, 3, &[(6_000, 40.0)])), ["fires at 40"]);
}

#[test]
fn of_two_generations_the_higher_counts() {
    let mut partition = read_to(2);
    let (mut old, mut new) = (alert(1, "above 50", 2), alert(1, "above 60", 2));
    (old.generation, new.generation) = (1, 2);
    assert_eq!(arm(&mut partition, new).0, Arming::Armed);
    assert_eq!(arm(&mut partition, old).0, Arming::Armed);
    partition.disarm(AlertId(1), 1);
    assert_eq!(partition.armed(), 1);
    let fired = read(&mut partition, 2, &[(5_000, 55.0), (6_000, 65.0)]);
    assert_eq!(
        fired.iter().map(|f| (f.generation, f.price.get())).collect::<Vec<_>>(),
        [(2, 65.0)]
    );
    // It stays known, so that an old copy of its row is no news, until it is disarmed.
    assert_eq!(arm(&mut partition, new), (Arming::Fired, Vec::new()));
    assert_eq!(partition.armed(), 0);
    partition.disarm(AlertId(1), 2);
    new.armed_at = 4;
    assert_eq!(arm(&mut partition, new).0, Arming::Armed);
}

#[test]
fn a_partition_resumes_where_its_history_ends() {
    let partition = read_to(10);
    let mut restored = Partition::restore(&partition.history(), RING).expect("a history");
    assert_eq!(restored.next_offset(), Some(10));
    assert_eq!(restored.history(), partition.history());
    assert_eq!(arm(&mut restored, alert(1, "above 80", 10)).0, Arming::Armed);
    assert_eq!(arm(&mut restored, alert(2, "above 80", 9)).0, Arming::Behind { from: 4 });
    // Late still, and seen before still.
    assert_eq!(read(&mut restored, 10, &[(9_999, 100.0)]), []);
    assert_eq!(read(&mut restored, 9, &[(90_000, 100.0)]), []);
    assert_eq!(texts(&read(&mut restored, 11, &[(10_000, 90.0)])), ["fires at 90"]);
    assert_eq!(Partition::new(RING).next_offset(), None);
}

#[test]
fn a_history_that_is_damaged_or_of_another_version_is_refused() {
    let good = read_to(10).history();
    let refused = |bytes: &[u8]| Partition::restore(bytes, RING).expect_err("not a history");
    assert!(matches!(refused(&[]), HistoryError::Damaged(_)));
    for length in 16..good.len() {
        assert!(matches!(refused(&good[..length]), HistoryError::Damaged(_)), "{length} bytes");
    }
    for at in 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(matches!(refused(&bad), HistoryError::Damaged(_)), "byte {at}");
    }
    let mut newer = good;
    newer[0] = 2;
    assert_eq!(refused(&newer), HistoryError::Version { found: 2 });
}

#[test]
fn a_hundred_thousand_alerts_of_one_price_fire_at_once() {
    let mut partition = Partition::new(RING);
    let count = 100_000;
    for id in 0..count {
        assert_eq!(arm(&mut partition, alert(id, "above 100", 0)).0, Arming::Armed);
    }
    let mut ids: Vec<i64> =
        read(&mut partition, 0, &[(1, 99.0), (2, 100.0)]).iter().map(|f| f.id.0).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..count));
    assert_eq!(partition.armed(), 0);
}

#[test]
fn an_alert_takes_less_than_64_bytes() {
    let mut partition = Partition::new(RING);
    for symbol in 0..50 {
        partition.intern(&symbol.to_string());
    }
    for id in 0..200_000i64 {
        let spread = 1.0 + (id.wrapping_mul(2_654_435_761) % 100_003) as f64;
        let side = if id % 2 == 0 { "above" } else { "below" };
        let symbol = (id % 50).to_string();
        let alert = alert(id, &format!("{side} {spread}"), 0);
        assert_eq!(partition.arm(&symbol, alert, &mut Vec::new()), Arming::Armed);
        assert!(id < 20_000 || partition.bytes() < 64 * id as usize, "{id}: {}", partition.bytes());
    }
}
