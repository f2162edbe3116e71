use std::collections::VecDeque;

use crate::{Candle, Interval, Sequence, Stamp, Trade};

/// Past so many candles that a store has to forget they are not named one by one.
const NAMED: usize = 32;
/// How far back candles are kept in memory, in milliseconds of event time, and how many at least.
/// Trades later than that are rare, and worth a look at the store.
const HOT_TIME: i64 = 120_000;
const HOT_CANDLES: i64 = 8;

/// Which candles there are: of which interval, and how many of the newest are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandleSpec {
    pub interval: Interval,
    /// At least 1.
    pub retain: u32,
}

/// What is written such as `1m:1440,1h:720`: intervals, each once, and how many candles are kept.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_candle_specs(text: &str) -> Result<Vec<CandleSpec>, String> {
    /// More of one interval would make a symbol's hash unwieldy.
    const MOST: u32 = 100_000;
    let wrong = |found: &str| {
        format!(
            "expected interval:number, separated by commas and each interval once, such as \
             1m:1440,1h:720 (intervals from 1s to 1d that divide a day, up to {MOST} candles of \
             each), found {found:?}"
        )
    };
    let mut specs: Vec<CandleSpec> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let spec = part.split_once(':').and_then(|(interval, retain)| {
            let retain = retain.parse().ok().filter(|retain| (1..=MOST).contains(retain))?;
            Some(CandleSpec { interval: interval.parse().ok()?, retain })
        });
        let spec = spec.ok_or_else(|| wrong(part))?;
        if specs.iter().any(|other| other.interval == spec.interval) {
            return Err(wrong(part));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// Those that are kept where nothing else is said.
pub const CANDLES: &str = "1s:900,1m:1440,5m:576,15m:672,1h:720,1d:366";

impl CandleSpec {
    /// How many of the newest candles are enough to go on with, while no trade is very late.
    pub fn hot(&self) -> u32 {
        let candles = (HOT_TIME / self.interval.milliseconds()).max(HOT_CANDLES);
        self.retain.min(u32::try_from(candles).unwrap_or(u32::MAX))
    }

    /// From which start on the hot candles are, where the newest is the one that holds `time`.
    pub fn hot_from(&self, time: i64) -> i64 {
        let interval = self.interval.milliseconds();
        self.interval.start(time) - (i64::from(self.hot()) - 1) * interval
    }
}

/// A symbol's candles of one interval, the newest `retain` buckets of event time, or the newest of
/// those: the older ones may be in the store alone.
///
/// Invariant: sorted by start, no two with the same start, none older than `retain` intervals
/// before the newest. A bucket without trades has no candle.
#[derive(Clone, Debug, PartialEq)]
pub struct Candles {
    spec: CandleSpec,
    /// Every candle from here on is here; of those before, none.
    known_from: i64,
    bars: VecDeque<Bar>,
    /// No bar that starts before this has changed since the last `take_changes`, or was the newest
    /// then and is no longer.
    changed_since: i64,
    /// The start of the bar that was the newest then and is no longer.
    former: Option<i64>,
    /// Starts of candles that fell out of retention since the last `take_expired`, beside `gone`.
    expired: Vec<i64>,
    gone: Gone,
}

/// What else a store has to forget than candles that are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    #[default]
    Nothing,
    /// Every candle that starts before.
    Before(i64),
    /// Every candle that was there before the changes at hand.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    start: i64,
    candle: Candle,
    /// Touched since the last `take_changes`.
    changed: bool,
}

impl Candles {
    /// There are none yet.
    pub fn new(spec: CandleSpec) -> Self {
        Self::known_from(spec, i64::MIN)
    }

    /// There may be some in the store; those that start at `known_from` or later are about to be
    /// put back.
    pub fn known_from(spec: CandleSpec, known_from: i64) -> Self {
        Self {
            spec,
            known_from,
            bars: VecDeque::new(),
            changed_since: i64::MAX,
            former: None,
            expired: Vec::new(),
            gone: Gone::Nothing,
        }
    }

    pub fn spec(&self) -> CandleSpec {
        self.spec
    }

    /// Puts back a candle that was stored. One that is no longer retained, or that starts where
    /// no bucket does, is left out and expires, as does one that has to go for it.
    pub fn restore(&mut self, start: i64, candle: Candle) {
        if self.spec.interval.start(start) != start || self.is_expired(start) {
            self.expired.push(start);
            return;
        }
        let bar = Bar { start, candle, changed: false };
        match self.bars.binary_search_by_key(&start, |bar| bar.start) {
            Ok(at) => self.bars[at] = bar,
            Err(at) => self.bars.insert(at, bar),
        }
        self.expire();
    }

    /// Whether what a trade of this time would change is here, or nowhere.
    #[inline]
    pub(crate) fn reaches(&self, time: i64) -> bool {
        let start = self.spec.interval.start(time);
        start >= self.known_from || self.is_expired(start)
    }

    /// From when on trades can be counted without a look at the store.
    pub(crate) fn reach(&self) -> i64 {
        self.known_from
    }

    /// Counts a trade in its bucket, which must be within reach; one whose bucket is no longer
    /// retained is left out.
    #[inline]
    pub fn add(&mut self, trade: &Trade, sequence: Sequence) {
        let stamp = Stamp { time: trade.timestamp, sequence };
        let start = self.spec.interval.start(trade.timestamp);
        self.changed_since = self.changed_since.min(start);
        if let Some(last) = self.bars.back_mut()
            && last.start == start
        {
            last.candle.add(trade, stamp);
            last.changed = true;
            return;
        }
        self.add_elsewhere(trade, stamp, start);
    }

    fn add_elsewhere(&mut self, trade: &Trade, stamp: Stamp, start: i64) {
        if self.is_expired(start) {
            return;
        }
        match self.bars.binary_search_by_key(&start, |bar| bar.start) {
            Ok(at) => {
                self.bars[at].candle.add(trade, stamp);
                self.bars[at].changed = true;
            }
            Err(at) => {
                if at == self.bars.len() {
                    self.close(start);
                }
                let candle = Candle::new(trade, stamp);
                self.bars.insert(at, Bar { start, candle, changed: true });
                self.expire();
            }
        }
    }

    /// The newest candle is about to be one that starts at `to`: the one before it is to be stored
    /// with the others, and what falls out of retention and is not here may be in the store.
    fn close(&mut self, to: i64) {
        let Some(newest) = self.bars.back() else { return };
        let from = newest.start;
        self.former.get_or_insert(from);
        self.changed_since = self.changed_since.min(from);
        if to - from >= self.span() {
            self.gone = Gone::All;
        }
        if self.gone != Gone::Nothing || self.known_from == i64::MIN {
            return;
        }
        let interval = self.spec.interval.milliseconds();
        // Nothing stored is older than the retention before `from`.
        let first = from - self.span() + interval;
        let last = (to - self.span()).min(self.known_from - interval);
        let count = (last - first).div_euclid(interval) + 1;
        if count > NAMED as i64 {
            self.gone = Gone::Before(i64::MIN);
        } else {
            self.expired.extend((0..count).map(|number| first + number * interval));
        }
    }

    /// The newest candle, which a store may keep apart from the others.
    pub fn newest(&self) -> Option<(i64, &Candle)> {
        self.bars.back().map(|bar| (bar.start, &bar.candle))
    }

    /// Whether `take_closed` or `take_expired` may have something to tell. Where not, they may be
    /// left out.
    pub fn has_changes(&self) -> bool {
        self.gone != Gone::Nothing
            || !self.expired.is_empty()
            || self.bars.back().is_some_and(|newest| self.changed_since < newest.start)
    }

    /// The same for a store that keeps the newest candle apart: hears each other one that was
    /// touched since the last call, or was the newest then; oldest first.
    pub fn take_closed(&mut self, mut changed: impl FnMut(i64, &Candle)) {
        let newest = self.bars.back().map_or(i64::MIN, |bar| bar.start);
        let former = self
            .former
            .and_then(|former| self.bars.binary_search_by_key(&former, |bar| bar.start).ok());
        if let Some(at) = former {
            self.bars[at].changed = true;
        }
        self.take_changes(|start, candle| {
            if start < newest {
                changed(start, candle);
            }
        });
    }

    /// Hears each candle that was touched since the last call, oldest first.
    pub fn take_changes(&mut self, mut changed: impl FnMut(i64, &Candle)) {
        let first = self.bars.partition_point(|bar| bar.start < self.changed_since);
        for bar in self.bars.range_mut(first..).filter(|bar| bar.changed) {
            bar.changed = false;
            changed(bar.start, &bar.candle);
        }
        self.changed_since = i64::MAX;
        self.former = None;
    }

    /// What the store is to forget because it fell out of retention since the last call: hears the
    /// start of each bucket, where they are few (it may never have had a candle), and returns what
    /// goes beside these.
    pub fn take_expired(&mut self, expired: impl FnMut(i64)) -> Gone {
        let retained = self.bars.back().map_or(i64::MIN, |newest| newest.start - self.span() + 1);
        if self.gone == Gone::Nothing && self.expired.len() > NAMED {
            self.gone = Gone::Before(retained);
        }
        match &mut self.gone {
            Gone::Nothing => {}
            Gone::Before(before) => {
                *before = retained;
                self.expired.retain(|start| *start >= retained);
            }
            Gone::All => self.expired.clear(),
        }
        self.expired.drain(..).for_each(expired);
        std::mem::take(&mut self.gone)
    }

    /// Forgets all but the hot candles. To be called when all changes are in the store.
    pub fn cool(&mut self) {
        let Some(newest) = self.bars.back() else { return };
        let hot_from = self.spec.hot_from(newest.start);
        if hot_from > self.known_from {
            self.known_from = hot_from;
            let cold = self.bars.partition_point(|bar| bar.start < hot_from);
            self.bars.drain(..cold);
            self.bars.shrink_to(2 * self.spec.hot() as usize);
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Candle)> + DoubleEndedIterator {
        self.bars.iter().map(|bar| (bar.start, &bar.candle))
    }

    fn span(&self) -> i64 {
        i64::from(self.spec.retain) * self.spec.interval.milliseconds()
    }

    fn is_expired(&self, start: i64) -> bool {
        self.bars.back().is_some_and(|newest| start <= newest.start - self.span())
    }

    fn expire(&mut self) {
        while let Some(oldest) = self.bars.front()
            && self.is_expired(oldest.start)
        {
            self.expired.push(oldest.start);
            self.bars.pop_front();
        }
    }
}
