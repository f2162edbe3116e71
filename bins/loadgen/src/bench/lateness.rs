//! How late the trades of a step are somewhere, and whether whoever is there falls back.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::plan::Step;

/// In microseconds, to three digits, up to ten minutes.
pub(crate) type Micros = Histogram<u64>;

const LONGEST: u64 = 600_000_000;

pub(crate) fn micros() -> Micros {
    Micros::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order")
}

/// The measured trades of a step at one place.
#[derive(Debug)]
pub(crate) struct Lateness {
    /// Since each was due to leave the feed.
    pub(crate) since_due: Micros,
    /// Since the ingestor has read it.
    pub(crate) since_received: Micros,
    /// By the second in which they were due, from the first measured one.
    seconds: Vec<Second>,
}

/// In seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    worst: f64,
    sum: f64,
    count: u64,
}

impl Lateness {
    pub(crate) fn new() -> Self {
        Self { since_due: micros(), since_received: micros(), seconds: Vec::new() }
    }

    /// A trade was there at `at`, Unix nanoseconds. One that is not measured does not count.
    #[inline]
    pub(crate) fn add(&mut self, step: &Step, number: u64, at: u64) {
        if !step.is_measured(number) {
            return;
        }
        let due = step.due(number);
        let late = at.saturating_sub(due);
        self.since_due.saturating_record(late / 1_000);
        let second = (due.saturating_sub(step.measured_from()) / 1_000_000_000) as usize;
        if second >= self.seconds.len() {
            self.seconds.resize(second + 1, Second::default());
        }
        let (second, late) = (&mut self.seconds[second], late as f64 / 1e9);
        second.worst = second.worst.max(late);
        second.sum += late;
        second.count += 1;
    }

    /// As [`add`](Self::add), for one of which it is known when the ingestor has read it.
    #[inline]
    pub(crate) fn add_received(&mut self, step: &Step, number: u64, at: u64, received_at: u64) {
        self.add(step, number, at);
        if step.is_measured(number) {
            self.since_received.saturating_record(at.saturating_sub(received_at) / 1_000);
        }
    }

    pub(crate) fn worst(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.iter().map(|second| second.worst).fold(0.0, f64::max))
    }

    /// Whether trades are later and later over the last half: in a second of its second part by a
    /// half more than in one of its first, at the median (of two seconds, their mean), and by more
    /// than chance makes of it. One second of three or more in which something else was slow says
    /// nothing. Too short a time tells nothing.
    pub(crate) fn falls_back(&self) -> bool {
        const MORE: f64 = 1.5;
        const CHANCE: f64 = 0.05;
        const SHORTEST: usize = 5;
        let half = &self.seconds[self.seconds.len() / 2..];
        if half.len() < SHORTEST {
            return false;
        }
        let (first, last) = half.split_at(half.len() / 2);
        median(first).zip(median(last)).is_some_and(|(first, last)| last > first * MORE + CHANCE)
    }
}

/// Of the means of the seconds that have any trades.
fn median(seconds: &[Second]) -> Option<f64> {
    let some = seconds.iter().filter(|second| second.count > 0);
    let mut means: Vec<f64> = some.map(|second| second.sum / second.count as f64).collect();
    means.sort_unstable_by(f64::total_cmp);
    let middle = means.get(means.len() / 2)?;
    Some(if means.len() % 2 == 1 { *middle } else { (means[means.len() / 2 - 1] + middle) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::tests::step;

    /// Of the nine measured seconds, those in each of which all trades are so late, in milliseconds.
    fn lateness(late: [u64; 9]) -> Lateness {
        let step = step();
        let mut lateness = Lateness::new();
        for number in step.trades() {
            let due = step.due(number);
            let second = due.saturating_sub(step.measured_from()) / 1_000_000_000;
            lateness.add(&step, number, due + late[second as usize] * 1_000_000);
        }
        lateness
    }

    #[test]
    fn percentiles_are_of_what_is_measured() {
        let lateness = lateness([1, 1, 1, 1, 1, 1, 1, 1, 40]);
        assert_eq!(lateness.since_due.len(), 9_000);
        assert_eq!(lateness.since_due.value_at_quantile(0.5), 1_000);
        assert_eq!(lateness.since_due.value_at_quantile(0.99).div_ceil(1_000), 41);
        assert_eq!(lateness.worst(), Duration::from_millis(40));
    }

    #[test]
    fn whoever_is_later_and_later_falls_back() {
        assert!(!lateness([900, 500, 100, 10, 10, 10, 10, 10, 10]).falls_back(), "it caught up");
        assert!(!lateness([5, 6, 7, 8, 9, 10, 11, 12, 13]).falls_back(), "it may be chance");
        assert!(!lateness([90, 10, 90, 10, 90, 10, 90, 10, 90]).falls_back(), "up and down");
        assert!(!lateness([10, 10, 10, 10, 10, 10, 600, 10, 10]).falls_back(), "once");
        assert!(!lateness([10, 10, 10, 10, 10, 10, 10, 10, 600]).falls_back(), "just now, once");
        assert!(lateness([10, 20, 40, 80, 160, 240, 320, 400, 480]).falls_back());
        assert!(lateness([10, 10, 10, 10, 10, 10, 10, 90, 90]).falls_back(), "and not once");
        assert!(!Lateness::new().falls_back(), "nothing came");
    }

    #[test]
    fn what_is_later_than_ten_minutes_counts_as_that() {
        let (step, mut lateness) = (step(), Lateness::new());
        lateness.add_received(&step, 5_000, u64::MAX, 0);
        assert!(lateness.since_due.max() >= LONGEST);
        assert_eq!(lateness.since_received.len(), 1);
    }
}
