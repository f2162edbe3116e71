use std::collections::{VecDeque, vec_deque};

use crate::{Sequence, Trade};

/// The last trades of a symbol in the order of the log, whatever their times.
///
/// A store keeps them in a ring of slots, as many as trades are kept: a symbol's n-th trade is in
/// slot n modulo their number. So where a trade is stored is the same whoever stores it, and a new
/// trade changes one slot. After a change of their number the ring begins anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// The newest at the back.
    trades: VecDeque<(Sequence, Trade)>,
    bound: usize,
    /// Where the next trade goes.
    next: usize,
    /// How many of the newest the store has not been told of.
    untold: usize,
    /// What the store has is to be replaced by all that is here.
    is_anew: bool,
}

impl Recent {
    /// None yet of so many at most.
    pub(crate) fn new(bound: usize) -> Self {
        Self { trades: VecDeque::new(), bound, next: 0, untold: 0, is_anew: false }
    }

    /// From the slots of a store, in which `newest` is the last trade. Where they are of another
    /// number, or not that trade and those before it in turn, the store is told of all anew.
    pub(crate) fn restore(
        bound: usize,
        slots: &[Option<(Sequence, Trade)>],
        newest: Sequence,
    ) -> Self {
        let at = slots.iter().position(|slot| slot.is_some_and(|(of, _)| of == newest));
        // One that is not full has the newest trade last.
        let is_last = |at: usize| slots.len() < bound && slots.len() == at + 1;
        let in_turn = |at: usize| {
            let (newer, older) = slots.split_at(at + 1);
            let trades = older.iter().chain(newer).flatten();
            trades.is_sorted_by(|(one, _), (next, _)| one < next)
        };
        let fits = at.filter(|at| slots.len() == bound || is_last(*at)).filter(|at| in_turn(*at));
        let mut trades: Vec<_> = slots.iter().flatten().copied().collect();
        trades.retain(|(of, _)| *of <= newest);
        trades.sort_unstable_by_key(|(of, _)| *of);
        trades.dedup_by_key(|(of, _)| *of);
        trades.drain(..trades.len().saturating_sub(bound));
        Self {
            trades: trades.into(),
            bound,
            next: fits.map_or(0, |at| (at + 1) % bound),
            untold: 0,
            is_anew: fits.is_none(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, sequence: Sequence, trade: Trade) {
        if self.bound == 0 {
            return;
        }
        if self.trades.len() == self.bound {
            self.trades.pop_front();
        }
        self.trades.push_back((sequence, trade));
        self.next = if self.next + 1 == self.bound { 0 } else { self.next + 1 };
        self.untold = (self.untold + 1).min(self.bound);
    }

    /// Oldest first.
    pub fn iter(&self) -> vec_deque::Iter<'_, (Sequence, Trade)> {
        self.trades.iter()
    }

    /// Tells what to put where in the store since the last time: from a slot on, the trades of that
    /// and of the following ones. Returns whether what the store had is to be forgotten first.
    pub fn take_changes(
        &mut self,
        mut put: impl FnMut(usize, vec_deque::Iter<'_, (Sequence, Trade)>),
    ) -> bool {
        let is_anew = std::mem::take(&mut self.is_anew);
        if is_anew {
            self.untold = self.trades.len();
            self.next = if self.untold == self.bound { 0 } else { self.untold };
        }
        let (untold, len) = (std::mem::take(&mut self.untold), self.trades.len());
        if untold > 0 {
            let begin = len - untold;
            let slot = (self.next + self.bound - untold) % self.bound;
            let turn = len.min(begin + self.bound - slot);
            put(slot, self.trades.range(begin..turn));
            if turn < len {
                put(0, self.trades.range(turn..));
            }
        }
        is_anew
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Price, Volume};

    type Slots = Vec<Option<(Sequence, Trade)>>;

    fn trade(number: i64) -> (Sequence, Trade) {
        let price = Price::new(1.0 + number as f64).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 1 };
        (Sequence::of_record(number), trade)
    }

    fn store(recent: &mut Recent, slots: &mut Slots) {
        let mut changes = Vec::new();
        if recent.take_changes(|slot, trades| changes.push((slot, trades.copied().collect()))) {
            slots.clear();
        }
        for (slot, trades) in changes {
            let trades: Vec<_> = trades;
            slots.resize(slots.len().max(slot + trades.len()), None);
            (slot..).zip(trades).for_each(|(slot, trade)| slots[slot] = Some(trade));
        }
    }

    fn kept(recent: &Recent) -> Vec<i64> {
        recent.iter().map(|(sequence, _)| sequence.offset).collect()
    }

    proptest! {
        /// Whatever the batches, and wherever it is loaded again, also with another bound.
        #[test]
        fn a_store_has_the_last_trades(
            steps in prop::collection::vec((0..20_i64, prop::option::of(0..9_usize)), 1..20),
            bound in 0..9_usize,
        ) {
            let (mut bound, mut recent) = (bound, Recent::new(bound));
            let (mut slots, mut count, mut held) = (Slots::new(), 0, 0);
            for (more, load) in steps {
                (count..count + more).map(trade).for_each(|(at, trade)| recent.push(at, trade));
                count += more;
                held = bound.min(held + more as usize);
                store(&mut recent, &mut slots);
                if let Some(other) = load.filter(|_| count > 0) {
                    bound = other;
                    held = held.min(bound);
                    recent = Recent::restore(bound, &slots, Sequence::of_record(count - 1));
                }
                prop_assert!(slots.len() <= 8);
                let expected: Vec<i64> = (count - held as i64..count).collect();
                prop_assert_eq!(kept(&recent), expected, "the newest ones");
            }
            let before = kept(&recent);
            store(&mut recent, &mut slots);
            let mut stored: Vec<i64> = slots.iter().flatten().map(|(at, _)| at.offset).collect();
            stored.sort_unstable();
            prop_assert_eq!(stored, before);
        }

        /// Two writers of which one is behind put each trade where the other has put it.
        #[test]
        fn where_a_trade_is_depends_on_the_log_alone(
            bound in 1..9_usize, cuts in prop::collection::vec(1..12_i64, 1..12), back in 0..12_usize,
        ) {
            let (mut one, mut slots) = (Recent::new(bound), Slots::new());
            let mut behind = Recent::new(bound);
            let mut count = 0;
            for (number, cut) in cuts.iter().enumerate() {
                (count..count + cut).map(trade).for_each(|(at, trade)| one.push(at, trade));
                count += cut;
                store(&mut one, &mut slots);
                if number == back.min(cuts.len() - 1) {
                    behind = Recent::restore(bound, &slots, Sequence::of_record(count - 1));
                }
                if number > back {
                    (count - cut..count).map(trade).for_each(|(at, trade)| behind.push(at, trade));
                }
            }
            let before = slots.clone();
            store(&mut behind, &mut slots);
            prop_assert_eq!(slots, before);
        }
    }

    #[test]
    fn a_ring_without_its_newest_trade_is_told_anew() {
        let mut recent = Recent::restore(3, &[Some(trade(1))], Sequence::of_record(2));
        let mut slots = vec![None; 5];
        store(&mut recent, &mut slots);
        assert_eq!(slots, [Some(trade(1))]);
        // Two that have told of theirs anew, each from another trade on.
        let mixed = [4, 3, 4].map(|number| Some(trade(number)));
        let mut recent = Recent::restore(3, &mixed, Sequence::of_record(4));
        assert_eq!(kept(&recent), [3, 4]);
        store(&mut recent, &mut slots);
        assert_eq!(slots, [Some(trade(3)), Some(trade(4))]);
        // Nothing is kept any more.
        let mut recent = Recent::restore(0, &slots, Sequence::of_record(4));
        store(&mut recent, &mut slots);
        assert_eq!(slots, []);
    }
}
