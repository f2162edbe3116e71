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

use crate::tick::{self, ColumnsBuffer, Conditions, MAX_TRADES_PER_RECORD};

#[cfg(test)]
mod tests;

/// After this many trades [`Gatherer::is_full`] asks for a drain, so that one round's memory
/// stays bounded whatever the feed sends.
pub const MAX_TRADES_PER_ROUND: usize = 65_536;

/// As many bytes of conditions make a round full, too.
const MAX_CONDITION_BYTES_PER_ROUND: usize = 16 << 20;

/// A record that would grow past this many bytes is cut short and another follows: brokers and
/// librdkafka refuse messages of more than 1,000,000 bytes by default (`message.max.bytes`).
/// A single trade is never cut; its conditions are bounded where it was parsed.
pub const MAX_RECORD_BYTES: usize = 900_000;

/// The bytes of one trade in the columns, without its conditions: four values and a count.
const TRADE_BYTES: usize = 4 * 8 + 5;

/// Gathers the trades of a round by symbol, and encodes them.
///
/// Holds nothing from one round to the next but the room it took: as much as the largest round
/// needed.
#[derive(Debug)]
pub struct Gatherer {
    trades_per_record: usize,
    /// In order of arrival. Those of a symbol lie far apart, so to read them again is what a large
    /// round costs: what leads from one to the next is apart from them, where it stays at hand.
    trades: Vec<Gathered>,
    /// Of each trade the same symbol's next; its own index where there is none.
    next: Vec<u32>,
    /// In order of first arrival.
    symbols: Vec<Symbol>,
    /// Finds the index in `symbols` by name.
    index: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
    /// The symbols' names, one behind the other.
    names: String,
    /// The trades' conditions, as a record's column has them.
    conditions: Vec<u8>,
    columns: ColumnsBuffer,
    encoded: Vec<u8>,
}

#[derive(Debug)]
struct Symbol {
    name: Range<usize>,
    first: u32,
    last: u32,
}

#[derive(Debug)]
struct Gathered {
    trade: Trade,
    /// Where in the round's conditions its own begin, how many bytes they have, how many they are.
    conditions_from: u32,
    condition_bytes: u32,
    condition_count: u32,
}

impl Gatherer {
    /// A record carries up to `trades_per_record` trades, clamped to 1 to
    /// [`MAX_TRADES_PER_RECORD`].
    pub fn new(trades_per_record: usize) -> Self {
        Self {
            trades_per_record: trades_per_record.clamp(1, MAX_TRADES_PER_RECORD),
            trades: Vec::new(),
            next: Vec::new(),
            symbols: Vec::new(),
            index: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            names: String::new(),
            conditions: Vec::new(),
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
            || self.conditions.len() >= MAX_CONDITION_BYTES_PER_ROUND
    }

    /// Adds a trade. `symbol` is normalized (`frame` gives no other).
    pub fn add<'c>(
        &mut self,
        symbol: &str,
        trade: &Trade,
        conditions: impl IntoIterator<Item = &'c str>,
    ) {
        // A round is full long before these do not fit four bytes.
        let index = self.trades.len() as u32;
        let from = self.conditions.len();
        let condition_count = Conditions::encode(conditions, &mut self.conditions);
        self.trades.push(Gathered {
            trade: *trade,
            conditions_from: from as u32,
            condition_bytes: (self.conditions.len() - from) as u32,
            condition_count,
        });
        self.next.push(index);
        self.append(symbol, index);
    }

    /// Puts the trade at `index` behind the others of its symbol.
    fn append(&mut self, name: &str, index: u32) {
        let hash = self.hasher.hash_one(name);
        let found =
            self.index.find(hash, |&symbol| self.names[self.symbols[symbol].name.clone()] == *name);
        if let Some(&symbol) = found {
            let symbol = &mut self.symbols[symbol];
            self.next[symbol.last as usize] = index;
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
        let Self { trades, next, conditions, columns, encoded, .. } = self;
        let symbol = &self.symbols[index];
        let name = &self.names[symbol.name.clone()];
        let mut at = symbol.first as usize;
        loop {
            columns.clear();
            let mut count = 0;
            let mut bytes = 0;
            let mut received_at = 0_u128;
            let last = loop {
                let gathered = &trades[at];
                columns.push(&gathered.trade, gathered.conditions(conditions));
                count += 1;
                bytes += gathered.bytes();
                received_at += u128::from(gathered.trade.received_at);
                let last = at;
                at = next[at] as usize;
                if at == last
                    || count == self.trades_per_record
                    || bytes + trades[at].bytes() > MAX_RECORD_BYTES
                {
                    break last;
                }
            };
            let last_trade = &trades[last];
            let last_conditions = last_trade.conditions(conditions);
            encoded.clear();
            tick::encode_with(name, &last_trade.trade, last_conditions.texts(), encoded);
            if count > 1 {
                columns.encode(encoded);
            }
            // An average is no more than the largest, which fits.
            send(name, encoded, (received_at / count as u128) as u64, count)?;
            if at == last {
                return Ok(());
            }
        }
    }

    fn clear(&mut self) {
        self.trades.clear();
        self.next.clear();
        self.symbols.clear();
        self.index.clear();
        self.names.clear();
        self.conditions.clear();
    }
}

impl Gathered {
    fn conditions<'a>(&self, all: &'a [u8]) -> Conditions<'a> {
        let from = self.conditions_from as usize;
        let encoded = &all[from..from + self.condition_bytes as usize];
        Conditions { count: self.condition_count, encoded }
    }

    /// How much the trade adds to a record, at most.
    fn bytes(&self) -> usize {
        TRADE_BYTES + self.condition_bytes as usize
    }
}
