use crate::{Price, Stamp, Trade};

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
