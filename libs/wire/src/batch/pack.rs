use market::{Sequence, Trade};
use rkyv::api::high::to_bytes_in;
use rkyv::rancor;

use super::{Image, MAX_TRADES_PER_BATCH, RECEIVED_SPAN, VERSION};

/// What an encoded batch takes: for each trade, run and symbol (its name apart), and about so much once.
const TRADE_BYTES: usize = 26;
const RUN_BYTES: usize = 12;
const SYMBOL_BYTES: usize = 4;
const IMAGE_BYTES: usize = 256;

/// Gathers trades of one partition, in the order of the log, and encodes them.
///
/// Holds nothing from one batch to the next but the room it took.
#[derive(Debug, Default)]
pub struct Packer {
    image: Image,
    first: Option<Sequence>,
    last: Option<Sequence>,
    /// The caller's number of the last run's symbol.
    last_number: u32,
    /// Where the span of times of receipt begins, once one is known.
    before_received: Option<u64>,
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
        Some((self.first?, self.last?))
    }

    /// Whether a trade at this place fits: there are not too many others, and none is too far from
    /// it in the log or in time. Where it does not: `encode` first.
    #[inline]
    pub fn has_room(&self, sequence: Sequence, trade: &Trade) -> bool {
        let image = &self.image;
        self.is_empty()
            || self.len() < MAX_TRADES_PER_BATCH
                && u32::try_from(sequence.offset - image.first_offset).is_ok()
                && i32::try_from(trade.timestamp - image.first_timestamp).is_ok()
                && (trade.received_at == 0
                    || self.before_received.is_none_or(|from| is_within(from, trade.received_at)))
    }

    /// Adds a trade that has room and comes after the last one. `number` is any that the caller has
    /// for the symbol and no other symbol, best a small one; `symbol` is normalized.
    ///
    /// # Panics
    /// Where the trade has no room, or does not come after the last one.
    #[inline]
    pub fn push(&mut self, number: u32, symbol: &str, sequence: Sequence, trade: &Trade) {
        assert!(self.has_room(sequence, trade), "the batch is full");
        let last = self.last.replace(sequence);
        assert!(last.is_none_or(|last| last < sequence), "not in the order of the log");
        if last.is_none() {
            self.first = Some(sequence);
            self.image.first_offset = sequence.offset;
            self.image.first_timestamp = trade.timestamp;
        }
        let follows = |last: Sequence| {
            last.offset == sequence.offset && last.index.checked_add(1) == Some(sequence.index)
        };
        let trades = self.len() as u16 + 1;
        match self.image.run_ends.last_mut() {
            Some(end) if number == self.last_number && last.is_some_and(follows) => *end = trades,
            _ => {
                let symbol = self.number(number, symbol);
                let image = &mut self.image;
                image.run_symbols.push(symbol);
                image.run_offsets.push((sequence.offset - image.first_offset) as u32);
                image.run_indexes.push(sequence.index);
                image.run_ends.push(trades);
                self.last_number = number;
            }
        }
        let since = match trade.received_at {
            0 => 0,
            // Half of the span is for those that come later and were received before.
            received_at => {
                let from = received_at.saturating_sub(RECEIVED_SPAN / 2);
                received_at - *self.before_received.get_or_insert(from)
            }
        };
        let image = &mut self.image;
        image.prices.push(trade.price.get());
        image.volumes.push(trade.volume.get());
        image.timestamps.push((trade.timestamp - image.first_timestamp) as i32);
        image.received_low.push(since as u32);
        image.received_high.push((since >> 32) as u16);
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
        self.image.before_received = self.before_received.unwrap_or_default();
        bytes.clear();
        let Image { names, name_ends, run_ends, .. } = &self.image;
        let symbols = names.len() + name_ends.len() * SYMBOL_BYTES;
        let runs = run_ends.len() * RUN_BYTES;
        bytes.reserve(self.len() * TRADE_BYTES + runs + symbols + IMAGE_BYTES);
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
        image.run_symbols.clear();
        image.run_offsets.clear();
        image.run_indexes.clear();
        image.run_ends.clear();
        image.prices.clear();
        image.volumes.clear();
        image.timestamps.clear();
        image.received_low.clear();
        image.received_high.clear();
        self.first = None;
        self.before_received = None;
        self.last = None;
        self.batch += 1;
    }
}

/// Whether a time of receipt lies in the span that begins there.
#[inline]
fn is_within(before: u64, received_at: u64) -> bool {
    received_at.checked_sub(before).is_some_and(|since| (1..RECEIVED_SPAN).contains(&since))
}
