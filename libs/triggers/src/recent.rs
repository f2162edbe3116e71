use market::{Price, Sequence, Stamp, Trade};

use crate::symbols::SymbolKey;

/// The newest trades that counted, so that an alert that comes late is judged without reading the
/// log. Late trades are not kept: they decide nothing.
#[derive(Debug)]
pub(crate) struct Recent {
    /// A ring: once it is full, the oldest is at `oldest`, and the next one takes its place.
    trades: Vec<RecentTrade>,
    oldest: usize,
    /// The number of the next one. Numbers come round again, long after their trades are gone.
    next: u32,
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
    /// The number of that of its symbol before it, if any: what is found there may be another's.
    previous: u32,
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
        let most = most.clamp(1, u32::MAX as usize);
        Self { trades: Vec::new(), oldest: 0, next: 0, most, from }
    }

    pub(crate) fn from(&self) -> i64 {
        self.from
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// The number of the next one.
    #[inline]
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// `previous` and `before` are the number and the price of the symbol's trade before this one, 0
    /// where it is the first.
    #[inline]
    pub(crate) fn push(
        &mut self,
        symbol: SymbolKey,
        trade: &Trade,
        sequence: Sequence,
        previous: u32,
        before: f64,
    ) {
        let Trade { price, timestamp, received_at, .. } = *trade;
        let recent =
            RecentTrade { sequence, symbol, price, previous, before, timestamp, received_at };
        self.next = self.next.wrapping_add(1);
        if self.trades.len() < self.most {
            self.trades.push(recent);
            return;
        }
        let oldest = &mut self.trades[self.oldest];
        // Of its record, others may be gone too.
        self.from = oldest.sequence.offset + 1;
        *oldest = recent;
        self.oldest = if self.oldest + 1 == self.most { 0 } else { self.oldest + 1 };
    }

    /// The trades at or after a place, in the order of the log.
    pub(crate) fn since<'a>(&'a self, from: Sequence) -> impl Iterator<Item = &'a RecentTrade> {
        let (newer, older) = self.trades.split_at(self.oldest);
        let since = |trades: &'a [RecentTrade]| {
            &trades[trades.partition_point(|trade| trade.sequence < from)..]
        };
        since(older).iter().chain(since(newer))
    }

    /// By place, the oldest first.
    fn get(&self, place: usize) -> Option<&RecentTrade> {
        let (newer, older) = self.trades.split_at(self.oldest);
        older.get(place).or_else(|| newer.get(place - older.len()))
    }

    /// Those of one symbol, whose newest has that number: looks at no other's.
    pub(crate) fn of_symbol(
        &self,
        symbol: SymbolKey,
        newest: u32,
        from: Sequence,
    ) -> impl Iterator<Item = &RecentTrade> {
        let oldest = self.next.wrapping_sub(self.trades.len() as u32);
        let at = |number: u32| {
            let place = number.wrapping_sub(oldest) as usize;
            // If it were gone and its number used again by the symbol, that would be the newer one.
            let trade = self.get(place).filter(|trade| trade.symbol == symbol)?;
            (trade.sequence >= from).then_some((place, trade.previous))
        };
        let (mut found, mut number) = (Vec::<usize>::new(), newest);
        while let Some((place, previous)) = at(number)
            && found.last().is_none_or(|later| place < *later)
        {
            found.push(place);
            number = previous;
        }
        found.into_iter().rev().filter_map(|place| self.get(place))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.trades.capacity() * size_of::<RecentTrade>()
    }
}

#[cfg(test)]
mod tests {
    use market::Volume;

    use super::*;

    #[test]
    fn the_trades_of_a_symbol_are_found_without_the_others() {
        for most in [1, 2, 7, 100] {
            let (mut recent, mut newest) = (Recent::new(most, 0), [0; 4]);
            for offset in 0..60 {
                // One of them is rare.
                let symbol =
                    if offset % 17 == 0 { 3 } else { offset as usize * offset as usize % 3 };
                let price = Price::new(1.0).expect("a price");
                let trade = Trade { price, volume: Volume::ZERO, timestamp: 0, received_at: 0 };
                let (key, sequence) = (SymbolKey::of(symbol as u32), Sequence::of_record(offset));
                let previous = std::mem::replace(&mut newest[symbol], recent.next());
                recent.push(key, &trade, sequence, previous, 0.0);
                for (symbol, newest) in newest.into_iter().enumerate() {
                    for from in 0..=offset + 1 {
                        let from = Sequence::of_record(from);
                        let found = recent
                            .of_symbol(SymbolKey::of(symbol as u32), newest, from)
                            .map(|trade| trade.sequence);
                        let all = recent.since(from).filter(|it| it.symbol.index() == symbol);
                        assert!(found.eq(all.map(|trade| trade.sequence)), "{most}, {offset}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_trade_takes_56_bytes() {
        assert_eq!(size_of::<RecentTrade>(), 56);
    }
}
