//! The last trades of a symbol as a ring of slots, so that a new trade changes its own bytes alone.
//!
//! ```text
//!  0               44              88
//!  │ trade 50      │ trade 51      │ trade 2       │ … the next one goes here
//!  └ offset i64, index u32, price f64, volume f64, timestamp i64, received_at u64, little-endian
//! ```
//!
//! A slot of zeros is empty. Which slot is the oldest follows from the trades' places in the log.

use market::{Price, Sequence, Trade, Volume};

use crate::tick::END_OF_TIME;

/// Bytes of a slot.
pub const SLOT: usize = 44;

/// The most slots that one ring may have.
pub const MAX_SLOTS: usize = 4_096;

/// The bytes are no ring that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ring of trades: {0}")]
pub struct SlotError(&'static str);

/// Appends a slot.
pub fn push(sequence: Sequence, trade: &Trade, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&sequence.offset.to_le_bytes());
    bytes.extend_from_slice(&sequence.index.to_le_bytes());
    bytes.extend_from_slice(&trade.price.get().to_le_bytes());
    bytes.extend_from_slice(&trade.volume.get().to_le_bytes());
    bytes.extend_from_slice(&trade.timestamp.to_le_bytes());
    bytes.extend_from_slice(&trade.received_at.to_le_bytes());
}

/// Every slot, `None` where it is empty.
///
/// # Errors
/// Where any of the bytes is not what [`push`] writes.
pub fn parse(bytes: &[u8]) -> Result<Vec<Option<(Sequence, Trade)>>, SlotError> {
    let (slots, rest) = bytes.as_chunks::<SLOT>();
    if !rest.is_empty() {
        return Err(SlotError("its last slot is cut off"));
    }
    if slots.len() > MAX_SLOTS {
        return Err(SlotError("it has too many slots"));
    }
    slots.iter().map(slot).collect()
}

/// The trades of all slots in the order of the log, oldest first.
///
/// # Errors
/// As [`parse`].
pub fn in_order(bytes: &[u8]) -> Result<Vec<(Sequence, Trade)>, SlotError> {
    let mut trades: Vec<_> = parse(bytes)?.into_iter().flatten().collect();
    trades.sort_unstable_by_key(|(sequence, _)| *sequence);
    Ok(trades)
}

fn slot(bytes: &[u8; SLOT]) -> Result<Option<(Sequence, Trade)>, SlotError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let index = u32::from_le_bytes(column(bytes, 8));
    let sequence = Sequence { offset: i64::from_le_bytes(column(bytes, 0)), index };
    let price = Price::new(f64::from_le_bytes(column(bytes, 12)));
    let volume = Volume::new(f64::from_le_bytes(column(bytes, 20)));
    let timestamp = i64::from_le_bytes(column(bytes, 28));
    if sequence.offset < 0 || !(1..END_OF_TIME).contains(&timestamp) {
        return Err(SlotError("a place or a time is none"));
    }
    let price = price.ok_or(SlotError("a price is none"))?;
    let volume = volume.ok_or(SlotError("a volume is none"))?;
    let received_at = u64::from_le_bytes(column(bytes, 36));
    Ok(Some((sequence, Trade { price, volume, timestamp, received_at })))
}

fn column<const WIDTH: usize>(bytes: &[u8; SLOT], at: usize) -> [u8; WIDTH] {
    let mut column = [0; WIDTH];
    column.copy_from_slice(&bytes[at..at + WIDTH]);
    column
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trade() -> impl Strategy<Value = (Sequence, Trade)> {
        let price = (1e-9..1e9f64).prop_filter_map("a price", Price::new);
        let volume = (0.0..1e9f64).prop_filter_map("a volume", Volume::new);
        let sequence = (0..i64::MAX, any::<u32>());
        (sequence, price, volume, 1..END_OF_TIME, any::<u64>()).prop_map(
            |((offset, index), price, volume, timestamp, received_at)| {
                (Sequence { offset, index }, Trade { price, volume, timestamp, received_at })
            },
        )
    }

    fn ring(trades: &[(Sequence, Trade)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        trades.iter().for_each(|(sequence, trade)| push(*sequence, trade, &mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trades in prop::collection::vec(trade(), 0..60)) {
            let bytes = ring(&trades);
            prop_assert_eq!(bytes.len(), SLOT * trades.len());
            let read = parse(&bytes).expect("a ring");
            prop_assert_eq!(read, trades.iter().copied().map(Some).collect::<Vec<_>>());
            let mut ordered = trades;
            ordered.sort_by_key(|(sequence, _)| *sequence);
            let places = |trades: Vec<(Sequence, Trade)>| -> Vec<_> {
                trades.into_iter().map(|(sequence, _)| sequence).collect()
            };
            prop_assert_eq!(places(in_order(&bytes).expect("a ring")), places(ordered));
        }

        /// Whatever the bytes are, what is read is written again as it was.
        #[test]
        fn no_bytes_give_a_trade_that_is_none(
            trades in prop::collection::vec(trade(), 1..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = ring(&trades);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = parse(&bytes) {
                let whole: Option<Vec<_>> = read.into_iter().collect();
                prop_assert_eq!(ring(&whole.expect("no slot is empty")), bytes.clone());
            }
            let length = cut.index(bytes.len());
            prop_assert!(length % SLOT == 0 || parse(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn an_empty_slot_is_none_and_half_a_one_is_an_error() {
        let mut bytes = vec![0; SLOT];
        let price = Price::new(1.5).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 7, received_at: 0 };
        push(Sequence::of_record(3), &trade, &mut bytes);
        assert_eq!(parse(&bytes), Ok(vec![None, Some((Sequence::of_record(3), trade))]));
        assert_eq!(in_order(&bytes), Ok(vec![(Sequence::of_record(3), trade)]));
        bytes.pop();
        assert_eq!(parse(&bytes), Err(SlotError("its last slot is cut off")));
        assert!(parse(&vec![0; SLOT * (MAX_SLOTS + 1)]).is_err());
    }
}
