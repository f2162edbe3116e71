//! From looks at symbols to the lateness of their trades. Pure.

use std::collections::HashMap;

use crate::bench::lateness::Lateness;
use crate::bench::plan::{Spread, Step};
use crate::probe::Look;

/// The trades of some symbols, of one step. With a trade all those of its symbol before it are
/// visible: a look at the newest is a look at all since the look before.
#[derive(Debug)]
pub(crate) struct Watched {
    /// By place among the symbols that are watched, ascending.
    trades: Vec<Vec<u64>>,
}

impl Watched {
    /// Those before `end`. `watched` are the numbers of symbols.
    pub(crate) fn new(step: &Step, end: u64, spread: &Spread, watched: &[usize]) -> Self {
        let mut places = HashMap::new();
        let mut trades = vec![Vec::new(); watched.len()];
        places.extend(watched.iter().enumerate().map(|(place, symbol)| (*symbol, place)));
        for number in step.first..end {
            if let Some(place) = places.get(&spread.symbol_of(number)) {
                trades[*place].push(number);
            }
        }
        Self { trades }
    }

    /// How late they are by what was seen since the step began, and how many were never seen.
    pub(crate) fn lateness(
        &self,
        step: &Step,
        looks: &[Look],
        received_at: &HashMap<u64, u64>,
    ) -> (Lateness, usize) {
        let mut lateness = Lateness::new();
        let mut next = vec![0; self.trades.len()];
        for look in looks.iter().filter(|look| look.at >= step.began) {
            let Some(newest) = look.volume.map(|volume| volume as u64) else { continue };
            let (trades, next) = (&self.trades[look.symbol], &mut next[look.symbol]);
            while let Some(number) = trades.get(*next).filter(|number| **number <= newest) {
                match received_at.get(number) {
                    Some(received_at) => {
                        lateness.add_received(step, *number, look.at, *received_at);
                    }
                    None => lateness.add(step, *number, look.at),
                }
                *next += 1;
            }
        }
        let unseen = self.trades.iter().zip(&next).map(|(all, seen)| all.len() - seen).sum();
        (lateness, unseen)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::plan::tests::step;
    use crate::cli::Distribution;

    #[test]
    fn a_look_at_the_newest_is_a_look_at_all_before() {
        let spread = Spread::new(NonZeroUsize::MIN, Distribution::Uniform);
        let step = Step { warm: 0, ..step() };
        let watched = Watched::new(&step, 511, &spread, &[0]);
        let look = |after: u64, number: u64| Look {
            symbol: 0,
            at: step.began + after * 1_000_000,
            volume: Some(number as f64),
        };
        // One of before the step, with a number as this one's; then the frame that was due after 10.
        let before = Look { at: step.began - 1, ..look(0, 505) };
        let received = HashMap::from([(510, step.began + 11_000_000)]);
        let (lateness, unseen) =
            watched.lateness(&step, &[before, look(12, 504), look(14, 510)], &received);
        assert_eq!(unseen, 0);
        assert_eq!(lateness.since_due.count_between(1_990, 2_010), 4);
        assert_eq!(lateness.since_due.count_between(3_990, 4_010), 6);
        assert_eq!(lateness.since_received.count_between(2_990, 3_010), 1);
        assert_eq!(watched.lateness(&step, &[], &received).1, 10);
    }
}
