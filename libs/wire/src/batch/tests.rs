use market::{Sequence, Trade};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::{mutate, mutations, trade};

/// Symbol, step from the place before, trade.
type Step = (u32, u16, u32, Trade);

/// Mostly near in time to one another, as trades of one batch are.
fn steps() -> impl Strategy<Value = (i64, Vec<Step>)> {
    let near = (trade(), 0..1_000_000_i64, 0..1_000_000_000_000_u64).prop_map(|(trade, ms, ns)| {
        let timestamp = 1_700_000_000_000 + ms;
        Trade { timestamp, received_at: 1_700_000_000_000_000_000 + ns, ..trade }
    });
    let never =
        trade().prop_map(|trade| Trade { timestamp: 1_700_000_000_000, received_at: 0, ..trade });
    let trade = prop_oneof![40 => near, 4 => never, 1 => trade()];
    // The same symbol and the next index, often: a run.
    let symbol = prop_oneof![3 => Just(0_u32), 1 => 0..40_u32];
    let step = (symbol, prop_oneof![3 => Just(0_u16), 1 => 0..3_u16], 0..2_u32, trade);
    (0..i64::MAX / 2, vec(step, 1..200))
}

fn name(symbol: u32) -> String {
    format!("SÜMBOL:{symbol}")
}

fn expected(first: i64, steps: &[Step]) -> Vec<(String, Sequence, Trade)> {
    let mut at = Sequence::of_record(first);
    let placed = steps.iter().map(|(symbol, offset, index, trade)| {
        at = match offset {
            0 => Sequence { index: at.index + 1 + index, ..at },
            _ => Sequence { offset: at.offset + i64::from(*offset), index: *index },
        };
        (name(*symbol), at, *trade)
    });
    placed.collect()
}

/// As many batches as it takes.
fn encode(packer: &mut Packer, trades: &[(String, Sequence, Trade)]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    let mut end = |packer: &mut Packer| {
        let mut bytes = vec![1, 2, 3];
        packer.encode(&mut bytes);
        batches.push(bytes);
    };
    for (symbol, sequence, trade) in trades {
        if !packer.has_room(*sequence, trade) {
            end(packer);
        }
        let number = symbol.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a number");
        packer.push(number, symbol, *sequence, trade);
    }
    end(packer);
    batches
}

fn decoded(batch: &TickBatch) -> Vec<(String, Sequence, Trade)> {
    let names: Vec<&str> = batch.symbols().collect();
    let named = |packed: PackedTrade| (names[packed.symbol].into(), packed.sequence, packed.trade);
    batch.trades().map(named).collect()
}

proptest! {
    #[test]
    fn every_batch_survives_its_bytes((first, one) in steps(), (_, two) in steps()) {
        let mut packer = Packer::new();
        // The second batch of a packer knows nothing of the first.
        for steps in [one, two] {
            let trades = expected(first, &steps);
            let mut left = &trades[..];
            for bytes in encode(&mut packer, &trades) {
                let batch = TickBatch::decode(&bytes).expect("a batch");
                let (these, others) = left.split_at(batch.len());
                prop_assert_eq!(decoded(&batch), these);
                prop_assert_eq!((batch.first(), batch.last()), (these[0].1, these[these.len() - 1].1));
                left = others;
            }
            prop_assert!(left.is_empty());
        }
    }

    /// Also where they are a batch but for a few bytes: an error or valid trades, never a panic.
    #[test]
    fn any_bytes_are_valid_trades_or_an_error(
        (first, steps) in steps(), mutations in mutations(b"\0\x01\x02\x7f\x80\xff"),
    ) {
        let mut bytes = encode(&mut Packer::new(), &expected(first, &steps)).swap_remove(0);
        mutate(&mut bytes, &mutations);
        let Ok(batch) = TickBatch::decode(&bytes) else { return Ok(()) };
        let trades = decoded(&batch);
        prop_assert!(trades.is_sorted_by(|one, two| one.1 < two.1));
        for (symbol, _, trade) in trades {
            let normal = Symbol::normalize(&symbol).expect("a symbol");
            prop_assert_eq!(normal.as_ref(), symbol.as_str());
            prop_assert!((1..END_OF_TIME).contains(&trade.timestamp));
        }
    }

    #[test]
    fn noise_is_an_error(mut bytes in vec(any::<u8>(), 0..300)) {
        // Else nearly all of it is of another version, and looked at no further.
        bytes.push(VERSION);
        prop_assert!(TickBatch::decode(&bytes).is_err());
    }
}

fn some_trade() -> Trade {
    let price = Price::new(1.0).expect("a price");
    Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 0 }
}

#[test]
fn a_batch_has_room_for_so_many_trades_and_a_span_of_offsets() {
    let mut packer = Packer::new();
    let trade = some_trade();
    let far = Sequence::of_record(i64::from(u32::MAX) + 6);
    assert!(packer.has_room(far, &trade), "the first one always fits");
    packer.push(0, "A", Sequence::of_record(5), &trade);
    assert!(!packer.has_room(far, &trade));
    for index in 1..MAX_TRADES_PER_BATCH as u32 {
        packer.push(0, "A", Sequence { offset: 5, index }, &trade);
    }
    assert!(!packer.has_room(Sequence::of_record(6), &trade));
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    assert!(packer.has_room(far, &trade) && packer.is_empty());
    assert_eq!(TickBatch::decode(&bytes).map(|batch| batch.len()), Ok(MAX_TRADES_PER_BATCH));
    assert!(bytes.len() < 27 * MAX_TRADES_PER_BATCH, "{}", bytes.len());
}

#[test]
fn a_batch_has_room_for_a_span_of_times() {
    let hours = |hours: u64| hours * 3_600_000_000_000;
    let now = 1_700_000_000_000_000_000;
    let received = |received_at| Trade { received_at, ..some_trade() };
    let mut packer = Packer::new();
    let mut has_room = |offset, trade: Trade| {
        let sequence = Sequence::of_record(offset);
        let has_room = packer.has_room(sequence, &trade);
        if has_room {
            packer.push(0, "A", sequence, &trade);
        }
        has_room
    };
    assert!(has_room(0, received(0)), "without one");
    assert!(has_room(1, received(now)));
    assert!(has_room(2, received(now - hours(39))));
    assert!(has_room(3, received(now + hours(39))));
    assert!(has_room(4, received(0)));
    for other in [now - hours(40), now + hours(40), 1, u64::MAX] {
        assert!(!has_room(5, received(other)), "{other}");
    }
    let days = |days: i64| Trade { timestamp: 1 + days * 86_400_000, ..some_trade() };
    assert!(has_room(5, days(24)));
    assert!(!has_room(6, days(25)));
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    let batch = TickBatch::decode(&bytes).expect("a batch");
    let found: Vec<u64> = batch.trades().map(|packed| packed.trade.received_at).collect();
    assert_eq!(found, [0, now, now - hours(39), now + hours(39), 0, 0]);
}

#[test]
fn another_version_is_told_apart() {
    let mut packer = Packer::new();
    packer.push(0, "A", Sequence::of_record(5), &some_trade());
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    *bytes.last_mut().expect("a version") = 3;
    assert_eq!(TickBatch::decode(&bytes).expect_err("too new"), BatchError::Version { found: 3 });
    assert!(TickBatch::decode(&[]).is_err());
}
