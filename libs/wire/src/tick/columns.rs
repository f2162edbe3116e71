use std::slice;

use market::{Price, Trade, Volume, are_within};

use super::{END_OF_TIME, MAX_TRADES_PER_RECORD, TickError};

/// A packed column's bytes: borrowed from the record where they came in one piece, as every
/// encoder writes them, else gathered in scratch.
#[derive(Clone, Copy, Default)]
pub(super) struct Pieces<'a> {
    first: &'a [u8],
    gathered: bool,
}

impl<'a> Pieces<'a> {
    #[inline]
    pub(super) fn of(first: &'a [u8]) -> Self {
        Self { first, gathered: false }
    }

    #[inline]
    pub(super) fn add(&mut self, piece: &'a [u8], scratch: &mut Vec<u8>) {
        if self.gathered {
            scratch.extend_from_slice(piece);
        } else if self.first.is_empty() {
            self.first = piece;
        } else {
            scratch.clear();
            scratch.extend_from_slice(self.first);
            scratch.extend_from_slice(piece);
            self.gathered = true;
        }
    }

    #[inline]
    pub(super) fn joined(self, scratch: &'a [u8]) -> &'a [u8] {
        if self.gathered { scratch } else { self.first }
    }
}

const LAST_TIMESTAMP: u64 = END_OF_TIME.cast_unsigned() - 1;

#[inline]
pub(super) fn is_timestamp(milliseconds: i64) -> bool {
    (1..=LAST_TIMESTAMP).contains(&milliseconds.cast_unsigned())
}

/// One trade, as columns have it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    price: [u8; 8],
    timestamp: [u8; 8],
    volume: [u8; 8],
    received_at: [u8; 8],
}

impl Row {
    #[inline]
    pub(super) fn new(trade: &Trade) -> Self {
        Self {
            price: trade.price.get().to_le_bytes(),
            timestamp: trade.timestamp.to_le_bytes(),
            volume: trade.volume.get().to_le_bytes(),
            received_at: trade.received_at.to_le_bytes(),
        }
    }

    /// Columns are judged when they are made.
    #[inline]
    fn trade(&self) -> Trade {
        Trade {
            price: Price::of_judged(f64::from_le_bytes(self.price)),
            volume: Volume::of_judged(f64::from_le_bytes(self.volume)),
            timestamp: i64::from_le_bytes(self.timestamp),
            received_at: u64::from_le_bytes(self.received_at),
        }
    }
}

/// The trades of a record: equal lengths, every value valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    prices: &'a [[u8; 8]],
    timestamps: &'a [[u8; 8]],
    volumes: &'a [[u8; 8]],
    received_ats: &'a [[u8; 8]],
}

impl<'a> Columns<'a> {
    /// `None` where all columns are absent. The pieces' lengths are multiples of eight.
    #[inline]
    pub(super) fn new(
        prices: &'a [u8],
        timestamps: &'a [u8],
        volumes: &'a [u8],
        received_ats: &'a [u8],
    ) -> Result<Option<Self>, TickError> {
        let length = prices.len();
        if [timestamps, volumes, received_ats].iter().any(|column| column.len() != length) {
            return Err(TickError::UnequalColumns);
        }
        if length == 0 {
            return Ok(None);
        }
        let columns = Self {
            prices: prices.as_chunks().0,
            timestamps: timestamps.as_chunks().0,
            volumes: volumes.as_chunks().0,
            received_ats: received_ats.as_chunks().0,
        };
        columns.check()?;
        Ok(Some(columns))
    }

    /// The trade of a record without columns; it is valid.
    #[inline]
    pub(super) fn of_one(row: &'a Row) -> Self {
        Self {
            prices: slice::from_ref(&row.price),
            timestamps: slice::from_ref(&row.timestamp),
            volumes: slice::from_ref(&row.volume),
            received_ats: slice::from_ref(&row.received_at),
        }
    }

    /// Whole columns at a time and without early exits, so that the compiler can vectorize.
    fn check(&self) -> Result<(), TickError> {
        let floats = |column: &'a [[u8; 8]]| column.iter().map(|bytes| f64::from_le_bytes(*bytes));
        let times = self.timestamps.iter().map(|bytes| u64::from_le_bytes(*bytes));
        if self.len() > MAX_TRADES_PER_RECORD {
            return Err(TickError::TooManyTrades);
        }
        if !Price::are_all(floats(self.prices)) {
            return Err(TickError::Price);
        }
        if !Volume::are_all(floats(self.volumes)) {
            return Err(TickError::Volume);
        }
        if !are_within(times, 1, LAST_TIMESTAMP) {
            return Err(TickError::Timestamp);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.prices.len()
    }

    /// Panics where `index` is not below the length.
    #[inline]
    pub(super) fn trade(&self, index: usize) -> Trade {
        let row = Row {
            price: self.prices[index],
            timestamp: self.timestamps[index],
            volume: self.volumes[index],
            received_at: self.received_ats[index],
        };
        row.trade()
    }

    #[inline]
    pub(super) fn trades(
        &self,
    ) -> impl ExactSizeIterator<Item = Trade> + DoubleEndedIterator + use<'a> {
        let prices = self.prices.iter().zip(self.timestamps);
        let volumes = self.volumes.iter().zip(self.received_ats);
        prices.zip(volumes).map(|((&price, &timestamp), (&volume, &received_at))| {
            Row { price, timestamp, volume, received_at }.trade()
        })
    }
}
