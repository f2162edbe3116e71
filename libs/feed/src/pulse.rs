use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// While the reader waits for room in the queue: the feed is not to blame for that silence.
const WAITING: u64 = u64::MAX;

/// When the last message came, written by the reader and watched by the session.
///
/// Pure: times are durations since the connection opened.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last_millis: AtomicU64,
    messages: AtomicU64,
}

impl Pulse {
    pub(crate) fn message(&self, now: Duration) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.last_millis.store(millis(now), Ordering::Relaxed);
    }

    pub(crate) fn waiting(&self) {
        self.last_millis.store(WAITING, Ordering::Relaxed);
    }

    /// There was room again.
    pub(crate) fn resumed(&self, now: Duration) {
        self.last_millis.store(millis(now), Ordering::Relaxed);
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// How long to wait before looking again; `None` where the feed has been silent for `limit`.
    pub(crate) fn patience(&self, now: Duration, limit: Duration) -> Option<Duration> {
        let last = self.last_millis.load(Ordering::Relaxed);
        if last == WAITING {
            return Some(limit);
        }
        let silent_for = now.saturating_sub(Duration::from_millis(last));
        limit.checked_sub(silent_for).filter(|left| !left.is_zero())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(WAITING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(90);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_feed_that_says_nothing_is_given_up_after_the_limit() {
        let pulse = Pulse::default();
        assert_eq!(pulse.patience(seconds(0), LIMIT), Some(seconds(90)));
        assert_eq!(pulse.patience(seconds(60), LIMIT), Some(seconds(30)));
        assert_eq!(pulse.patience(seconds(90), LIMIT), None);
        assert_eq!(pulse.patience(seconds(1_000), LIMIT), None);
    }

    #[test]
    fn each_message_renews_the_patience() {
        let pulse = Pulse::default();
        pulse.message(seconds(60));
        assert_eq!(pulse.patience(seconds(100), LIMIT), Some(seconds(50)));
        assert_eq!(pulse.patience(seconds(150), LIMIT), None);
        assert_eq!(pulse.messages(), 1);
    }

    #[test]
    fn a_full_queue_is_not_the_feeds_silence() {
        let pulse = Pulse::default();
        pulse.message(seconds(1));
        pulse.waiting();
        assert_eq!(pulse.patience(seconds(1_000), LIMIT), Some(LIMIT));
        pulse.resumed(seconds(1_000));
        assert_eq!(pulse.patience(seconds(1_001), LIMIT), Some(seconds(89)));
    }
}
