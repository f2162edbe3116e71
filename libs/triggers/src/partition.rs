use market::{Price, Sequence, Stamp, Trade};

use crate::alarms::{Alarms, Wait};
use crate::book::{Attention, Book};
use crate::history::{self, History, HistoryError, Mark, Marks};
use crate::recent::Recent;
use crate::roster::Roster;
use crate::side::Side;
use crate::slot::Place;
use crate::standing::{Outcome, Standing};
use crate::symbols::{SymbolKey, Symbols};
use crate::{AlertId, Firing, Progress, Version};

/// Everything that the evaluation of one partition of the log needs.
///
/// Holds no user data and does no I/O. Prices are in the quote currency.
#[derive(Debug)]
pub struct Partition {
    /// The last trade evaluated. An index of `u32::MAX` says that the record is done with.
    pub(crate) seen: Sequence,
    /// The trade at which a mark is due or a waiting alert joins: until then a trade has no more
    /// to do than be evaluated.
    attention: Sequence,
    /// By symbol number, as are the books.
    pub(crate) watches: Vec<Watch>,
    pub(crate) recent: Recent,
    pub(crate) books: Vec<Book>,
    pub(crate) roster: Roster,
    /// Alerts armed at a trade that the log has not reached.
    pub(crate) waiting: Alarms<Wait>,
    pub(crate) symbols: Symbols,
    pub(crate) marks: Marks,
    /// How many of the alerts that are known have fired for good.
    pub(crate) fired: usize,
    pub(crate) progress: Vec<Progress>,
}

/// All that a trade that concerns no alert needs of its symbol, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Watch {
    attention: Attention,
    pub(crate) history: History,
    /// The number of its newest trade in the ring, if that has one.
    pub(crate) newest: u32,
}

impl Watch {
    const NONE: Self = Self { attention: Attention::NONE, history: History::NONE, newest: 0 };

    pub(crate) fn attend(&mut self, attention: Attention) {
        self.attention = attention;
    }
}

impl Partition {
    /// A partition of which nothing is known: to be read from where the log begins.
    ///
    /// `ring_trades` is how many of the newest trades are kept (56 bytes each) to judge alerts
    /// that come late, and how many records apart the histories are marked.
    pub fn new(ring_trades: usize) -> Self {
        Self::at(0, ring_trades)
    }

    /// The partition as it was when a checkpoint was made, without its alerts and with an empty
    /// ring: to be read on from `next_offset`. Once its alerts are armed, [`Partition::settle`].
    ///
    /// # Errors
    /// Where the bytes are not what [`Partition::history`] gives.
    pub fn restore(history: &[u8], ring_trades: usize) -> Result<Self, HistoryError> {
        let decoded = history::decode(history)?;
        let symbols = decoded.symbols.iter().map(String::as_str);
        let mut partition = Self::as_of(symbols, &decoded.now, ring_trades);
        for mark in decoded.marks {
            if partition.marks.make_room(mark.next_offset) {
                partition.marks.push(mark);
            }
        }
        for (book, peaks) in partition.books.iter_mut().zip(&decoded.peaks) {
            for side in Side::BOTH {
                if !book.restore(side, &peaks[side as usize]) {
                    return Err(HistoryError::Damaged("its peaks are not in order"));
                }
            }
        }
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
            if let Some(key) = partition.intern(symbol) {
                partition.watches[key.index()].history = mark.history(number);
            }
        }
        partition
    }

    fn at(next_offset: i64, ring_trades: usize) -> Self {
        let marks = Marks::new(ring_trades, next_offset);
        Self {
            seen: Sequence { offset: next_offset - 1, index: u32::MAX },
            attention: Sequence::of_record(marks.due()),
            watches: Vec::new(),
            recent: Recent::new(ring_trades, next_offset),
            books: Vec::new(),
            roster: Roster::default(),
            waiting: Alarms::default(),
            symbols: Symbols::default(),
            marks,
            fired: 0,
            progress: Vec::new(),
        }
    }

    /// What a checkpoint stores beside `next_offset`: per symbol what conditions need of the past.
    /// To be called between records, and once all [`Partition::take_progress`] is in the rows.
    pub fn history(&self) -> Vec<u8> {
        let now = self.mark(self.next().offset);
        let peaks = self.books.iter().map(Book::peaks);
        history::encode(self.symbols.iter(), self.marks.iter(), &now, peaks)
    }

    /// The number of a symbol, from now on its name to [`Partition::evaluate`]. `None` past four
    /// million of them.
    #[inline]
    pub fn intern(&mut self, symbol: &str) -> Option<SymbolKey> {
        let key = self.symbols.intern(symbol)?;
        if key.index() == self.watches.len() {
            self.watches.push(Watch::NONE);
            self.books.push(Book::default());
        }
        Some(key)
    }

    pub(crate) fn symbol(&self, key: SymbolKey) -> &str {
        self.symbols.name(key)
    }

    /// Evaluates a trade; pushes what fires. A trade at or before one that was seen is passed
    /// over; a late one (older than the symbol's newest) decides nothing.
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
        if sequence >= self.attention {
            self.attend(sequence);
        }
        self.seen = sequence;
        let watch = &mut self.watches[symbol.index()];
        let (attention, before) = (watch.attention, watch.history);
        if trade.timestamp < before.newest {
            return;
        }
        let price = trade.price.get();
        watch.history = History { newest: trade.timestamp, last: price };
        let previous = std::mem::replace(&mut watch.newest, self.recent.next());
        self.recent.push(symbol, trade, sequence, previous, before.last);
        if price >= attention.above || price <= attention.below || trade.timestamp >= attention.time
        {
            self.show(symbol, trade, sequence, before, fired);
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

    /// What has become of alerts that have not fired, in the order of the log, since this was
    /// called before: for their rows, before a checkpoint is stored.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        std::mem::take(&mut self.progress)
    }

    /// The newest event time of a symbol, Unix milliseconds; no alert of it sees an earlier trade
    /// any more. `None` where it has not traded.
    pub fn newest(&self, symbol: &str) -> Option<i64> {
        let newest = self.watches[self.symbols.find(symbol)?.index()].history.newest;
        (newest > i64::MIN).then_some(newest)
    }

    /// Whether an alert was shown, in that version, every trade since it was armed, and has not
    /// fired for good.
    pub fn knows(&self, id: AlertId, version: Version) -> bool {
        self.roster.find(id).is_some_and(|slot| {
            let known = self.roster.get(slot);
            known.version() == version && !matches!(known.place(), Place::Waiting | Place::Fired)
        })
    }

    /// How many alerts are armed, those that wait for the log among them.
    pub fn armed(&self) -> usize {
        self.roster.len() - self.fired
    }

    /// Roughly how much memory it takes.
    pub fn bytes(&self) -> usize {
        let books: usize = self.books.iter().map(Book::bytes).sum();
        let by_symbol = self.watches.capacity() * size_of::<Watch>()
            + self.books.capacity() * size_of::<Book>();
        let kept = self.recent.bytes() + self.marks.bytes() + self.symbols.bytes();
        let progress = self.progress.capacity() * size_of::<Progress>();
        self.roster.bytes() + books + self.waiting.bytes() + by_symbol + kept + progress
    }

    /// The first place of which a trade may yet come.
    #[inline]
    pub(crate) fn next(&self) -> Sequence {
        self.seen.next()
    }

    pub(crate) fn mark(&self, next_offset: i64) -> Mark {
        let histories = self.watches.iter().map(|watch| watch.history).collect();
        Mark { next_offset, histories }
    }

    /// A mark is due, or alerts that waited for the log join the index. Everything before
    /// `sequence` has been evaluated.
    #[cold]
    fn attend(&mut self, sequence: Sequence) {
        // Due at the first trade of a record: then none of its own is in the mark.
        if sequence.offset >= self.marks.due() && self.marks.make_room(sequence.offset) {
            self.marks.push(self.mark(sequence.offset));
        }
        while let Some(wait) = self.waiting.take(|wait| { wait.at } <= sequence) {
            let slot = wait.slot;
            if self.roster.get(slot).place() == Place::Dead {
                self.waiting.buried();
                self.roster.free(slot);
                continue;
            }
            let symbol = self.roster.get(slot).symbol();
            let mut standing = self.roster.standing(slot, None);
            standing.asleep_until = wait.asleep_until;
            self.put(slot, symbol, standing, sequence);
        }
        self.look_out();
    }

    /// Works out where `attend` is needed next.
    pub(crate) fn look_out(&mut self) {
        let due = Sequence::of_record(self.marks.due());
        self.attention = self.waiting.next().map_or(due, |wait| due.min(wait.at));
    }

    /// Puts an alert where it waits, as it stands before the place `next`. Its slot is in no place.
    pub(crate) fn put(
        &mut self,
        slot: u32,
        symbol: SymbolKey,
        mut standing: Standing,
        next: Sequence,
    ) {
        let Watch { history, attention, .. } = self.watches[symbol.index()];
        let book = &mut self.books[symbol.index()];
        let nearest = if standing.asleep_until > history.newest {
            self.roster.get_mut(slot).stand(&standing);
            book.put_to_sleep(slot, standing.asleep_until, &mut self.roster)
        } else {
            let last = Price::new(history.last);
            if standing.settle(last) && standing.is_told() {
                let id = self.roster.get(slot).id();
                self.progress.push(standing.progress(id, next));
            }
            self.roster.get_mut(slot).stand(&standing);
            book.put(slot, &standing, last, &mut self.roster)
        };
        self.watches[symbol.index()].attention = attention.and(nearest);
    }

    /// Takes an alert out of whatever it waits in. Its slot is dead.
    pub(crate) fn forget(&mut self, slot: u32) {
        let content = *self.roster.get(slot);
        let symbol = content.symbol();
        let book = &mut self.books[symbol.index()];
        book.take(slot, &mut self.roster);
        self.roster.lose(slot);
        match content.place() {
            Place::Asleep => book.died_asleep(&mut self.roster),
            Place::Waiting => {
                let (roster, mut free) = (&self.roster, Vec::new());
                let is_dead = |slot| roster.get(slot).place() == Place::Dead;
                self.waiting.died(is_dead, |slot| free.push(slot));
                free.into_iter().for_each(|slot| self.roster.free(slot));
                self.look_out();
            }
            Place::Fired => {
                self.fired -= 1;
                self.roster.free(slot);
            }
            Place::Zone(_) | Place::Next | Place::Trail => {
                self.roster.free(slot);
                self.watches[symbol.index()].attention = book.attention(&self.roster);
            }
            Place::Dead => {}
        }
    }

    /// Shows a trade to the alerts that it concerns.
    #[inline(never)]
    fn show(
        &mut self,
        symbol: SymbolKey,
        trade: &Trade,
        sequence: Sequence,
        before: History,
        fired: &mut Vec<Firing>,
    ) {
        let stamp = Stamp { time: trade.timestamp, sequence };
        let mut show = |partition: &mut Self, slot, best| {
            partition.show_to(slot, best, symbol, trade, stamp, before, fired);
        };
        let at = symbol.index();
        for slot in self.books[at].pass(trade.price, stamp, &mut self.roster) {
            show(self, slot, None);
        }
        while let Some(slot) = self.books[at].wake(trade.timestamp, &mut self.roster) {
            show(self, slot, None);
        }
        for side in Side::BOTH {
            while let Some((slot, best)) =
                self.books[at].take_reached(side, trade.price, &mut self.roster)
            {
                show(self, slot, best);
            }
        }
        self.watches[at].attention = self.books[at].attention(&self.roster);
    }

    /// Shows a trade to an alert that was taken out of where it waited, and puts it back.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to one trade and one alert")]
    fn show_to(
        &mut self,
        slot: u32,
        best: Option<(Price, Stamp)>,
        symbol: SymbolKey,
        trade: &Trade,
        stamp: Stamp,
        before: History,
        fired: &mut Vec<Firing>,
    ) {
        let id = self.roster.get(slot).id();
        let mut standing = self.roster.standing(slot, best);
        let version = standing.version;
        match standing.see(Price::new(before.last), trade.price, stamp) {
            Outcome::Nothing => {}
            Outcome::Moved => self.progress.push(standing.progress(id, stamp.sequence.next())),
            Outcome::Fired { reference } => {
                fired.push(Firing {
                    id,
                    version,
                    price: trade.price,
                    reference,
                    timestamp: trade.timestamp,
                    sequence: stamp.sequence,
                    received_at: trade.received_at,
                });
                if standing.repeat.is_none() {
                    self.fired += 1;
                    self.roster.get_mut(slot).put(Place::Fired);
                    return;
                }
            }
        }
        self.put(slot, symbol, standing, stamp.sequence.next());
    }
}
