use market::{Sequence, Trade};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::{mutate, mutations, trade};

/// Symbol, step from the place before, trade.
type Step = (u32, u16, u32, Trade);

fn steps() -> impl Strategy<Value = (i64, Vec<Step>)> {
    let step = (0..40_u32, 0..3_u16, 0..4_u32, trade());
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

fn encode(packer: &mut Packer, trades: &[(String, Sequence, Trade)]) -> Vec<u8> {
    for (symbol, sequence, trade) in trades {
        let number = symbol.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a number");
        packer.push(number, symbol, *sequence, trade);
    }
    let mut bytes = vec![1, 2, 3];
    packer.encode(&mut bytes);
    bytes
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
            let batch = TickBatch::decode(&encode(&mut packer, &trades)).expect("a batch");
            prop_assert_eq!(decoded(&batch), &trades[..]);
            prop_assert_eq!(batch.len(), trades.len());
            prop_assert_eq!((batch.first(), batch.last()), (trades[0].1, trades[trades.len() - 1].1));
        }
    }

    /// Also where they are a batch but for a few bytes: an error or valid trades, never a panic.
    #[test]
    fn any_bytes_are_valid_trades_or_an_error(
        (first, steps) in steps(), mutations in mutations(b"\0\x01\x02\x7f\x80\xff"),
    ) {
        let mut bytes = encode(&mut Packer::new(), &expected(first, &steps));
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
    let far = Sequence::of_record(i64::from(u32::MAX) + 6);
    assert!(packer.has_room(far), "the first one always fits");
    packer.push(0, "A", Sequence::of_record(5), &some_trade());
    assert!(!packer.has_room(far));
    for index in 1..MAX_TRADES_PER_BATCH as u32 {
        packer.push(0, "A", Sequence { offset: 5, index }, &some_trade());
    }
    assert!(!packer.has_room(Sequence::of_record(6)));
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    assert!(packer.has_room(far) && packer.is_empty());
    assert_eq!(TickBatch::decode(&bytes).map(|batch| batch.len()), Ok(MAX_TRADES_PER_BATCH));
    assert!(bytes.len() < 43 * MAX_TRADES_PER_BATCH, "{}", bytes.len());
}

#[test]
fn another_version_is_told_apart() {
    let mut packer = Packer::new();
    packer.push(0, "A", Sequence::of_record(5), &some_trade());
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    *bytes.last_mut().expect("a version") = 2;
    assert_eq!(TickBatch::decode(&bytes).expect_err("too new"), BatchError::Version { found: 2 });
    assert!(TickBatch::decode(&[]).is_err());
}
