use market::{Trade, Volume};

use crate::history::Mark;
use crate::level::Level;
use crate::recent::RecentTrade;
use crate::roster::{Place, Slot};
use crate::symbols::SymbolKey;
use crate::{AlertId, Armed, Arming, Firing, Partition};

/// How alerts come and go.
impl Partition {
    /// Makes an alert known. Of one that is known already, the higher generation counts; nothing
    /// happens where it is the same, so that a row may be told any number of times.
    ///
    /// An alert armed ahead of the log waits for it. Where the log is ahead, the trades between
    /// are looked for among the recent ones.
    pub fn arm(&mut self, symbol: &str, alert: Armed, fired: &mut Vec<Firing>) -> Arming {
        if let Some(slot) = self.roster.find(alert.id) {
            let known = self.roster.get(slot);
            if known.generation >= alert.generation {
                let has_fired = known.place == Place::FIRED;
                return if has_fired { Arming::Fired } else { Arming::Armed };
            }
            self.forget(slot);
        }
        if alert.armed_at < self.recent.from() {
            return Arming::Behind { from: self.rewind_offset(alert.armed_at) };
        }
        let symbol = self.intern(symbol);
        let level = Level::new(alert.condition);
        let Some(first) = self.first_reach(symbol, level, alert.armed_at) else {
            self.enter(alert.id, alert.generation, symbol, level, alert.armed_at);
            return Arming::Armed;
        };
        let Armed { id, generation, .. } = alert;
        self.fired += 1;
        self.roster.insert(Slot { id, generation, place: Place::FIRED, word: 0 });
        let RecentTrade { price, timestamp, sequence, received_at, .. } = first;
        fired.push(Firing { id, generation, price, timestamp, sequence, received_at });
        Arming::Fired
    }

    /// Forgets an alert, unless it is known in a higher generation.
    ///
    /// For one that has fired: when its row says so, rather than when its firing was stored. Till
    /// then an older copy of the row, read before that, cannot arm it again.
    pub fn disarm(&mut self, id: AlertId, generation: i32) {
        if let Some(slot) = self.roster.find(id)
            && self.roster.get(slot).generation <= generation
        {
            self.forget(slot);
        }
    }

    /// The partition as it was at or before an offset, without alerts: to judge by the log alerts
    /// that are [`Arming::Behind`], while this partition goes on.
    ///
    /// Arm them there; read the log from its `next_offset` and evaluate it there; then
    /// [`Partition::absorb`]. Because histories start where they stood, a trade is late there
    /// where it was late here. A checkpoint made meanwhile must not count them among the alerts
    /// that were in the index: its offset says nothing of them.
    pub fn rewind(&self, offset: i64) -> Self {
        let origin = Mark { next_offset: 0, histories: Vec::new() };
        let mark = self.marks.at_or_before(offset).unwrap_or(&origin);
        Self::as_of(self.symbols.iter(), mark, self.recent.most())
    }

    /// Where `rewind` would start.
    fn rewind_offset(&self, offset: i64) -> i64 {
        self.marks.at_or_before(offset).map_or(0, |mark| mark.next_offset)
    }

    /// Takes over the alerts of a partition that [`Partition::rewind`] gave, once it has caught up
    /// as far as the recent trades reach; what they fire is pushed. Else nothing happens, and
    /// there is more of the log to read: `false`.
    ///
    /// What was known here of an alert counts where its generation is the same or higher.
    /// Meanwhile [`Partition::disarm`] must be told to both.
    #[must_use]
    pub fn absorb(&mut self, behind: &mut Self, fired: &mut Vec<Firing>) -> bool {
        if behind.first_to_come() < self.recent.from() {
            return false;
        }
        for recent in self.recent.since(behind.first_to_come()) {
            let symbol = behind.intern(self.symbol(recent.symbol));
            let RecentTrade { price, timestamp, received_at, .. } = *recent;
            let trade = Trade { price, timestamp, volume: Volume::ZERO, received_at };
            behind.evaluate(symbol, &trade, recent.sequence, fired);
        }
        behind.seen = behind.seen.max(self.seen);
        self.take_over(behind);
        true
    }

    fn take_over(&mut self, behind: &mut Self) {
        let evaluated = behind.first_to_come();
        let waiting = std::mem::take(&mut behind.waiting);
        let waiting = waiting.iter().map(|((armed_at, slot), (symbol, level))| {
            (*behind.roster.get(*slot), *symbol, *level, *armed_at)
        });
        let indexed = behind.roster.iter().filter_map(|(_, slot)| {
            let (symbol, side) = slot.place.as_ladder()?;
            Some((*slot, symbol, Level { side, key: slot.word }, evaluated))
        });
        for (slot, symbol, level, armed_at) in waiting.chain(indexed) {
            if self.make_way(slot.id, slot.generation) {
                let symbol = self.intern(behind.symbol(symbol));
                self.enter(slot.id, slot.generation, symbol, level, armed_at);
            }
        }
        let fired = behind.roster.iter().filter(|(_, slot)| slot.place == Place::FIRED);
        for (_, slot) in fired {
            if self.make_way(slot.id, slot.generation) {
                self.fired += 1;
                self.roster.insert(*slot);
            }
        }
        *behind = Self::new(0);
    }

    /// Whether an alert is news; a lower generation of it is forgotten.
    fn make_way(&mut self, id: AlertId, generation: i32) -> bool {
        let Some(slot) = self.roster.find(id) else { return true };
        let is_news = self.roster.get(slot).generation < generation;
        if is_news {
            self.forget(slot);
        }
        is_news
    }

    /// Puts an alert that nothing so far has fired into the index, or lets it wait for the log.
    fn enter(
        &mut self,
        id: AlertId,
        generation: i32,
        symbol: SymbolKey,
        level: Level,
        armed_at: i64,
    ) {
        let word = armed_at as u64;
        let slot = self.roster.insert(Slot { id, generation, place: Place::WAITING, word });
        if armed_at <= self.first_to_come() {
            self.index(slot, symbol, level);
        } else {
            self.waiting.insert((armed_at, slot), (symbol, level));
            self.look_out();
        }
    }

    fn forget(&mut self, slot: u32) {
        let Slot { place, word, .. } = *self.roster.get(slot);
        if let Some((symbol, side)) = place.as_ladder() {
            self.take_off(slot, symbol, Level { side, key: word });
        } else if place == Place::WAITING {
            self.waiting.remove(&(word as i64, slot));
        } else {
            self.fired -= 1;
        }
        self.roster.remove(slot);
    }
}
