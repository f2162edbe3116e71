use std::num::NonZeroUsize;
use std::ops::Range;

use crate::cli::Distribution;
use crate::probe::splitmix;

/// Which symbol each trade is of. Shares are rounded to 1/65,536.
#[derive(Debug)]
pub(crate) struct Spread(Vec<u16>);

/// So that the last of them in Zipf's order still has four of the slots.
pub(crate) const MOST_SYMBOLS: usize = 2_000;
const SLOTS: usize = 1 << 16;

impl Spread {
    pub(crate) fn new(symbols: NonZeroUsize, distribution: Distribution) -> Self {
        let mut end = 0.0;
        let ends: Vec<f64> = (1..=symbols.get())
            .map(|rank| {
                end += match distribution {
                    Distribution::Uniform => 1.0,
                    Distribution::Zipf => 1.0 / rank as f64,
                };
                end
            })
            .collect();
        let symbol = |slot: usize| {
            let at = (slot as f64 + 0.5) / SLOTS as f64 * end;
            ends.partition_point(|end| *end <= at) as u16
        };
        Self((0..SLOTS).map(symbol).collect())
    }

    #[inline]
    pub(crate) fn symbol_of(&self, number: u64) -> usize {
        usize::from(self.0[(splitmix(number) >> 48) as usize])
    }
}

/// Trades at one rate: a warm-up, and those that are measured. Pure.
///
/// Trades are numbered from 1 over a whole run, and the number is the trade's volume; when it is
/// due, its price and its time are functions of the number. So nothing is kept of a trade that was
/// sent, and whoever sees its volume knows how late it is. Up to 2^28 of them: then the sum of all
/// volumes is below 2^53, and exact in a double in whatever order it was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Trades a second.
    pub(crate) rate: f64,
    pub(crate) trades_per_frame: u64,
    /// The number of its first trade.
    pub(crate) first: u64,
    /// Trades of the warm-up, and of the rest; both in whole frames.
    pub(crate) warm: u64,
    pub(crate) measured: u64,
    /// Alerts that its measured trades fire, and how many there were of them before this step.
    pub(crate) alerts: u64,
    pub(crate) alerts_before: u64,
    /// Unix nanoseconds.
    pub(crate) began: u64,
}

/// In hundredths. Trades that fire nothing cost 100.00 to 100.99; the n-th that fires, n more than
/// `SPIKE`.
const QUIET: u64 = 10_000;
const SPIKE: u64 = 100_000;

impl Step {
    pub(crate) fn trades(&self) -> Range<u64> {
        self.first..self.first + self.warm + self.measured
    }

    pub(crate) fn is_measured(&self, number: u64) -> bool {
        (self.first + self.warm..self.trades().end).contains(&number)
    }

    /// When it is due to leave, with its frame: Unix nanoseconds.
    #[inline]
    pub(crate) fn due(&self, number: u64) -> u64 {
        let frames = (number - self.first) / self.trades_per_frame + 1;
        self.began + ((frames * self.trades_per_frame) as f64 / self.rate * 1e9) as u64
    }

    /// Event time, Unix milliseconds: never decreases.
    pub(crate) fn time(&self, number: u64) -> i64 {
        (self.due(number) / 1_000_000).cast_signed()
    }

    /// When its first measured trade is due, Unix nanoseconds.
    pub(crate) fn measured_from(&self) -> u64 {
        self.due(self.first + self.warm)
    }

    /// In hundredths.
    pub(crate) fn price(&self, number: u64) -> u64 {
        match self.alert_of(number) {
            Some(alert) => SPIKE + 100 * (self.alerts_before + alert),
            None => QUIET + splitmix(number) % 100,
        }
    }

    /// The trade that fires the n-th alert: evenly over the measured ones.
    pub(crate) fn spike(&self, alert: u64) -> u64 {
        self.first + self.warm + (2 * alert + 1) * self.measured / (2 * self.alerts)
    }

    /// Which alert it fires.
    #[inline]
    pub(crate) fn alert_of(&self, number: u64) -> Option<u64> {
        let at = number.checked_sub(self.first + self.warm)?;
        let alert = at * self.alerts / self.measured;
        (alert < self.alerts && self.spike(alert) == number).then_some(alert)
    }

    /// ABOVE this the n-th alert fires: the spikes before are below it.
    pub(crate) fn target(&self, alert: u64) -> f64 {
        (SPIKE + 100 * (self.alerts_before + alert)) as f64 / 100.0 - 0.5
    }
}

/// What the trades up to some number leave of one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) trades: u64,
    /// Sum of their volumes.
    pub(crate) volume: u64,
    /// Number of the last one; 0 where there is none.
    pub(crate) last: u64,
}

/// By symbol, what the trades of a step before `end` leave.
pub(crate) fn left(step: &Step, end: u64, spread: &Spread, symbols: usize) -> Vec<Left> {
    let mut all = vec![Left::default(); symbols];
    for number in step.first..end {
        let left = &mut all[spread.symbol_of(number)];
        left.trades += 1;
        left.volume += number;
        left.last = number;
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn step() -> Step {
        Step {
            rate: 1_000.0,
            trades_per_frame: 10,
            first: 501,
            warm: 1_000,
            measured: 9_000,
            alerts: 90,
            alerts_before: 7,
            began: 1_800_000_000_000_000_000,
        }
    }

    #[test]
    fn trades_are_due_with_their_frames() {
        let step = step();
        let since = |number| step.due(number) - step.began;
        assert_eq!((since(501), since(510), since(511)), (10_000_000, 10_000_000, 20_000_000));
        assert_eq!(since(10_500), 10_000_000_000);
        assert_eq!(step.measured_from() - step.began, 1_010_000_000);
        assert_eq!(step.time(501), 1_800_000_000_010);
    }

    #[test]
    fn each_alert_is_fired_by_its_measured_trade_and_by_none_before() {
        let step = step();
        for alert in 0..step.alerts {
            let fires = |number: &u64| step.price(*number) as f64 / 100.0 >= step.target(alert);
            assert_eq!(step.trades().find(fires), Some(step.spike(alert)));
            assert!(step.is_measured(step.spike(alert)));
        }
        let none = Step { alerts: 0, ..step };
        assert!(none.trades().all(|number| none.price(number) < 10_100));
    }

    #[test]
    fn trades_fall_evenly_or_as_in_a_market() {
        let symbols = NonZeroUsize::new(500).unwrap();
        let step = Step { measured: 1_000_000, ..step() };
        let of =
            |distribution| left(&step, step.trades().end, &Spread::new(symbols, distribution), 500);
        let even = of(Distribution::Uniform);
        assert_eq!(even.iter().map(|left| left.trades).sum::<u64>(), 1_001_000);
        assert!(even.iter().all(|left| (1_800..2_200).contains(&left.trades)));
        // The harmonic number of 500 is 6.79.
        let zipf = of(Distribution::Zipf);
        assert!((145_000..150_000).contains(&zipf[0].trades), "{:?}", zipf[0]);
        assert!((230..360).contains(&zipf[499].trades), "{:?}", zipf[499]);
    }

    #[test]
    fn what_is_left_is_counted_per_symbol() {
        let spread = Spread::new(NonZeroUsize::MIN, Distribution::Uniform);
        let expected = Left { trades: 3, volume: 501 + 502 + 503, last: 503 };
        assert_eq!(left(&step(), 504, &spread, 1), [expected]);
    }
}
