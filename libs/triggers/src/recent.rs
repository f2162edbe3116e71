use std::collections::VecDeque;

use market::{Price, Sequence, Stamp, Trade};

use crate::symbols::SymbolKey;

/// The newest trades that counted, so that an alert that comes late is judged without reading the
/// log. Late trades are not kept: they decide nothing.
#[derive(Debug)]
pub(crate) struct Recent {
    trades: VecDeque<RecentTrade>,
    /// The most that are kept. When it is full the oldest makes room.
    most: usize,
    /// Every trade of records at or after this offset that was seen and counted is here.
    from: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RecentTrade {
    pub(crate) sequence: Sequence,
    pub(crate) symbol: SymbolKey,
    pub(crate) price: Price,
    /// Of the symbol's trade before it; 0 where it was the first.
    before: f64,
    pub(crate) timestamp: i64,
    pub(crate) received_at: u64,
}

impl RecentTrade {
    pub(crate) fn before(&self) -> Option<Price> {
        Price::new(self.before)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { time: self.timestamp, sequence: self.sequence }
    }
}

impl Recent {
    pub(crate) fn new(most: usize, from: i64) -> Self {
        Self { trades: VecDeque::new(), most: most.max(1), from }
    }

    pub(crate) fn from(&self) -> i64 {
        self.from
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    #[inline]
    pub(crate) fn push(
        &mut self,
        symbol: SymbolKey,
        trade: &Trade,
        sequence: Sequence,
        before: f64,
    ) {
        if self.trades.len() == self.most
            && let Some(oldest) = self.trades.pop_front()
        {
            // Of its record, others may be gone too.
            self.from = oldest.sequence.offset + 1;
        }
        let Trade { price, timestamp, received_at, .. } = *trade;
        let recent = RecentTrade { sequence, symbol, price, before, timestamp, received_at };
        self.trades.push_back(recent);
    }

    /// The trades at or after a place, in the order of the log.
    pub(crate) fn since(&self, from: Sequence) -> impl Iterator<Item = &RecentTrade> {
        let first = self.trades.partition_point(|trade| trade.sequence < from);
        self.trades.range(first..)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.trades.capacity() * size_of::<RecentTrade>()
    }
}
