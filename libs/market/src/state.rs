use crate::{Candle, CandleSpec, Candles, Price, Recent, Sequence, Stamp, Trade, Volume};

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

/// What is kept of a symbol beside its latest trade and its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// Each interval once.
    pub candles: Vec<CandleSpec>,
    /// How many of the last trades.
    pub recent: usize,
}

/// Everything that is known of a symbol after some trade of the log.
///
/// A function of the log up to `as_of` and of nothing else: who folded it, in which batches and
/// how often leaves no trace. That is what makes replays and two writers at once harmless. Candles
/// that are old may be in the store alone ([`SymbolState::reaches`]).
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolState {
    /// The last trade counted; `None` before the first.
    pub as_of: Option<Sequence>,
    pub latest: Option<Latest>,
    pub day: Option<Day>,
    /// One of each interval.
    pub candles: Box<[Candles]>,
    pub recent: Recent,
}

impl SymbolState {
    /// A symbol never seen.
    pub fn new(spec: &StateSpec) -> Self {
        Self {
            as_of: None,
            latest: None,
            day: None,
            candles: spec.candles.iter().map(|spec| Candles::new(*spec)).collect(),
            recent: Recent::new(spec.recent),
        }
    }

    /// Whether a trade of this time can be counted with what is here. Where not, all of the state
    /// must be loaded first.
    #[inline]
    pub fn reaches(&self, time: i64) -> bool {
        self.candles.iter().all(|candles| time >= candles.reach() || candles.reaches(time))
    }

    /// Counts a trade within reach; returns whether it was new. A trade at or before `as_of` was
    /// counted before.
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
        for candles in &mut self.candles {
            candles.add(trade, sequence);
        }
        self.recent.push(sequence, *trade);
        true
    }

    /// A trade of a day before the current one no longer counts in any day.
    #[inline]
    fn count_day(&mut self, trade: &Trade, stamp: Stamp) {
        let start = trade.timestamp - trade.timestamp.rem_euclid(DAY);
        match &mut self.day {
            Some(day) if start == day.start => day.candle.add(trade, stamp),
            Some(day) if start < day.start => {}
            day => *day = Some(Day { start, candle: Candle::new(trade, stamp) }),
        }
    }

    /// Puts back the last trades, from the slots of a store that has everything up to `as_of`.
    pub fn restore_recent(&mut self, spec: &StateSpec, slots: &[Option<(Sequence, Trade)>]) {
        let newest = self.as_of.unwrap_or_default();
        self.recent = Recent::restore(spec.recent, slots, newest);
    }

    /// Forgets what is in the store and not likely to be needed. To be called when all changes are
    /// there.
    pub fn cool(&mut self) {
        self.candles.iter_mut().for_each(Candles::cool);
    }
}
