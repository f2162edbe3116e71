//! Many trades of one partition as one value: an entry of a partition's stream.
//!
//! ```text
//!  Packer: push, push, … ──encode──▶ bytes ══Redis══▶ TickBatch::decode ──▶ trades, borrowed
//! ```
//!
//! Columns, laid out by rkyv so that a reader uses them where they lie: the names of the symbols
//! once; of each run, which is what one record has of a symbol, the number of its symbol and its
//! place in the log; of each trade price, volume and both times, counted from the first one's. 26
//! bytes a trade and 12 a run. The last byte is the version of the layout.
//!
//! Bytes from outside are checked once, when they are decoded: whatever they are, they give a batch
//! of valid trades in the order of the log, or an error.

use std::borrow::Cow;
use std::ops::Range;

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
const VERSION: u8 = 2;

/// So many nanoseconds are told apart by what a trade has of its time of receipt: 78 hours.
const RECEIVED_SPAN: u64 = 1 << 48;

/// The bytes are no batch that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch of version {found}; this program reads version {VERSION}")]
    Version { found: u8 },
    #[error("not a batch of trades: {0}")]
    Damaged(&'static str),
}

/// Columns of one length, 1 to [`MAX_TRADES_PER_BATCH`], in the order of the log; those of the runs
/// of another.
#[derive(Debug, Default, rkyv::Archive, rkyv::Serialize)]
struct Image {
    /// Of the first trade.
    first_offset: i64,
    first_timestamp: i64,
    /// Before any of the batch.
    before_received: u64,
    /// The symbols' names, one behind the other, and where each ends.
    names: String,
    name_ends: Vec<u32>,
    /// Of each run: number of its symbol, from the first trade's offset, index of its first trade
    /// (the others follow), and where in the columns of trades it ends.
    run_symbols: Vec<u16>,
    run_offsets: Vec<u32>,
    run_indexes: Vec<u32>,
    run_ends: Vec<u16>,
    prices: Vec<f64>,
    volumes: Vec<f64>,
    /// From the first trade's.
    timestamps: Vec<i32>,
    /// The lower and upper bits of the nanoseconds since `before_received`; 0 for none.
    received_low: Vec<u32>,
    received_high: Vec<u16>,
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
    pub fn trades(&self) -> impl Iterator<Item = PackedTrade> {
        let image = self.image();
        (0..image.run_ends.len()).flat_map(move |run| {
            let trades = image.run(run);
            let first = trades.start;
            trades.map(move |at| image.trade(run, at, at - first))
        })
    }

    /// Where in the log its first trade is.
    pub fn first(&self) -> Sequence {
        self.image().sequence(0, 0)
    }

    /// Where in the log its last trade is.
    pub fn last(&self) -> Sequence {
        let image = self.image();
        let last = image.run_ends.len() - 1;
        image.sequence(last, image.run(last).len() - 1)
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
            self.volumes.len(),
            self.timestamps.len(),
            self.received_low.len(),
            self.received_high.len(),
        ];
        if columns.iter().any(|length| *length != trades) {
            return Err(Damaged("its columns have different lengths"));
        }
        self.check_names()?;
        self.check_runs()?;
        if self.prices.iter().any(|price| Price::new(price.to_native()).is_none()) {
            return Err(Damaged("it holds a price that is none"));
        }
        if self.volumes.iter().any(|volume| Volume::new(volume.to_native()).is_none()) {
            return Err(Damaged("it holds a volume that is none"));
        }
        let first = self.first_timestamp.to_native();
        let is_time = |from_first: i32| {
            let time = first.checked_add(i64::from(from_first));
            time.is_some_and(|time| (1..END_OF_TIME).contains(&time))
        };
        if !self.timestamps.iter().all(|from_first| is_time(from_first.to_native())) {
            return Err(Damaged("it holds a time that is none"));
        }
        Ok(())
    }

    fn check_runs(&self) -> Result<(), BatchError> {
        use BatchError::Damaged;
        let runs = self.run_ends.len();
        let columns = [self.run_symbols.len(), self.run_offsets.len(), self.run_indexes.len()];
        if columns.iter().any(|length| *length != runs) {
            return Err(Damaged("its columns have different lengths"));
        }
        let mut start = 0;
        for end in self.run_ends.iter() {
            if end.to_native() <= start {
                return Err(Damaged("it holds a run of no trades"));
            }
            start = end.to_native();
        }
        if usize::from(start) != self.prices.len() {
            return Err(Damaged("its runs are of other trades"));
        }
        let names = self.name_ends.len();
        if self.run_symbols.iter().any(|symbol| usize::from(symbol.to_native()) >= names) {
            return Err(Damaged("it names a symbol that is none"));
        }
        let first = self.first_offset.to_native();
        if first < 0 || first > i64::MAX - i64::from(u32::MAX) || self.run_offsets[0] != 0 {
            return Err(Damaged("its offsets are none"));
        }
        let mut last = None;
        for run in 0..runs {
            let others = self.run(run).len() - 1;
            if self.run_indexes[run].to_native().checked_add(others as u32).is_none() {
                return Err(Damaged("its indexes are none"));
            }
            if last >= Some(self.sequence(run, 0)) {
                return Err(Damaged("its trades are not in the order of the log"));
            }
            last = Some(self.sequence(run, others));
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

    /// Which trades are of a run.
    #[inline]
    fn run(&self, run: usize) -> Range<usize> {
        let start = run.checked_sub(1).map_or(0, |before| self.run_ends[before].to_native());
        usize::from(start)..usize::from(self.run_ends[run].to_native())
    }

    /// Of the trade that so many others of the run precede.
    #[inline]
    fn sequence(&self, run: usize, before: usize) -> Sequence {
        let offset = self.first_offset.to_native() + i64::from(self.run_offsets[run].to_native());
        Sequence { offset, index: self.run_indexes[run].to_native() + before as u32 }
    }

    #[inline]
    fn trade(&self, run: usize, at: usize, before: usize) -> PackedTrade {
        let from_first = i64::from(self.timestamps[at].to_native());
        let low = u64::from(self.received_low[at].to_native());
        let since = u64::from(self.received_high[at].to_native()) << 32 | low;
        let trade = Trade {
            price: Price::new(self.prices[at].to_native()).expect("every price was checked"),
            volume: Volume::new(self.volumes[at].to_native()).expect("every volume was checked"),
            timestamp: self.first_timestamp.to_native() + from_first,
            received_at: match since {
                0 => 0,
                since => self.before_received.to_native().wrapping_add(since),
            },
        };
        let symbol = usize::from(self.run_symbols[run].to_native());
        PackedTrade { symbol, sequence: self.sequence(run, before), trade }
    }
}
