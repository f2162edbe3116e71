use std::collections::VecDeque;

use crate::{Price, Sequence, Stamp, Trade};

/// One minute, in milliseconds: the interval of the finest candle.
pub const MINUTE: i64 = 60_000;

/// Open, high, low, close and volume of the trades of one stretch of event time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candle {
    pub open: Price,
    pub high: Price,
    pub low: Price,
    pub close: Price,
    /// Sum of the trades' volumes in the order of the log, so that every fold of the same log
    /// gives the same bits.
    pub volume: f64,
    pub trades: u64,
    /// Which trade opened it: the earliest by event time, ties by position.
    pub opened: Stamp,
    /// Which trade closed it: the latest by event time, ties by position.
    pub closed: Stamp,
}

impl Candle {
    pub fn new(trade: &Trade, stamp: Stamp) -> Self {
        Self {
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: trade.volume.get(),
            trades: 1,
            opened: stamp,
            closed: stamp,
        }
    }

    /// Counts one more trade. A late one (an older stamp than the close's) moves high, low and
    /// volume and leaves the close; it becomes the open where it is the earliest.
    #[inline]
    pub fn add(&mut self, trade: &Trade, stamp: Stamp) {
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.volume = (self.volume + trade.volume.get()).min(f64::MAX);
        self.trades += 1;
        if stamp >= self.closed {
            self.close = trade.price;
            self.closed = stamp;
        }
        if stamp < self.opened {
            self.open = trade.price;
            self.opened = stamp;
        }
    }
}

/// The start of the bucket of `interval` that holds `time`, both in milliseconds. Days are UTC.
#[inline]
pub(crate) fn bucket(time: i64, interval: i64) -> i64 {
    time - time.rem_euclid(interval)
}

/// A symbol's candles of one interval, the newest `retain` buckets of event time.
///
/// Invariant: sorted by start, no two with the same start, none older than `retain` intervals
/// before the newest. A bucket without trades has no candle.
#[derive(Clone, Debug, PartialEq)]
pub struct Candles {
    interval: i64,
    retain: i64,
    bars: VecDeque<Bar>,
    /// No bar that starts before this has changed since the last `take_changes`.
    changed_since: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    start: i64,
    candle: Candle,
    /// Touched since the last `take_changes`.
    changed: bool,
}

impl Candles {
    /// `retain` is at least 1 bucket.
    pub fn new(interval: i64, retain: u32) -> Self {
        Self {
            interval,
            retain: i64::from(retain.max(1)),
            bars: VecDeque::new(),
            changed_since: i64::MAX,
        }
    }

    /// Puts back a candle that was stored. One that is no longer retained, or that starts where
    /// no bucket does, is left out and told to `expired`, as is one that has to go for it.
    pub fn restore(&mut self, start: i64, candle: Candle, mut expired: impl FnMut(i64)) {
        if start.rem_euclid(self.interval) != 0 || self.is_expired(start) {
            expired(start);
            return;
        }
        let bar = Bar { start, candle, changed: false };
        match self.bars.binary_search_by_key(&start, |bar| bar.start) {
            Ok(at) => self.bars[at] = bar,
            Err(at) => self.bars.insert(at, bar),
        }
        self.expire(expired);
    }

    /// Counts a trade in its bucket; one whose bucket is no longer retained is left out.
    /// `expired` hears the start of each bucket that falls out of retention.
    #[inline]
    pub fn add(&mut self, trade: &Trade, sequence: Sequence, expired: impl FnMut(i64)) {
        let stamp = Stamp { time: trade.timestamp, sequence };
        let start = bucket(trade.timestamp, self.interval);
        self.changed_since = self.changed_since.min(start);
        if let Some(last) = self.bars.back_mut()
            && last.start == start
        {
            last.candle.add(trade, stamp);
            last.changed = true;
            return;
        }
        self.add_elsewhere(trade, stamp, start, expired);
    }

    fn add_elsewhere(&mut self, trade: &Trade, stamp: Stamp, start: i64, expired: impl FnMut(i64)) {
        if self.is_expired(start) {
            return;
        }
        match self.bars.binary_search_by_key(&start, |bar| bar.start) {
            Ok(at) => {
                self.bars[at].candle.add(trade, stamp);
                self.bars[at].changed = true;
            }
            Err(at) => {
                let candle = Candle::new(trade, stamp);
                self.bars.insert(at, Bar { start, candle, changed: true });
                self.expire(expired);
            }
        }
    }

    /// Hears each candle touched since the last call, oldest first.
    pub fn take_changes(&mut self, mut changed: impl FnMut(i64, &Candle)) {
        let first = self.bars.partition_point(|bar| bar.start < self.changed_since);
        for bar in self.bars.range_mut(first..).filter(|bar| bar.changed) {
            bar.changed = false;
            changed(bar.start, &bar.candle);
        }
        self.changed_since = i64::MAX;
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Candle)> {
        self.bars.iter().map(|bar| (bar.start, &bar.candle))
    }

    fn is_expired(&self, start: i64) -> bool {
        self.bars.back().is_some_and(|newest| start <= newest.start - self.retain * self.interval)
    }

    fn expire(&mut self, mut expired: impl FnMut(i64)) {
        while let Some(oldest) = self.bars.front()
            && self.is_expired(oldest.start)
        {
            expired(oldest.start);
            self.bars.pop_front();
        }
    }
}
