use crate::candle::bucket;
use crate::{Candle, Candles, MINUTE, Price, Sequence, Stamp, Trade, Volume};

/// One UTC day, in milliseconds.
pub const DAY: i64 = 86_400_000;

/// The latest trade of a symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    pub price: Price,
    pub volume: Volume,
    /// When the ingestor read it, Unix nanoseconds; 0 where unknown.
    pub received_at: u64,
    pub stamp: Stamp,
}

/// What happened on the UTC day of the latest trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// The day's first millisecond, Unix.
    pub start: i64,
    pub candle: Candle,
}

/// Everything that is known of a symbol after some trade of the log.
///
/// A function of the log up to `as_of` and of nothing else: who folded it, in which batches and
/// how often leaves no trace. That is what makes replays and two writers at once harmless.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolState {
    /// The last trade counted; `None` before the first.
    pub as_of: Option<Sequence>,
    pub latest: Option<Latest>,
    pub day: Option<Day>,
    pub minutes: Candles,
    /// Candles that fell out of retention since the last `take_expired`.
    expired: Vec<i64>,
}

impl SymbolState {
    /// A symbol never seen; `retain_minutes` is how many 1 m candles are kept.
    pub fn new(retain_minutes: u32) -> Self {
        Self {
            as_of: None,
            latest: None,
            day: None,
            minutes: Candles::new(MINUTE, retain_minutes),
            expired: Vec::new(),
        }
    }

    /// Counts a trade; returns whether it was new. A trade at or before `as_of` was counted before.
    #[inline]
    pub fn apply(&mut self, trade: &Trade, sequence: Sequence) -> bool {
        if self.as_of.is_some_and(|as_of| sequence <= as_of) {
            return false;
        }
        self.as_of = Some(sequence);
        let stamp = Stamp { time: trade.timestamp, sequence };
        // Equal time is not late: the position is always the newer one here.
        if self.latest.is_none_or(|latest| stamp > latest.stamp) {
            let (price, volume) = (trade.price, trade.volume);
            self.latest = Some(Latest { price, volume, received_at: trade.received_at, stamp });
        }
        self.count_day(trade, stamp);
        let expired = &mut self.expired;
        self.minutes.add(trade, sequence, |start| expired.push(start));
        true
    }

    /// A trade of a day before the current one no longer counts in any day.
    #[inline]
    fn count_day(&mut self, trade: &Trade, stamp: Stamp) {
        match &mut self.day {
            Some(day) if bucket(trade.timestamp, DAY) == day.start => {
                day.candle.add(trade, stamp);
            }
            Some(day) if trade.timestamp < day.start => {}
            day => {
                let start = bucket(trade.timestamp, DAY);
                *day = Some(Day { start, candle: Candle::new(trade, stamp) });
            }
        }
    }

    /// Puts back a 1 m candle that was stored. Where fewer are retained now than when it was, those
    /// left out are told by `take_expired`, so that the store forgets them, too.
    pub fn restore_minute(&mut self, start: i64, candle: Candle) {
        let expired = &mut self.expired;
        self.minutes.restore(start, candle, |start| expired.push(start));
    }

    /// Hears the start of each 1 m candle that fell out of retention since the last call.
    pub fn take_expired(&mut self, mut expired: impl FnMut(i64)) {
        self.expired.drain(..).for_each(&mut expired);
    }
}
