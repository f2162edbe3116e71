use std::fs;
use std::time::{Duration, Instant};

use metrics::Gauge;
use service::catalogue;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The cores' rest, all together, in cores: with less of it rounds get further apart, with more
/// closer. Where nothing rests, whoever works waits for the others, and each round makes work for all
/// who read the log.
const REST: std::ops::Range<f64> = 0.15..0.3;
const STEP: Duration = Duration::from_millis(1);

/// How far apart rounds are at least: not at all while the machine's cores have rest, else further
/// from look to look until they have some, or as far as they may be.
pub(crate) struct Pace {
    at_most: Duration,
    least: Duration,
    /// When it looked last, and how long the cores had rested by then.
    looked: Option<(Instant, Duration)>,
    due: Instant,
    gauge: Gauge,
}

impl Pace {
    pub(crate) fn new(at_most: Duration) -> Self {
        Self {
            at_most,
            least: Duration::ZERO,
            looked: None,
            due: Instant::now(),
            gauge: catalogue::ROUND_PACE.gauge(),
        }
    }

    /// How far a round is at least from the one before it.
    pub(crate) fn least(&self) -> Duration {
        self.least
    }

    /// Looks how much the cores rest, where that was not looked for a while.
    pub(crate) fn check(&mut self, now: Instant) {
        if now >= self.due && !self.at_most.is_zero() {
            self.due = now + LOOK_EVERY;
            self.look(now, rested());
        }
    }

    /// However much the cores rest.
    #[cfg(test)]
    pub(crate) fn always(least: Duration) -> Self {
        Self { least, ..Self::new(Duration::ZERO) }
    }

    fn look(&mut self, now: Instant, rested: Option<Duration>) {
        let Some(rested) = rested else { return };
        if let Some((then, rested_then)) = self.looked.replace((now, rested)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            let rest = rested.saturating_sub(rested_then).as_secs_f64() / seconds;
            if rest < REST.start {
                self.least = (self.least + STEP).min(self.at_most);
            } else if rest > REST.end {
                self.least = self.least.saturating_sub(STEP);
            }
            self.gauge.set(self.least.as_secs_f64());
        }
    }
}

/// How long the machine's cores have rested since it was started, all together; none where that is
/// not told. A core that waits for a disk does not rest. Source: `/proc/uptime` in proc_uptime(5).
fn rested() -> Option<Duration> {
    parse(&fs::read_to_string("/proc/uptime").ok()?)
}

/// Where the cores never rest they are not counted: gVisor says so of every machine.
fn parse(uptime: &str) -> Option<Duration> {
    let seconds: f64 = uptime.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|rested| !rested.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After looks a quarter of a second apart, in between which the cores rest so long each.
    fn paces(at_most: u64, rests: &[u64]) -> Vec<u128> {
        let mut pace = Pace::new(Duration::from_millis(at_most));
        let (mut now, mut rested) = (Instant::now(), Duration::from_secs(1_000));
        pace.look(now, Some(rested));
        let mut look = |rest: &u64| {
            now += LOOK_EVERY;
            rested += Duration::from_millis(*rest);
            pace.look(now, Some(rested));
            pace.least.as_millis()
        };
        rests.iter().map(&mut look).collect()
    }

    #[test]
    fn rounds_get_longer_while_the_cores_have_no_rest() {
        assert_eq!(paces(10, &[0, 10, 30, 0]), [1, 2, 3, 4]);
        assert_eq!(paces(3, &[0; 5]), [1, 2, 3, 3, 3]);
        assert_eq!(paces(10, &[0, 0, 50, 60, 50]), [1, 2, 2, 2, 2], "enough rest");
        assert_eq!(paces(10, &[0, 0, 100, 500, 100]), [1, 2, 1, 0, 0]);
    }

    #[test]
    fn where_their_rest_is_not_told_rounds_do_not_wait() {
        let mut pace = Pace::new(Duration::from_millis(10));
        let now = Instant::now();
        for look in 0..4 {
            pace.look(now + look * LOOK_EVERY, None);
        }
        assert_eq!(pace.least, Duration::ZERO);
        assert_eq!(parse("18092.11 8237.66\n"), Some(Duration::from_millis(8_237_660)));
        for text in ["", "12.5", "12.5 0.00\n", "12.5 -1.00\n", "12.5 inf\n", "a b\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_looks_at_this_machine_now_and_then() {
        if rested().is_none() {
            eprintln!("skipped: this machine does not tell how long its cores rest");
            return;
        }
        let mut pace = Pace::new(Duration::from_millis(10));
        let now = pace.due;
        let mut looked = |at: Instant| {
            pace.check(at);
            pace.looked.map(|(then, _)| then)
        };
        assert_eq!(looked(now), Some(now));
        assert_eq!(looked(now + LOOK_EVERY / 2), Some(now));
        assert_eq!(looked(now + LOOK_EVERY), Some(now + LOOK_EVERY));
        let mut off = Pace::new(Duration::ZERO);
        off.check(off.due + LOOK_EVERY);
        assert_eq!(off.looked, None);
    }
}
