use std::collections::BTreeMap;

use market::{Sequence, Trade};

use crate::history::{self, History, HistoryError, Mark, Marks};
use crate::ladder::Ladder;
use crate::level::{Level, Side};
use crate::recent::{Recent, RecentTrade};
use crate::roster::{Place, Roster};
use crate::symbols::{SymbolKey, Symbols};
use crate::{AlertId, Firing};

/// Everything that the evaluation of one partition of the log needs.
///
/// Holds no user data and does no I/O. Prices are in the quote currency.
#[derive(Debug)]
pub struct Partition {
    /// The last trade evaluated. An index of `u32::MAX` says that the record is done with.
    pub(crate) seen: Sequence,
    /// The offset at which a mark is due or a waiting alert joins: until then a trade has no more
    /// to do than be evaluated.
    attention: i64,
    /// By symbol number, as are the ladders.
    watches: Vec<Watch>,
    pub(crate) recent: Recent,
    ladders: Vec<[Ladder; 2]>,
    pub(crate) roster: Roster,
    /// Alerts armed at an offset that the log has not reached, by that offset and their slot.
    pub(crate) waiting: BTreeMap<(i64, u32), (SymbolKey, Level)>,
    pub(crate) symbols: Symbols,
    pub(crate) marks: Marks,
    /// How many of the alerts that are known have fired.
    pub(crate) fired: usize,
}

/// All that a trade that fires nothing needs of its symbol, in half a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Watch {
    /// The lowest price that fires an `Above`; infinite where there is none.
    above: f64,
    /// The highest price that fires a `Below`; 0 where there is none.
    below: f64,
    history: History,
}

impl Partition {
    /// A partition of which nothing is known: to be read from where the log begins.
    ///
    /// `ring_trades` is how many of the newest trades are kept (32 bytes each) to judge alerts
    /// that come late, and how many records apart the histories are marked.
    pub fn new(ring_trades: usize) -> Self {
        Self::at(0, ring_trades)
    }

    /// The partition as it was when a checkpoint was made, without its alerts and with an empty
    /// ring: to be read on from `next_offset`.
    ///
    /// # Errors
    /// Where the bytes are not what [`Partition::history`] gives.
    pub fn restore(history: &[u8], ring_trades: usize) -> Result<Self, HistoryError> {
        let (symbols, marks, now) = history::decode(history)?;
        let mut partition = Self::as_of(symbols.iter().map(String::as_str), &now, ring_trades);
        marks.into_iter().for_each(|mark| partition.marks.push(mark));
        Ok(partition)
    }

    /// A partition without alerts, its histories as of a mark.
    pub(crate) fn as_of<'a>(
        symbols: impl Iterator<Item = &'a str>,
        mark: &Mark,
        ring_trades: usize,
    ) -> Self {
        let mut partition = Self::at(mark.next_offset, ring_trades);
        for (number, symbol) in symbols.enumerate() {
            let key = partition.intern(symbol);
            partition.watches[key.index()].history = mark.history(number);
        }
        partition
    }

    fn at(next_offset: i64, ring_trades: usize) -> Self {
        let marks = Marks::new(ring_trades, next_offset);
        Self {
            seen: Sequence { offset: next_offset - 1, index: u32::MAX },
            attention: marks.due(),
            watches: Vec::new(),
            recent: Recent::new(ring_trades, next_offset),
            ladders: Vec::new(),
            roster: Roster::default(),
            waiting: BTreeMap::new(),
            symbols: Symbols::default(),
            marks,
            fired: 0,
        }
    }

    /// What a checkpoint stores beside `next_offset`: per symbol what conditions need of the past.
    /// To be called between records.
    pub fn history(&self) -> Vec<u8> {
        history::encode(self.symbols.iter(), self.marks.iter(), &self.mark(self.first_to_come()))
    }

    /// The number of a symbol, from now on its name to [`Partition::evaluate`].
    #[inline]
    pub fn intern(&mut self, symbol: &str) -> SymbolKey {
        let key = self.symbols.intern(symbol);
        if key.index() == self.watches.len() {
            let (above, below) = (Side::Above.bound(None), Side::Below.bound(None));
            self.watches.push(Watch { above, below, history: History::NONE });
            self.ladders.push([Ladder::default(), Ladder::default()]);
        }
        key
    }

    pub(crate) fn symbol(&self, key: SymbolKey) -> &str {
        self.symbols.name(key)
    }

    /// Evaluates a trade; pushes what fires, and takes it out of the index. A trade at or before
    /// one that was seen is passed over; a late one (older than the symbol's newest) decides
    /// nothing.
    ///
    /// # Panics
    /// Where the key is another partition's.
    #[inline]
    pub fn evaluate(
        &mut self,
        symbol: SymbolKey,
        trade: &Trade,
        sequence: Sequence,
        fired: &mut Vec<Firing>,
    ) {
        if sequence <= self.seen {
            return;
        }
        if sequence.offset >= self.attention {
            self.attend(sequence.offset);
        }
        self.seen = sequence;
        let watch = &mut self.watches[symbol.index()];
        if trade.timestamp < watch.history.newest {
            return;
        }
        let price = trade.price.get();
        watch.history = History { newest: trade.timestamp, last: price };
        let reaches = price >= watch.above || price <= watch.below;
        self.recent.push(symbol, trade, sequence);
        if reaches {
            self.fire(symbol, trade, sequence, fired);
        }
    }

    /// Says that all records before `next_offset` were handed over: the last ones may have held
    /// no trade.
    pub fn advance(&mut self, next_offset: i64) {
        self.seen = self.seen.max(Sequence { offset: next_offset - 1, index: u32::MAX });
    }

    /// Where to read on: the offset after the last record seen. `None` where none was.
    pub fn next_offset(&self) -> Option<i64> {
        (self.seen.offset >= 0).then_some(self.seen.offset + 1)
    }

    /// How many alerts are armed, those that wait for the log among them.
    pub fn armed(&self) -> usize {
        self.roster.len() - self.fired
    }

    /// Roughly how much memory it takes.
    pub fn bytes(&self) -> usize {
        let ladders: usize = self.ladders.iter().flatten().map(Ladder::bytes).sum();
        // A leaf of a map is two thirds full.
        let waiting = self.waiting.len() * size_of::<((i64, u32), (SymbolKey, Level))>() * 3 / 2;
        let by_symbol = self.watches.capacity() * size_of::<Watch>()
            + self.ladders.capacity() * size_of::<[Ladder; 2]>();
        let kept = self.recent.bytes() + self.marks.bytes() + self.symbols.bytes();
        self.roster.bytes() + ladders + waiting + by_symbol + kept
    }

    /// The first offset of which a trade may yet come.
    #[inline]
    pub(crate) fn first_to_come(&self) -> i64 {
        self.seen.offset + i64::from(self.seen.index == u32::MAX)
    }

    fn mark(&self, next_offset: i64) -> Mark {
        let histories = self.watches.iter().map(|watch| watch.history).collect();
        Mark { next_offset, histories }
    }

    /// A mark is due, or alerts that waited for the log join the index. Every record before
    /// `offset` has been evaluated and none of its own trades.
    #[cold]
    fn attend(&mut self, offset: i64) {
        if offset >= self.marks.due() {
            self.marks.push(self.mark(offset));
        }
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= offset
        {
            let ((_, slot), (symbol, level)) = first.remove_entry();
            self.index(slot, symbol, level);
        }
        self.look_out();
    }

    /// Works out where `attend` is needed next.
    pub(crate) fn look_out(&mut self) {
        let waiting =
            self.waiting.first_key_value().map_or(i64::MAX, |((armed_at, _), _)| *armed_at);
        self.attention = self.marks.due().min(waiting);
    }

    /// Puts the alert of a slot on its ladder.
    pub(crate) fn index(&mut self, slot: u32, symbol: SymbolKey, level: Level) {
        let content = self.roster.get_mut(slot);
        content.place = Place::ladder(symbol, level.side);
        content.word = level.key;
        self.ladders[symbol.index()][level.side as usize].insert(level.key, slot);
        let watch = &mut self.watches[symbol.index()];
        let bound = level.side.bound(Some(level.key));
        match level.side {
            Side::Above => watch.above = watch.above.min(bound),
            Side::Below => watch.below = watch.below.max(bound),
        }
    }

    /// Takes the alert of a slot off its ladder.
    pub(crate) fn take_off(&mut self, slot: u32, symbol: SymbolKey, level: Level) {
        self.ladders[symbol.index()][level.side as usize].remove(level.key, slot);
        let watch = &self.watches[symbol.index()];
        let bound = level.side.bound(Some(level.key));
        // Only where it was the nearest is there another bound to look for.
        if bound == watch.above || bound == watch.below {
            self.bound(symbol);
        }
    }

    /// Brings the bounds of a symbol's watch in line with its ladders.
    fn bound(&mut self, symbol: SymbolKey) {
        let [above, below] = &self.ladders[symbol.index()];
        let watch = &mut self.watches[symbol.index()];
        watch.above = Side::Above.bound(above.nearest());
        watch.below = Side::Below.bound(below.nearest());
    }

    #[inline(never)]
    fn fire(
        &mut self,
        symbol: SymbolKey,
        trade: &Trade,
        sequence: Sequence,
        fired: &mut Vec<Firing>,
    ) {
        let Trade { price, timestamp, received_at, .. } = *trade;
        for side in Side::BOTH {
            let key = side.key(price);
            while let Some(slot) = self.ladders[symbol.index()][side as usize].pop_reached(key) {
                let (id, generation) = self.retire(slot);
                fired.push(Firing { id, generation, price, timestamp, sequence, received_at });
            }
        }
        self.bound(symbol);
    }

    /// Notes that the alert of a slot has fired.
    fn retire(&mut self, slot: u32) -> (AlertId, i32) {
        let content = self.roster.get_mut(slot);
        content.place = Place::FIRED;
        self.fired += 1;
        (content.id, content.generation)
    }

    /// The first of the recent trades, from `armed_at` on, that reaches a level.
    pub(crate) fn first_reach(
        &self,
        symbol: SymbolKey,
        level: Level,
        armed_at: i64,
    ) -> Option<RecentTrade> {
        let mut since = self.recent.since(armed_at);
        since.find(|trade| trade.symbol == symbol && level.is_reached_by(trade.price)).copied()
    }
}
