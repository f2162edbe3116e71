use foldhash::fast::RandomState;
use hashbrown::HashMap;
use market::{Sequence, Stamp, Trade, Volume};

use crate::alarms::Wait;
use crate::history::Mark;
use crate::recent::RecentTrade;
use crate::slot::Place;
use crate::standing::{Outcome, Standing};
use crate::symbols::SymbolKey;
use crate::{AlertId, Armed, Arming, Firing, Partition, Progress, Version};

/// How alerts come and go.
impl Partition {
    /// Makes an alert known. Of one that is known already, the later version counts; nothing
    /// happens where it is the same, so that a row may be told any number of times.
    ///
    /// An alert armed ahead of the log waits for it. Where the log is ahead, the trades between
    /// are looked for among the recent ones.
    pub fn arm(&mut self, symbol: &str, alert: Armed, fired: &mut Vec<Firing>) -> Arming {
        if let Some(slot) = self.roster.find(alert.id) {
            let known = self.roster.get(slot);
            if known.version() >= alert.version {
                return if known.place() == Place::Fired { Arming::Fired } else { Arming::Armed };
            }
            self.forget(slot);
        }
        let from = alert.judged_to;
        if from < Sequence::of_record(self.recent.from()) {
            return Arming::Behind;
        }
        let Some(symbol) = self.intern(symbol) else { return Arming::TooManySymbols };
        let mut standing = self.standing_of(symbol, &alert);
        if from > self.next() {
            self.wait(alert.id, symbol, &standing, from);
            return Arming::Armed;
        }
        let has_fired = self.catch_up(symbol, alert.id, &mut standing, from, fired);
        let slot = self.roster.insert(alert.id, symbol, &standing);
        if has_fired {
            self.fired += 1;
            self.roster.get_mut(slot).put(Place::Fired);
            return Arming::Fired;
        }
        self.put(slot, symbol, standing, self.next());
        Arming::Armed
    }

    fn standing_of(&self, symbol: SymbolKey, alert: &Armed) -> Standing {
        let mut standing = Standing {
            version: alert.version,
            condition: alert.terms.condition(),
            repeat: alert.terms.repeat(),
            latched: alert.latched,
            asleep_until: alert.asleep_until,
            reference: alert.reference,
            peak: Stamp::default(),
        };
        if standing.condition.trails() {
            // What it has seen before the checkpoint is in the checkpoint.
            let is_judged = alert.judged_to > alert.armed_at;
            let book = &self.books[symbol.index()];
            let best = is_judged.then(|| book.best_since(&standing, alert.armed_at)).flatten();
            (standing.reference, standing.peak) =
                best.map_or_else(Default::default, |(best, peak)| (Some(best), peak));
        }
        standing
    }

    /// Shows an alert the recent trades from a place on. True where it has fired for good.
    fn catch_up(
        &mut self,
        symbol: SymbolKey,
        id: AlertId,
        standing: &mut Standing,
        from: Sequence,
        fired: &mut Vec<Firing>,
    ) -> bool {
        let newest = self.watches[symbol.index()].newest;
        for trade in self.recent.of_symbol(symbol, newest, from) {
            let version = standing.version;
            match standing.see(trade.before(), trade.price, trade.stamp()) {
                Outcome::Nothing => {}
                Outcome::Moved => {
                    self.progress.push(standing.progress(id, trade.sequence.next()));
                }
                Outcome::Fired { reference } => {
                    let RecentTrade { price, timestamp, sequence, received_at, .. } = *trade;
                    fired.push(Firing {
                        id,
                        version,
                        price,
                        reference,
                        timestamp,
                        sequence,
                        received_at,
                    });
                    if standing.repeat.is_none() {
                        return true;
                    }
                }
            }
        }
        false
    }

    pub(crate) fn wait(
        &mut self,
        id: AlertId,
        symbol: SymbolKey,
        standing: &Standing,
        at: Sequence,
    ) {
        let slot = self.roster.insert(id, symbol, standing);
        self.roster.get_mut(slot).put(Place::Waiting);
        self.waiting.set(Wait { at, slot, asleep_until: standing.asleep_until });
        self.look_out();
    }

    /// Forgets an alert, unless it is known in a later version.
    ///
    /// For one that has fired: when its row says so, rather than when its firing was stored. Till
    /// then an older copy of the row, read before that, cannot arm it again.
    pub fn disarm(&mut self, id: AlertId, version: Version) {
        if let Some(slot) = self.roster.find(id)
            && self.roster.get(slot).version() <= version
        {
            self.forget(slot);
        }
    }

    /// After the alerts that a checkpoint knew are armed on the partition restored from it: lets
    /// go of what it kept for alerts that are no more.
    pub fn settle(&mut self) {
        for (watch, book) in self.watches.iter_mut().zip(&mut self.books) {
            book.prune(&self.roster);
            watch.attend(book.attention(&self.roster));
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

    /// Takes over the alerts of a partition that [`Partition::rewind`] gave, once it has caught up
    /// as far as the recent trades reach; what they fire is pushed. Else nothing happens, and
    /// there is more of the log to read: `false`.
    ///
    /// What was known here of an alert counts where its version is the same or later. Meanwhile
    /// [`Partition::disarm`] must be told to both.
    ///
    /// # Panics
    /// Where it has read further than this partition.
    #[must_use]
    pub fn absorb(&mut self, behind: &mut Self, fired: &mut Vec<Firing>) -> bool {
        let next = behind.next();
        assert!(next <= self.next(), "what is behind is not to be ahead");
        if next < Sequence::of_record(self.recent.from()) {
            return false;
        }
        for recent in self.recent.since(next) {
            let RecentTrade { price, timestamp, received_at, .. } = *recent;
            let trade = Trade { price, timestamp, volume: Volume::ZERO, received_at };
            if let Some(symbol) = behind.intern(self.symbol(recent.symbol)) {
                behind.evaluate(symbol, &trade, recent.sequence, fired);
            }
        }
        behind.seen = behind.seen.max(self.seen);
        self.take_over(behind);
        true
    }

    fn take_over(&mut self, behind: &mut Self) {
        let mut told: HashMap<(AlertId, Version), Vec<Progress>, RandomState> = HashMap::default();
        for progress in behind.progress.drain(..) {
            told.entry((progress.id, progress.version)).or_default().push(progress);
        }
        for (slot, wait) in behind.placed() {
            let content = behind.roster.get(slot);
            let (id, version) = (content.id(), content.version());
            if let Some(known) = self.roster.find(id) {
                if self.roster.get(known).version() >= version {
                    continue;
                }
                self.forget(known);
            }
            // Only of what is taken over, and after what an earlier version was told: of one alert a
            // store may keep no more than the last.
            self.progress.extend(told.remove(&(id, version)).into_iter().flatten());
            let (place, symbol) = (content.place(), content.symbol());
            let Some(symbol) = self.intern(behind.symbol(symbol)) else { continue };
            match place {
                Place::Fired => {
                    self.fired += 1;
                    let slot = self.roster.insert(id, symbol, &wait.standing);
                    self.roster.get_mut(slot).put(Place::Fired);
                }
                _ if wait.at > self.next() => self.wait(id, symbol, &wait.standing, wait.at),
                _ => {
                    let slot = self.roster.insert(id, symbol, &wait.standing);
                    self.put(slot, symbol, wait.standing, self.next());
                }
            }
        }
        *behind = Self::new(0);
    }

    /// Every alert that is known: its slot, and all of how it stands.
    pub(crate) fn placed(&self) -> Vec<(u32, Placed)> {
        let mut placed = Vec::with_capacity(self.roster.len());
        let at = Sequence::default();
        for (slot, content) in self.roster.iter() {
            if matches!(content.place(), Place::Zone(_) | Place::Next | Place::Fired) {
                placed.push((slot, Placed { at, standing: self.roster.standing(slot, None) }));
            }
        }
        let is_alive = |slot: u32| self.roster.get(slot).place() != Place::Dead;
        for Wait { at, slot, asleep_until } in self.waiting.iter().copied() {
            if is_alive(slot) {
                let standing = Standing { asleep_until, ..self.roster.standing(slot, None) };
                placed.push((slot, Placed { at, standing }));
            }
        }
        for book in &self.books {
            for sleep in book.sleepers().filter(|sleep| is_alive(sleep.slot)) {
                let standing = self.roster.standing(sleep.slot, None);
                let standing = Standing { asleep_until: sleep.until, ..standing };
                placed.push((sleep.slot, Placed { at, standing }));
            }
            book.followers(&self.roster, |slot, best| {
                placed
                    .push((slot, Placed { at, standing: self.roster.standing(slot, Some(best)) }));
            });
        }
        placed
    }
}

/// All of how an alert stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Placed {
    /// It waits for the log to come here, if that is ahead.
    pub(crate) at: Sequence,
    pub(crate) standing: Standing,
}
