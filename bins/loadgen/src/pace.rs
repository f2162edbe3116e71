use std::time::Duration;

/// When the frames of a steady stream of trades are due.
///
/// An absolute schedule: a late frame does not put off the ones after it, so the rate is what was
/// asked for and not what was left of it. Pure: times are durations since the stream began.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: f64,
    per_frame: u64,
    /// Trades sent or given up.
    done: u64,
}

/// How far a stream may fall behind a slow reader before it gives trades up.
const BACKLOG: Duration = Duration::from_secs(1);

/// The longest that a trade waits for its frame to fill.
const FRAME_WAIT: Duration = Duration::from_millis(250);

impl Pace {
    pub(crate) fn new(rate: f64, trades_per_frame: u64) -> Self {
        let in_time = (rate * FRAME_WAIT.as_secs_f64()) as u64;
        Self { rate, per_frame: trades_per_frame.min(in_time.max(1)), done: 0 }
    }

    pub(crate) fn trades_per_frame(&self) -> u64 {
        self.per_frame
    }

    pub(crate) fn frames_due(&self, now: Duration) -> u64 {
        self.trades_by(now).saturating_sub(self.done) / self.per_frame
    }

    pub(crate) fn sent_frame(&mut self) {
        self.done += self.per_frame;
    }

    /// Gives up what is too late; how many trades that was.
    pub(crate) fn give_up(&mut self, now: Duration) -> u64 {
        let oldest = self.trades_by(now.saturating_sub(BACKLOG));
        let given_up = oldest.saturating_sub(self.done);
        self.done += given_up;
        given_up
    }

    /// When the next frame is due.
    pub(crate) fn next(&self) -> Duration {
        Duration::from_secs_f64((self.done + self.per_frame) as f64 / self.rate)
    }

    fn trades_by(&self, now: Duration) -> u64 {
        // A nanosecond more, so that a frame is due when `next` said it would be, however that
        // was rounded.
        ((now.as_secs_f64() + 1e-9) * self.rate + 1e-6) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn frames_are_due_at_the_rate() {
        let mut pace = Pace::new(1_000.0, 10);
        assert_eq!(pace.frames_due(ms(9)), 0);
        assert_eq!(pace.next(), ms(10));
        assert_eq!(pace.frames_due(ms(10)), 1);
        assert_eq!(pace.frames_due(ms(105)), 10);
        for _ in 0..10 {
            pace.sent_frame();
        }
        assert_eq!(pace.frames_due(ms(105)), 0);
        assert_eq!(pace.next(), ms(110));
    }

    #[test]
    fn a_frame_is_due_when_it_was_said_to_be() {
        for rate in [0.1, 3.0, 7.77, 333.3, 12_345.6, 3e6] {
            let mut pace = Pace::new(rate, 4);
            for _ in 0..1_000 {
                assert!(pace.frames_due(pace.next()) >= 1, "{rate}");
                pace.sent_frame();
            }
        }
    }

    #[test]
    fn at_low_rates_no_trade_waits_long_for_its_frame() {
        assert_eq!(Pace::new(100.0, 4).trades_per_frame(), 4);
        assert_eq!(Pace::new(10.0, 4).trades_per_frame(), 2);
        assert_eq!(Pace::new(0.5, 4).trades_per_frame(), 1);
        assert_eq!(Pace::new(0.5, 4).next(), ms(2_000));
    }

    #[test]
    fn what_a_slow_reader_leaves_is_given_up_after_a_second() {
        let mut pace = Pace::new(1_000.0, 10);
        assert_eq!(pace.give_up(ms(1_000)), 0);
        assert_eq!(pace.give_up(ms(3_000)), 2_000);
        assert_eq!(pace.frames_due(ms(3_000)), 100);
    }
}
