//! Many trades of one partition as one value: an entry of a partition's stream.
//!
//! ```text
//!  Packer: push, push, … ──encode──▶ bytes ══Redis══▶ TickBatch::decode ──▶ trades, borrowed
//! ```
//!
//! Columns, laid out by rkyv so that a reader uses them where they lie: the names of the symbols
//! once, and of each trade the number of its symbol, price, volume, both times and its place in the
//! log. 42 bytes a trade. The last byte is the version of the layout.
//!
//! Bytes from outside are checked once, when they are decoded: whatever they are, they give a batch
//! of valid trades in the order of the log, or an error.

use std::borrow::Cow;

use market::{Price, Sequence, Symbol, Trade, Volume};
use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::tick::END_OF_TIME;

mod pack;

#[cfg(test)]
mod tests;

pub use pack::Packer;

/// The most trades that one batch may hold.
pub const MAX_TRADES_PER_BATCH: usize = 4_096;

/// Of the layout of `Image`, and of the meaning of what is in it.
const VERSION: u8 = 1;

/// The bytes are no batch that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch of version {found}; this program reads version {VERSION}")]
    Version { found: u8 },
    #[error("not a batch of trades: {0}")]
    Damaged(&'static str),
}

/// Columns of one length, 1 to [`MAX_TRADES_PER_BATCH`], in the order of the log.
#[derive(Debug, Default, rkyv::Archive, rkyv::Serialize)]
struct Image {
    /// Of the first trade.
    first_offset: i64,
    /// The symbols' names, one behind the other, and where each ends.
    names: String,
    name_ends: Vec<u32>,
    /// Number of the trade's symbol.
    symbols: Vec<u16>,
    /// From the first trade's offset.
    offsets: Vec<u32>,
    indexes: Vec<u32>,
    prices: Vec<f64>,
    volumes: Vec<f64>,
    timestamps: Vec<i64>,
    received_ats: Vec<u64>,
}

/// A batch that was checked. Holds its own copy of the bytes, aligned as the columns need it, and
/// decodes nothing until it is asked.
#[derive(Clone)]
pub struct TickBatch {
    bytes: AlignedVec,
    trades: usize,
}

/// A trade of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedTrade {
    /// Which of [`TickBatch::symbols`] it is of.
    pub symbol: usize,
    pub sequence: Sequence,
    pub trade: Trade,
}

impl TickBatch {
    /// # Errors
    /// Where any of the bytes is not what [`Packer`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some((version, body)) = bytes.split_last() else {
            return Err(BatchError::Damaged("it is empty"));
        };
        if *version != VERSION {
            return Err(BatchError::Version { found: *version });
        }
        let mut aligned = AlignedVec::with_capacity(body.len());
        aligned.extend_from_slice(body);
        let image = rkyv::access::<ArchivedImage, rancor::Failure>(&aligned)
            .map_err(|_| BatchError::Damaged("it is not laid out as one"))?;
        image.check()?;
        let trades = image.prices.len();
        Ok(Self { bytes: aligned, trades })
    }

    /// How many trades it holds: at least one.
    #[allow(clippy::len_without_is_empty)] // A batch is never empty.
    pub fn len(&self) -> usize {
        self.trades
    }

    /// The names of the symbols, normalized; a trade names its symbol by its number here.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = &str> {
        let image = self.image();
        (0..image.name_ends.len()).map(|number| image.name(number))
    }

    /// In the order of the log.
    pub fn trades(&self) -> impl ExactSizeIterator<Item = PackedTrade> + DoubleEndedIterator {
        let image = self.image();
        (0..self.trades).map(|at| image.trade(at))
    }

    /// Where in the log its first trade is.
    pub fn first(&self) -> Sequence {
        self.image().sequence(0)
    }

    /// Where in the log its last trade is.
    pub fn last(&self) -> Sequence {
        self.image().sequence(self.trades - 1)
    }

    /// The layout is checked again, which costs little beside what is done with a batch.
    fn image(&self) -> &ArchivedImage {
        rkyv::access::<ArchivedImage, rancor::Failure>(&self.bytes)
            .expect("the bytes were checked when they were decoded")
    }
}

impl std::fmt::Debug for TickBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.trades()).finish()
    }
}

impl ArchivedImage {
    fn check(&self) -> Result<(), BatchError> {
        use BatchError::Damaged;
        let trades = self.prices.len();
        if trades == 0 || trades > MAX_TRADES_PER_BATCH {
            return Err(Damaged("it holds no trades, or too many"));
        }
        let columns = [
            self.symbols.len(),
            self.offsets.len(),
            self.indexes.len(),
            self.volumes.len(),
            self.timestamps.len(),
            self.received_ats.len(),
        ];
        if columns.iter().any(|length| *length != trades) {
            return Err(Damaged("its columns have different lengths"));
        }
        self.check_names()?;
        let names = self.name_ends.len();
        if self.symbols.iter().any(|symbol| usize::from(symbol.to_native()) >= names) {
            return Err(Damaged("it names a symbol that is none"));
        }
        let first = self.first_offset.to_native();
        if first < 0 || first > i64::MAX - i64::from(u32::MAX) || self.offsets[0] != 0 {
            return Err(Damaged("its offsets are none"));
        }
        if (1..trades).any(|at| self.sequence(at - 1) >= self.sequence(at)) {
            return Err(Damaged("its trades are not in the order of the log"));
        }
        if self.prices.iter().any(|price| Price::new(price.to_native()).is_none()) {
            return Err(Damaged("it holds a price that is none"));
        }
        if self.volumes.iter().any(|volume| Volume::new(volume.to_native()).is_none()) {
            return Err(Damaged("it holds a volume that is none"));
        }
        if self.timestamps.iter().any(|time| !(1..END_OF_TIME).contains(&time.to_native())) {
            return Err(Damaged("it holds a time that is none"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), BatchError> {
        let mut start = 0;
        for end in self.name_ends.iter() {
            let end = end.to_native() as usize;
            let name = self.names.as_str().get(start..end);
            let is_symbol = |name: &str| {
                Symbol::normalize(name).is_ok_and(|normal| matches!(normal, Cow::Borrowed(_)))
            };
            if !name.is_some_and(is_symbol) {
                return Err(BatchError::Damaged("it holds a symbol that is none"));
            }
            start = end;
        }
        Ok(())
    }

    fn name(&self, number: usize) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.name_ends[before].to_native());
        &self.names[start as usize..self.name_ends[number].to_native() as usize]
    }

    #[inline]
    fn sequence(&self, at: usize) -> Sequence {
        let offset = self.first_offset.to_native() + i64::from(self.offsets[at].to_native());
        Sequence { offset, index: self.indexes[at].to_native() }
    }

    #[inline]
    fn trade(&self, at: usize) -> PackedTrade {
        let trade = Trade {
            price: Price::new(self.prices[at].to_native()).expect("every price was checked"),
            volume: Volume::new(self.volumes[at].to_native()).expect("every volume was checked"),
            timestamp: self.timestamps[at].to_native(),
            received_at: self.received_ats[at].to_native(),
        };
        let symbol = usize::from(self.symbols[at].to_native());
        PackedTrade { symbol, sequence: self.sequence(at), trade }
    }
}
