use std::collections::VecDeque;

use market::{Price, Sequence, Trade};

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
    pub(crate) timestamp: i64,
    pub(crate) received_at: u64,
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
    pub(crate) fn push(&mut self, symbol: SymbolKey, trade: &Trade, sequence: Sequence) {
        if self.trades.len() == self.most
            && let Some(oldest) = self.trades.pop_front()
        {
            // Of its record, others may be gone too.
            self.from = oldest.sequence.offset + 1;
        }
        let Trade { price, timestamp, received_at, .. } = *trade;
        self.trades.push_back(RecentTrade { sequence, symbol, price, timestamp, received_at });
    }

    /// The trades of records at or after `offset`, in the order of the log.
    pub(crate) fn since(&self, offset: i64) -> impl Iterator<Item = &RecentTrade> {
        let first = self.trades.partition_point(|trade| trade.sequence.offset < offset);
        self.trades.range(first..)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.trades.capacity() * size_of::<RecentTrade>()
    }
}
