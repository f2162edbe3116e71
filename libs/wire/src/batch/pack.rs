use market::{Sequence, Trade};
use rkyv::api::high::to_bytes_in;
use rkyv::rancor;

use super::{Image, MAX_TRADES_PER_BATCH, VERSION};

/// About what an encoded batch takes: for each trade, and once.
const TRADE_BYTES: usize = 42;
const IMAGE_BYTES: usize = 512;

/// Gathers trades of one partition, in the order of the log, and encodes them.
///
/// Holds nothing from one batch to the next but the room it took.
#[derive(Debug, Default)]
pub struct Packer {
    image: Image,
    last: Option<Sequence>,
    /// By the caller's number of a symbol: in which batch it was seen last, and its number there.
    numbers: Vec<(u64, u16)>,
    batch: u64,
}

impl Packer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.image.prices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.image.prices.is_empty()
    }

    /// Where in the log the first and the last trade are that were added since the last `encode`.
    pub fn span(&self) -> Option<(Sequence, Sequence)> {
        let offset = self.image.first_offset;
        let index = *self.image.indexes.first()?;
        Some((Sequence { offset, index }, self.last?))
    }

    /// Whether a trade at this place fits. Where it does not: `encode` first.
    #[inline]
    pub fn has_room(&self, sequence: Sequence) -> bool {
        self.is_empty()
            || self.len() < MAX_TRADES_PER_BATCH
                && u32::try_from(sequence.offset - self.image.first_offset).is_ok()
    }

    /// Adds a trade that has room and comes after the last one. `number` is any that the caller has
    /// for the symbol and no other symbol, best a small one; `symbol` is normalized.
    ///
    /// # Panics
    /// Where the trade has no room, or does not come after the last one.
    #[inline]
    pub fn push(&mut self, number: u32, symbol: &str, sequence: Sequence, trade: &Trade) {
        assert!(self.has_room(sequence), "the batch is full");
        assert!(self.last.is_none_or(|last| last < sequence), "not in the order of the log");
        self.last = Some(sequence);
        if self.is_empty() {
            self.image.first_offset = sequence.offset;
        }
        let symbol = self.number(number, symbol);
        let image = &mut self.image;
        image.symbols.push(symbol);
        image.offsets.push((sequence.offset - image.first_offset) as u32);
        image.indexes.push(sequence.index);
        image.prices.push(trade.price.get());
        image.volumes.push(trade.volume.get());
        image.timestamps.push(trade.timestamp);
        image.received_ats.push(trade.received_at);
    }

    #[inline]
    fn number(&mut self, number: u32, symbol: &str) -> u16 {
        let number = number as usize;
        match self.numbers.get(number) {
            Some((batch, local)) if *batch == self.batch => *local,
            _ => self.name(number, symbol),
        }
    }

    fn name(&mut self, number: usize, symbol: &str) -> u16 {
        if self.numbers.len() <= number {
            self.numbers.resize(number + 1, (u64::MAX, 0));
        }
        // No more symbols than trades.
        let local = self.image.name_ends.len() as u16;
        self.numbers[number] = (self.batch, local);
        self.image.names.push_str(symbol);
        self.image.name_ends.push(self.image.names.len() as u32);
        local
    }

    /// Writes the batch to `bytes`, emptied first, and begins a new one.
    ///
    /// # Panics
    /// Where nothing was added.
    pub fn encode(&mut self, bytes: &mut Vec<u8>) {
        assert!(!self.is_empty(), "a batch holds at least one trade");
        bytes.clear();
        bytes.reserve(self.len() * TRADE_BYTES + self.image.names.len() * 2 + IMAGE_BYTES);
        let Ok(mut written) = to_bytes_in::<_, rancor::Panic>(&self.image, std::mem::take(bytes));
        written.push(VERSION);
        *bytes = written;
        self.clear();
    }

    /// Forgets what was added, and begins a new batch.
    pub fn clear(&mut self) {
        let image = &mut self.image;
        image.names.clear();
        image.name_ends.clear();
        image.symbols.clear();
        image.offsets.clear();
        image.indexes.clear();
        image.prices.clear();
        image.volumes.clear();
        image.timestamps.clear();
        image.received_ats.clear();
        self.last = None;
        self.batch += 1;
    }
}
