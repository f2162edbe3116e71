use std::collections::HashMap;
use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::index;

/// Every trade of a run, decided before the first is sent. Pure.
///
/// Trades are numbered, and the number is the trade's volume: whole, below 2^53, so that it comes
/// back exactly from the log and from Redis. Numbers grow from run to run, so that no trade of an
/// earlier one is taken for one of this.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The number of the first trade.
    first: u64,
    warm: usize,
    measured: usize,
    pub(crate) symbols: Vec<String>,
    seed: u64,
    /// Which trades fire an alert, ascending, and by trade which alert that is.
    spikes: Vec<usize>,
    fires: HashMap<usize, usize>,
}

/// More than any run sends a second.
const NUMBERS_A_SECOND: u64 = 1_000_000;

/// Trades that fire nothing cost 100.00 to 100.99; the n-th that fires costs n more than this.
const SPIKE: usize = 1_000;

impl Plan {
    /// `unix_seconds` is when the run begins.
    pub(crate) fn new(
        unix_seconds: u64,
        (warm, measured): (usize, usize),
        symbols: Vec<String>,
        alerts: usize,
        seed: u64,
    ) -> Self {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut spikes: Vec<usize> = index::sample(&mut dice, measured, alerts.min(measured))
            .into_iter()
            .map(|trade| warm + trade)
            .collect();
        spikes.sort_unstable();
        let fires = spikes.iter().enumerate().map(|(alert, trade)| (*trade, alert)).collect();
        let first = unix_seconds * NUMBERS_A_SECOND;
        Self { first, warm, measured, symbols, seed, spikes, fires }
    }

    /// Trades are counted from 0 here; those of the warm-up come first.
    pub(crate) fn trades(&self) -> usize {
        self.warm + self.measured
    }

    pub(crate) fn warm(&self) -> usize {
        self.warm
    }

    pub(crate) fn measured(&self) -> Range<usize> {
        self.warm..self.trades()
    }

    pub(crate) fn volume(&self, trade: usize) -> u64 {
        self.first + trade as u64
    }

    /// Which trade has this volume; `None` where it is not one of this run.
    pub(crate) fn trade(&self, volume: f64) -> Option<usize> {
        let trade = usize::try_from((volume as u64).checked_sub(self.first)?).ok()?;
        (trade < self.trades()).then_some(trade)
    }

    /// Evenly and at random, but a function of the trade's number.
    pub(crate) fn symbol_of(&self, trade: usize) -> usize {
        let dice = splitmix(trade as u64 ^ self.seed.rotate_left(32));
        (dice % self.symbols.len() as u64) as usize
    }

    /// In hundredths.
    pub(crate) fn price(&self, trade: usize) -> u64 {
        match self.fires.get(&trade) {
            Some(alert) => (SPIKE + alert) as u64 * 100,
            None => 10_000 + splitmix(trade as u64) % 100,
        }
    }

    /// The trade that fires each alert, in the order of their targets.
    pub(crate) fn spikes(&self) -> &[usize] {
        &self.spikes
    }

    /// ABOVE this the `alert`-th fires: earlier trades stay below it, for their spikes are lower.
    pub(crate) fn target(&self, alert: usize) -> f64 {
        (SPIKE + alert) as f64 - 0.5
    }
}

/// <https://prng.di.unimi.it/splitmix64.c>
pub(crate) fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let symbols = ["A", "B", "C"].map(str::to_owned).to_vec();
        Plan::new(1_800_000_000, (1_000, 9_000), symbols, 100, 1)
    }

    #[test]
    fn a_volume_names_its_trade_and_no_other_runs() {
        let plan = plan();
        for trade in [0, 999, 9_999] {
            let volume = plan.volume(trade) as f64;
            assert_eq!(volume as u64, plan.volume(trade), "exact in a double");
            assert_eq!(plan.trade(volume), Some(trade));
        }
        assert_eq!(plan.trade(plan.volume(0) as f64 - 1.0), None);
        assert_eq!(plan.trade(plan.volume(0) as f64 + 10_000.0), None);
        assert_eq!(plan.trade(12.5), None);
    }

    #[test]
    fn each_alert_is_fired_by_its_measured_trade_and_by_none_before() {
        let plan = plan();
        assert_eq!(plan.spikes().len(), 100);
        for (alert, spike) in plan.spikes().iter().enumerate() {
            assert!(plan.measured().contains(spike));
            let fires = |trade| plan.price(trade) as f64 / 100.0 >= plan.target(alert);
            assert_eq!((0..plan.trades()).find(|trade| fires(*trade)), Some(*spike));
        }
    }

    #[test]
    fn trades_fall_evenly_on_the_symbols() {
        let plan = plan();
        let mut counts = [0; 3];
        (0..plan.trades()).for_each(|trade| counts[plan.symbol_of(trade)] += 1);
        assert!(counts.iter().all(|count| (3_100..3_600).contains(count)), "{counts:?}");
    }
}
