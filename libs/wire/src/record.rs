//! What the ingestor gathers of one round of frames: one record per symbol.
//!
//! ```text
//!  add(AAPL 1) add(TSLA 2) add(AAPL 3) ──drain──▶ AAPL: 1, 3   TSLA: 2
//! ```
//!
//! A broker's cost is per record, not per byte, so whatever has arrived for a symbol goes out
//! together; how long a round lasts is the caller's to say.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::HashTable;
use market::Trade;

use crate::tick::{self, ColumnsBuffer, MAX_TRADES_PER_RECORD};

#[cfg(test)]
mod tests;

/// After this many trades [`Gatherer::is_full`] asks for a drain, so that one round's memory
/// stays bounded whatever the feed sends.
pub const MAX_TRADES_PER_ROUND: usize = 65_536;

/// A record that would grow past this many bytes is cut short and another follows: brokers and
/// librdkafka refuse messages of more than 1,000,000 bytes by default (`message.max.bytes`).
/// A single trade is never cut; its conditions are bounded where it was parsed.
pub const MAX_RECORD_BYTES: usize = 900_000;

/// The bytes of one trade in the columns, without its conditions: four values and a count.
const TRADE_BYTES: usize = 4 * 8 + 5;

/// The most that a condition takes beside its text: its key and its length.
const CONDITION_BYTES: usize = 1 + 5;

/// Gathers the trades of a round by symbol, and encodes them.
///
/// Holds nothing from one round to the next but the room it took: as much as the largest round
/// needed.
#[derive(Debug)]
pub struct Gatherer {
    trades_per_record: usize,
    /// In order of arrival.
    trades: Vec<Gathered>,
    /// In order of first arrival.
    symbols: Vec<Symbol>,
    /// Finds the index in `symbols` by name.
    index: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
    /// The symbols' names, one behind the other.
    names: String,
    /// The conditions' texts, one behind the other, and the length of each.
    conditions: String,
    condition_lengths: Vec<usize>,
    columns: ColumnsBuffer,
    encoded: Vec<u8>,
}

#[derive(Debug)]
struct Symbol {
    name: Range<usize>,
    first: usize,
    last: usize,
}

#[derive(Debug)]
struct Gathered {
    trade: Trade,
    /// The same symbol's next trade in `trades`; its own index where there is none.
    next: usize,
    /// Of `condition_lengths`.
    conditions: Range<usize>,
    /// Where in the text the first condition starts.
    condition_start: usize,
}

impl Gatherer {
    /// A record carries up to `trades_per_record` trades, clamped to 1 to
    /// [`MAX_TRADES_PER_RECORD`].
    pub fn new(trades_per_record: usize) -> Self {
        Self {
            trades_per_record: trades_per_record.clamp(1, MAX_TRADES_PER_RECORD),
            trades: Vec::new(),
            symbols: Vec::new(),
            index: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            names: String::new(),
            conditions: String::new(),
            condition_lengths: Vec::new(),
            columns: ColumnsBuffer::default(),
            encoded: Vec::new(),
        }
    }

    /// How many trades were gathered since the last drain.
    pub fn trades(&self) -> usize {
        self.trades.len()
    }

    /// So many records they become, or some more.
    pub fn records(&self) -> usize {
        self.symbols.len().max(self.trades.len() / self.trades_per_record)
    }

    pub fn is_empty(&self) -> bool {
        self.trades.is_empty()
    }

    /// True once a round is as large as it should get: drain before more is added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.trades.len() >= MAX_TRADES_PER_ROUND
    }

    /// Adds a trade. `symbol` is normalized (`frame` gives no other).
    pub fn add<'c>(
        &mut self,
        symbol: &str,
        trade: &Trade,
        conditions: impl IntoIterator<Item = &'c str>,
    ) {
        let index = self.trades.len();
        let condition_start = self.conditions.len();
        let conditions_from = self.condition_lengths.len();
        for condition in conditions {
            self.conditions.push_str(condition);
            self.condition_lengths.push(condition.len());
        }
        self.trades.push(Gathered {
            trade: *trade,
            next: index,
            conditions: conditions_from..self.condition_lengths.len(),
            condition_start,
        });
        self.append(symbol, index);
    }

    /// Puts the trade at `index` behind the others of its symbol.
    fn append(&mut self, name: &str, index: usize) {
        let hash = self.hasher.hash_one(name);
        let found =
            self.index.find(hash, |&symbol| self.names[self.symbols[symbol].name.clone()] == *name);
        if let Some(&symbol) = found {
            let symbol = &mut self.symbols[symbol];
            self.trades[symbol.last].next = index;
            symbol.last = index;
            return;
        }
        let start = self.names.len();
        self.names.push_str(name);
        self.symbols.push(Symbol { name: start..self.names.len(), first: index, last: index });
        let Self { index: table, symbols, names, hasher, .. } = self;
        table.insert_unique(hash, symbols.len() - 1, |&symbol| {
            hasher.hash_one(&names[symbols[symbol].name.clone()])
        });
    }

    /// Hands out the round's records and begins a new round: symbols in order of first arrival,
    /// a symbol's trades in order of arrival.
    ///
    /// `send` gets the key (the symbol), the value, when its trades were received on the average
    /// (Unix nanoseconds), and how many they are. Its first error ends the drain, and what was
    /// left of the round is gone.
    pub fn drain<E>(
        &mut self,
        mut send: impl FnMut(&str, &[u8], u64, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut outcome = Ok(());
        for index in 0..self.symbols.len() {
            outcome = self.drain_symbol(index, &mut send);
            if outcome.is_err() {
                break;
            }
        }
        self.clear();
        outcome
    }

    fn drain_symbol<E>(
        &mut self,
        index: usize,
        send: &mut impl FnMut(&str, &[u8], u64, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { trades, conditions, condition_lengths, columns, encoded, .. } = self;
        let conditions_of = |trade: &Gathered| {
            let lengths = &condition_lengths[trade.conditions.clone()];
            texts(&conditions[trade.condition_start..], lengths)
        };
        let symbol = &self.symbols[index];
        let name = &self.names[symbol.name.clone()];
        let mut next = symbol.first;
        loop {
            columns.clear();
            let mut count = 0;
            let mut bytes = 0;
            let mut received_at = 0_u128;
            let last = loop {
                let gathered = &trades[next];
                columns.push(&gathered.trade, conditions_of(gathered));
                count += 1;
                bytes += gathered.bytes(condition_lengths);
                received_at += u128::from(gathered.trade.received_at);
                let last = next;
                next = gathered.next;
                if next == last
                    || count == self.trades_per_record
                    || bytes + trades[next].bytes(condition_lengths) > MAX_RECORD_BYTES
                {
                    break last;
                }
            };
            encoded.clear();
            tick::encode(name, &trades[last].trade, conditions_of(&trades[last]), encoded);
            if count > 1 {
                columns.encode(encoded);
            }
            // An average is no more than the largest, which fits.
            send(name, encoded, (received_at / count as u128) as u64, count)?;
            if next == last {
                return Ok(());
            }
        }
    }

    fn clear(&mut self) {
        self.trades.clear();
        self.symbols.clear();
        self.index.clear();
        self.names.clear();
        self.conditions.clear();
        self.condition_lengths.clear();
    }
}

impl Gathered {
    /// At most how much the trade adds to a record.
    fn bytes(&self, condition_lengths: &[usize]) -> usize {
        let conditions = &condition_lengths[self.conditions.clone()];
        TRADE_BYTES + conditions.iter().map(|length| CONDITION_BYTES + length).sum::<usize>()
    }
}

/// Cuts `text` into pieces of the given lengths.
fn texts<'a>(mut text: &'a str, lengths: &'a [usize]) -> impl Iterator<Item = &'a str> {
    lengths.iter().map(move |&length| {
        let (piece, rest) = text.split_at(length);
        text = rest;
        piece
    })
}
