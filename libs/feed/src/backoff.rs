use std::time::Duration;

/// A connection that carried this many messages was a working one, however short.
const PRODUCTIVE_MESSAGES: u64 = 100;

/// How long to wait before the next connect.
#[derive(Clone, Debug)]
pub struct BackoffSettings {
    /// The first wait is between nothing and this; each further one up to twice as long.
    pub first: Duration,
    /// The longest wait after an ordinary loss.
    pub longest: Duration,
    /// The longest wait after the loss of a connection that had carried messages in number.
    pub longest_productive: Duration,
    /// The shortest wait after a refusal: the feed does not want us, and insisting makes it worse.
    pub first_refused: Duration,
    /// The longest wait after a refusal.
    pub longest_refused: Duration,
    /// A connection that lasted this long wipes the slate.
    pub healthy: Duration,
    /// One that was closed sooner than this after its opening was a refusal.
    pub premature: Duration,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            longest_productive: Duration::from_secs(2),
            first_refused: Duration::from_secs(30),
            longest_refused: Duration::from_secs(5 * 60),
            healthy: Duration::from_secs(60),
            premature: Duration::from_secs(1),
        }
    }
}

/// What became of an attempt, as far as the next one's time depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// No connection came about: no route, no name, no TLS, no answer in time.
    Unreachable,
    /// The handshake was answered, and not by 101.
    Refused,
    /// Opened, and ended after `lasted`, having carried `messages`.
    Opened { lasted: Duration, messages: u64 },
}

impl BackoffSettings {
    /// Whether the feed turned us away, rather than that something broke.
    ///
    /// A feed that drops us at once, but only after many messages, has the key and the plan
    /// right: that is a bad line, not a refusal.
    pub(crate) fn is_refusal(&self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::Unreachable => false,
            Attempt::Refused => true,
            Attempt::Opened { lasted, messages } => {
                lasted < self.premature && messages < PRODUCTIVE_MESSAGES
            }
        }
    }
}

/// Exponential, with full jitter, so that many clients of one feed do not return in step.
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
///
/// Pure: reads no clock and throws no dice.
#[derive(Debug)]
pub(crate) struct Backoff {
    settings: BackoffSettings,
    losses: u32,
    refusals: u32,
}

impl Backoff {
    pub(crate) fn new(settings: BackoffSettings) -> Self {
        Self { settings, losses: 0, refusals: 0 }
    }

    /// The wait before the next attempt. `jitter` is uniform in 0..1.
    pub(crate) fn after(&mut self, attempt: Attempt, jitter: f64) -> Duration {
        let settings = &self.settings;
        if let Attempt::Opened { lasted, .. } = attempt
            && lasted >= settings.healthy
        {
            self.losses = 0;
            self.refusals = 0;
        }
        if settings.is_refusal(attempt) {
            self.refusals = self.refusals.saturating_add(1);
            let shortest = settings.first_refused;
            let longest = doubled(shortest, self.refusals).min(settings.longest_refused);
            return shortest.min(longest) + longest.saturating_sub(shortest).mul_f64(jitter);
        }
        let productive =
            matches!(attempt, Attempt::Opened { messages, .. } if messages >= PRODUCTIVE_MESSAGES);
        let longest = if productive {
            settings.longest_productive.min(settings.longest)
        } else {
            settings.longest
        };
        let bound = doubled(settings.first, self.losses).min(longest);
        self.losses = self.losses.saturating_add(1);
        bound.mul_f64(jitter)
    }
}

fn doubled(duration: Duration, times: u32) -> Duration {
    duration.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(lasted_ms: u64, messages: u64) -> Attempt {
        Attempt::Opened { lasted: Duration::from_millis(lasted_ms), messages }
    }

    /// The longest waits (jitter of almost 1) after each attempt, in milliseconds.
    #[track_caller]
    fn check(attempts: &[Attempt], expected: &[u128]) {
        let mut backoff = Backoff::new(BackoffSettings::default());
        let found: Vec<_> =
            attempts.iter().map(|&attempt| backoff.after(attempt, 1.0).as_millis()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn losses_double_the_wait_up_to_its_bound() {
        check(
            &[Attempt::Unreachable; 9],
            &[250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
        );
        check(&[opened(5_000, 10); 3], &[250, 500, 1_000]);
    }

    #[test]
    fn a_healthy_minute_wipes_the_slate() {
        check(
            &[Attempt::Unreachable, Attempt::Unreachable, opened(60_000, 0), Attempt::Unreachable],
            &[250, 500, 250, 500],
        );
        check(&[Attempt::Refused, opened(60_000, 3), Attempt::Refused], &[60_000, 250, 60_000]);
    }

    #[test]
    fn a_refusal_backs_off_hard() {
        check(&[Attempt::Refused; 4], &[60_000, 120_000, 240_000, 300_000]);
        check(&[opened(999, 3); 2], &[60_000, 120_000]);
        check(&[opened(1_000, 3)], &[250]);
    }

    #[test]
    fn a_working_connection_that_is_dropped_is_taken_up_again_soon() {
        check(&[opened(300, 100); 5], &[250, 500, 1_000, 2_000, 2_000]);
        check(&[opened(300, 99)], &[60_000]);
    }

    #[test]
    fn jitter_is_full_after_a_loss_and_never_hurries_after_a_refusal() {
        let wait = |attempt, jitter| {
            Backoff::new(BackoffSettings::default()).after(attempt, jitter).as_millis()
        };
        assert_eq!(wait(Attempt::Unreachable, 0.0), 0);
        assert_eq!(wait(Attempt::Unreachable, 0.5), 125);
        assert_eq!(wait(Attempt::Refused, 0.0), 30_000);
        assert_eq!(wait(Attempt::Refused, 0.5), 45_000);
    }

    #[test]
    fn no_number_of_attempts_overflows() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        for _ in 0..100 {
            assert!(backoff.after(Attempt::Unreachable, 1.0) <= Duration::from_secs(30));
            assert!(backoff.after(Attempt::Refused, 1.0) <= Duration::from_secs(300));
        }
    }
}
