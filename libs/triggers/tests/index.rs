//! How alerts come and go, by example. What fires is in `conditions.rs`.

#[path = "row/mod.rs"]
mod row;

use market::{Price, Sequence, Trade, Volume};
use proptest::prelude::*;
use row::{Row, aligned};
use triggers::{
    AlertId, Armed, Arming, Condition, Firing, HistoryError, Partition, Percent, PriceRange,
    Repeat, SnapshotError, Terms, Version,
};

const RING: usize = 4;

fn price(value: f64) -> Price {
    Price::new(value).expect("a test's price is positive")
}

fn trade(timestamp: i64, value: f64) -> Trade {
    Trade { price: price(value), volume: Volume::ZERO, timestamp, received_at: 0 }
}

fn once(condition: Condition) -> Terms {
    Terms::new(condition, None).expect("good terms")
}

fn every(condition: Condition, cooldown: u32) -> Terms {
    Terms::new(condition, Some(Repeat { cooldown, hysteresis: None })).expect("good terms")
}

fn above(value: f64) -> Terms {
    once(Condition::Above(price(value)))
}

fn below(value: f64) -> Terms {
    once(Condition::Below(price(value)))
}

fn alert(id: i64, terms: Terms, armed_at: i64) -> Armed {
    Row::new(id, terms, Sequence::of_record(armed_at)).armed().expect("it is active")
}

/// Evaluates a trade a record, from `offset` on.
fn read(partition: &mut Partition, offset: i64, trades: &[(i64, f64)]) -> Vec<Firing> {
    let mut fired = Vec::new();
    let symbol = partition.intern("AAPL").expect("few symbols");
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

fn prices(fired: &[Firing]) -> Vec<f64> {
    fired.iter().map(|firing| firing.price.get()).collect()
}

/// The prices 10, 20, 30, … at the offsets 0, 1, 2, … are read; the ring holds four.
fn read_to(next_offset: i64) -> Partition {
    let mut partition = Partition::new(RING);
    let trades: Vec<_> = (1..=next_offset).map(|n| (n * 1_000, n as f64 * 10.0)).collect();
    read(&mut partition, 0, &trades);
    partition
}

#[track_caller]
fn check_arming(terms: Terms, armed_at: i64, expected: Arming, fires: &[f64]) {
    let (arming, fired) = arm(&mut read_to(10), alert(1, terms, armed_at));
    assert_eq!((arming, prices(&fired)), (expected, fires.to_vec()));
}

#[test]
fn an_alert_sees_the_trades_from_its_arming_on() {
    check_arming(above(80.0), 10, Arming::Armed, &[]);
    check_arming(above(80.0), 9, Arming::Fired, &[100.0]);
    check_arming(above(80.0), 6, Arming::Fired, &[80.0]); // the first, not the newest
    check_arming(above(80.0), 5, Arming::Behind, &[]); // the ring begins at 6
    check_arming(below(60.0), 6, Arming::Armed, &[]);
    let crosses = Condition::CrossesAbove(price(70.0));
    check_arming(once(crosses), 6, Arming::Fired, &[70.0]); // 60 is before the ring
    check_arming(
        every(Condition::RisesPercent(percent(10.0)), 0),
        6,
        Arming::Armed,
        &[80.0, 100.0],
    );
}

fn percent(value: f64) -> Percent {
    Percent::new(value).expect("a percent")
}

#[test]
fn an_alert_armed_ahead_waits() {
    let mut partition = read_to(2);
    assert_eq!(arm(&mut partition, alert(1, above(5.0), 3)).0, Arming::Armed);
    assert_eq!(read(&mut partition, 2, &[(5_000, 30.0)]), []);
    assert_eq!(prices(&read(&mut partition, 3, &[(6_000, 40.0)])), [40.0]);
}

#[test]
fn of_two_versions_the_later_counts() {
    let mut partition = read_to(2);
    let (old, mut new) = (alert(1, above(50.0), 2), alert(1, above(60.0), 2));
    new.version = Version { revision: 1, generation: 2 };
    assert_eq!(arm(&mut partition, new).0, Arming::Armed);
    assert_eq!(arm(&mut partition, old).0, Arming::Armed);
    partition.disarm(old.id, old.version);
    assert_eq!(partition.armed(), 1);
    let fired = read(&mut partition, 2, &[(5_000, 55.0), (6_000, 65.0)]);
    assert_eq!((fired[0].version, prices(&fired)), (new.version, vec![65.0]));
    // It stays known, so that an old copy of its row is no news, until it is disarmed.
    assert_eq!(arm(&mut partition, new), (Arming::Fired, Vec::new()));
    assert_eq!(partition.armed(), 0);
    partition.disarm(new.id, new.version);
    new.armed_at = Sequence::of_record(4);
    new.judged_to = new.armed_at;
    assert_eq!(arm(&mut partition, new).0, Arming::Armed);
}

/// Between a firing and its commit somebody changes the row: what follows of the old alert is not
/// the new one's.
#[test]
fn a_change_counts_before_the_generations_of_firings() {
    let mut partition = read_to(2);
    let terms = every(Condition::Above(price(50.0)), 0);
    assert_eq!(arm(&mut partition, alert(1, terms, 2)).0, Arming::Armed);
    let fired = read(&mut partition, 2, &[(5_000, 50.0), (6_000, 40.0), (7_000, 50.0)]);
    let versions: Vec<Version> = fired.iter().map(|firing| firing.version).collect();
    assert_eq!(versions, [1, 2].map(|generation| Version { revision: 0, generation }));
    let mut changed = alert(1, above(60.0), 5);
    changed.version = Version { revision: 1, generation: 2 };
    assert_eq!(arm(&mut partition, changed).0, Arming::Armed);
    let fired = read(&mut partition, 5, &[(8_000, 40.0), (9_000, 55.0), (10_000, 60.0)]);
    assert_eq!((fired[0].version, prices(&fired)), (changed.version, vec![60.0]));
}

/// Of one alert a store may keep the last that it is told.
#[test]
fn what_is_taken_over_hides_no_progress_of_a_later_version() {
    let rises = once(Condition::RisesPercent(percent(50.0)));
    let mut partition = read_to(10);
    let old = alert(1, rises, 2);
    assert_eq!(arm(&mut partition, old).0, Arming::Behind);
    let mut behind = partition.rewind(2);
    assert_eq!(arm(&mut behind, old).0, Arming::Armed);
    read(&mut behind, 0, &[(1_000, 10.0), (2_000, 20.0), (3_000, 30.0)]);

    // Changed while the log is read again, it sees a price before the old one is taken over.
    let mut new = alert(1, rises, 10);
    new.version = Version { revision: 1, generation: 2 };
    assert_eq!(arm(&mut partition, new).0, Arming::Armed);
    read(&mut partition, 10, &[(11_000, 100.0)]);
    read(&mut behind, 3, &[(4_000, 40.0), (5_000, 40.0), (6_000, 40.0), (7_000, 40.0)]);
    assert!(partition.absorb(&mut behind, &mut Vec::new()));
    let told = partition.take_progress();
    let last = told.last().expect("a reference");
    assert_eq!((last.version, last.reference), (new.version, Some(price(100.0))));
    assert_eq!(told.len(), 1, "{told:?}");
}

/// The other way round: what the changed one saw in the log that is read again is the last.
#[test]
fn what_is_taken_over_comes_after_the_progress_of_an_earlier_version() {
    let rises = once(Condition::RisesPercent(percent(900.0)));
    let mut partition = read_to(9);
    assert_eq!(arm(&mut partition, alert(1, rises, 9)).0, Arming::Armed);
    read(&mut partition, 9, &[(10_000, 100.0)]);
    let mut new = alert(1, rises, 2);
    new.version = Version { revision: 1, generation: 2 };
    assert_eq!(arm(&mut partition, new).0, Arming::Behind);
    let mut behind = partition.rewind(2);
    assert_eq!(arm(&mut behind, new).0, Arming::Armed);
    let next = behind.next_offset().unwrap_or(0);
    let trades: Vec<_> = (next + 1..=8).map(|n| (n * 1_000, n as f64 * 10.0)).collect();
    read(&mut behind, next, &trades);
    assert!(partition.absorb(&mut behind, &mut Vec::new()));
    let last = partition.take_progress().pop().expect("a reference");
    assert_eq!((last.version, last.reference), (new.version, Some(price(30.0))));
}

#[test]
fn a_partition_resumes_where_its_history_ends() {
    let partition = read_to(10);
    let mut restored = Partition::restore(&partition.history(), RING).expect("a history");
    assert_eq!(restored.next_offset(), Some(10));
    assert_eq!(restored.history(), partition.history());
    assert_eq!(arm(&mut restored, alert(1, above(80.0), 10)).0, Arming::Armed);
    assert_eq!(arm(&mut restored, alert(2, above(80.0), 9)).0, Arming::Behind);
    // From the newest mark before that.
    assert_eq!(restored.rewind(9).next_offset(), Some(4));
    // Late still, and seen before still.
    assert_eq!(read(&mut restored, 10, &[(9_999, 100.0)]), []);
    assert_eq!(read(&mut restored, 9, &[(90_000, 100.0)]), []);
    assert_eq!(prices(&read(&mut restored, 11, &[(10_000, 90.0)])), [90.0]);
    assert_eq!(Partition::new(RING).next_offset(), None);
}

#[test]
fn what_an_alert_slept_through_is_not_its_best_price_after_a_restart() {
    let mut partition = Partition::new(RING);
    let drop = Condition::TrailingDrop(percent(10.0));
    let (mut sleeper, other) =
        (Row::new(1, every(drop, 3_000), Sequence::of_record(0)), alert(2, once(drop), 3));
    let mut fired = Vec::new();
    for armed in [sleeper.armed().expect("active"), other] {
        assert_eq!(arm(&mut partition, armed).0, Arming::Armed);
    }
    // The first fires, and sleeps while the second sees 120.
    let trades = [(1_000, 100.0), (2_000, 90.0), (2_500, 90.0), (3_000, 120.0), (5_000, 115.0)];
    fired.extend(read(&mut partition, 0, &trades));
    fired.iter().for_each(|firing| sleeper.admit(firing));
    assert_eq!((prices(&fired), sleeper.asleep_until), (vec![90.0], 5_000));

    let mut restored = Partition::restore(&partition.history(), RING).expect("a history");
    for armed in [sleeper.armed().expect("active"), other] {
        let judged_to = Sequence::of_record(5);
        assert_eq!(arm(&mut restored, Armed { judged_to, ..armed }).0, Arming::Armed);
    }
    restored.settle();
    let ids = |fired: Vec<Firing>| fired.iter().map(|firing| firing.id.0).collect::<Vec<_>>();
    for partition in [&mut partition, &mut restored] {
        assert_eq!(ids(read(partition, 5, &[(6_000, 108.0)])), [2], "120 less 10 percent");
        assert_eq!(ids(read(partition, 6, &[(7_000, 103.5)])), [1], "115 less 10 percent");
    }
}

#[test]
fn a_history_that_is_damaged_or_of_another_version_is_refused() {
    let mut partition = read_to(10);
    for drop in [1.0, 50.0] {
        let terms = once(Condition::TrailingDrop(percent(drop)));
        let _ = arm(&mut partition, alert(drop as i64, terms, 9));
    }
    let good = partition.history();
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
    let mut older = good;
    older[0] = 1;
    assert_eq!(refused(&older), HistoryError::Version { found: 1 });
}

/// One of each place that an alert can be in.
fn with_every_kind() -> Partition {
    let mut partition = read_to(10);
    let range = PriceRange::new(price(90.0), price(110.0)).expect("a range");
    for (id, terms, armed_at) in [
        (1, above(500.0), 10),
        (2, once(Condition::LeavesRange(range)), 10),
        (3, once(Condition::TrailingDrop(percent(90.0))), 9),
        (4, once(Condition::TrailingRise(percent(90.0))), 10),
        (5, every(Condition::Above(price(100.0)), 60_000), 9),
        (6, above(500.0), 20),
        (7, above(90.0), 9),
        (8, above(500.0), 30),
    ] {
        let _ = arm(&mut partition, alert(id, terms, armed_at));
    }
    // Its slot stays until its turn comes.
    partition.disarm(AlertId(8), Version { revision: 0, generation: 1 });
    assert_eq!(partition.armed(), 6);
    partition
}

#[test]
fn a_snapshot_that_is_damaged_or_anothers_is_refused() {
    let partition = with_every_kind();
    let good = partition.snapshot().encode("ours");
    let open = |bytes: &[u8]| Partition::from_snapshot(&aligned(bytes), RING, |of| of == "ours");
    let restored = open(&good).expect("a snapshot").expect("ours");
    assert_eq!(restored.armed(), 6);
    assert_eq!(restored.history(), partition.history());

    let refused = |bytes: &[u8]| open(bytes).expect_err("not a snapshot");
    for length in 0..good.len() {
        assert!(matches!(refused(&good[..length]), SnapshotError::Damaged(_)), "{length} bytes");
    }
    for at in 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(matches!(refused(&bad), SnapshotError::Damaged(_)), "byte {at}");
    }
    let mut newer = good;
    newer[0] += 1;
    assert_eq!(refused(&newer), SnapshotError::Version { found: 2 });
    assert!(open(&partition.snapshot().encode("theirs")).expect("a snapshot").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Past the checksum, too: a program of another version may have written it.
    #[test]
    fn no_bytes_are_more_than_refused(
        flips in prop::collection::vec((any::<usize>(), 1u8..), 1..4), more in 0u8..3,
    ) {
        let mut bytes = with_every_kind().snapshot().encode("ours");
        let body = bytes.len() - 16;
        flips.iter().for_each(|(at, bits)| bytes[16 + at % body] ^= bits);
        bytes.extend(vec![0; usize::from(more)]);
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[16..]);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(Some(mut restored)) = Partition::from_snapshot(&aligned(&bytes), RING, |_| true) {
            read(&mut restored, 10, &[(11_000, 100.0), (90_000, 600.0), (90_001, 1.0)]);
        }
    }
}

#[test]
fn the_highest_prices_fire_once_as_any_do() {
    let mut partition = Partition::new(RING);
    let hysteresis = Percent::new(1.0);
    let terms =
        Terms::new(Condition::Above(price(2e303)), Some(Repeat { cooldown: 0, hysteresis }));
    let armed = alert(1, terms.expect("good terms"), 0);
    assert_eq!(arm(&mut partition, armed).0, Arming::Armed);
    let fired = read(&mut partition, 0, &[(1, 2e303), (2, 1.99e303), (3, 1.97e303), (4, 2e303)]);
    assert_eq!(prices(&fired), [2e303, 2e303]);
}

#[test]
fn a_hundred_thousand_alerts_of_one_price_fire_at_once() {
    let mut partition = Partition::new(RING);
    let count = 100_000;
    for id in 0..count {
        assert_eq!(arm(&mut partition, alert(id, above(100.0), 0)).0, Arming::Armed);
    }
    let mut ids: Vec<i64> =
        read(&mut partition, 0, &[(1, 99.0), (2, 100.0)]).iter().map(|f| f.id.0).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..count));
    assert_eq!(partition.armed(), 0);
}

/// A kind of alerts: its name, the most bytes that one takes, whether a lower price follows each
/// (so that no two have seen the same best one), and one of them, by id and by where the log is.
type Kind<'a> = (&'a str, f64, bool, &'a dyn Fn(i64, i64) -> Armed);

/// At prices around 100, so that ranges wait on either side.
#[test]
fn an_alert_takes_at_most_64_bytes_and_more_where_the_crate_says_so() {
    const SYMBOLS: i64 = 50;
    const ALERTS: i64 = 200_000;
    let spread = |id: i64| (id.wrapping_mul(2_654_435_761) % 100_003) as f64 / 2_000.0;
    let level = |id: i64| match id % 2 {
        0 => Condition::Above(price(101.0 + spread(id))),
        _ => Condition::Below(price(99.0 - spread(id))),
    };
    let around = |id: i64| {
        let range = PriceRange::new(price(99.0 - spread(id)), price(101.0 + spread(id / 7)));
        range.expect("a range")
    };
    let by = |id: i64| percent(((id % 80_000 + 10_000) as f64) / 1_000.0);
    let repeat = |condition| every(condition, 60_000);
    let drop = |id: i64, at: i64| alert(id, repeat(Condition::TrailingDrop(by(id))), at);
    let asleep = |id: i64, at: i64| {
        let asleep_until = 1_000_000_000 + (id * 7_919) % 60_000;
        Armed { asleep_until, ..alert(id, repeat(level(id)), at) }
    };
    let kinds: [Kind<'_>; 10] = [
        ("levels", 64.0, false, &|id, at| alert(id, once(level(id)), at)),
        ("levels that repeat", 64.0, false, &|id, at| alert(id, repeat(level(id)), at)),
        ("crossings", 64.0, false, &|id, at| {
            alert(id, once(Condition::Crosses(price(101.0 + spread(id)))), at)
        }),
        ("ranges left", 64.0, false, &|id, at| {
            alert(id, once(Condition::LeavesRange(around(id))), at)
        }),
        ("ranges entered", 64.0, false, &|id, at| {
            alert(id, once(Condition::EntersRange(around(id))), at)
        }),
        ("percents", 64.0, false, &|id, at| alert(id, repeat(Condition::RisesPercent(by(id))), at)),
        ("trailing", 64.0, false, &drop),
        ("asleep", 64.0, false, &asleep),
        ("ahead of the log", 80.0, false, &|id, at| {
            alert(id, once(level(id)), at + 1_000_000_000 - id)
        }),
        ("trailing, each from a price of its own", 112.0, true, &drop),
    ];
    for (name, most, falls, alert) in kinds {
        let mut partition = Partition::new(RING);
        let mut fired = Vec::new();
        let (mut next, mut now) = (0, 100.0);
        let mut tick = |partition: &mut Partition, symbol: i64, now: f64| {
            let symbol = partition.intern(&symbol.to_string()).expect("few symbols");
            let sequence = Sequence::of_record(next);
            partition.evaluate(symbol, &trade(1 + next, now), sequence, &mut Vec::new());
            next += 1;
            partition.advance(next);
        };
        (0..SYMBOLS).for_each(|symbol| tick(&mut partition, symbol, now));
        let empty = partition.bytes();
        for id in 0..ALERTS {
            let alert = alert(id, partition.next_offset().expect("it was read"));
            let symbol = id % SYMBOLS;
            assert_eq!(partition.arm(&symbol.to_string(), alert, &mut fired), Arming::Armed);
            if falls {
                now *= 1.0 - 1e-7;
                tick(&mut partition, symbol, now);
            }
            if id % 20_000 == 19_999 {
                (0..SYMBOLS).for_each(|symbol| tick(&mut partition, symbol, now));
                // What they are told by is not theirs.
                partition.take_progress();
                let each = (partition.bytes() - empty) as f64 / (id + 1) as f64;
                assert!(each <= most, "{name}: {each:.1} bytes an alert at {id}");
            }
        }
        assert!(fired.is_empty() && partition.armed() == ALERTS as usize, "{name}");
        let each = (partition.bytes() - empty) as f64 / ALERTS as f64;
        eprintln!("{name}: {each:.1} bytes an alert");
    }
}
