use std::time::{Duration, Instant};

use hashbrown::HashMap;

/// How often one kind of event is logged at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps events that a feed can cause at will from flooding the log. Counters have them all.
///
/// Kinds are the program's own names, so their number is bounded. Reads no clock.
#[derive(Debug, Default)]
pub(crate) struct Occasionally {
    kinds: HashMap<&'static str, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    told: Option<Instant>,
    untold: u64,
}

impl Occasionally {
    /// `count` more of this kind: how many to tell of now, or `None` to keep quiet.
    pub(crate) fn tell(&mut self, kind: &'static str, count: u64, now: Instant) -> Option<u64> {
        let kind = self.kinds.entry(kind).or_default();
        kind.untold += count;
        if kind.told.is_some_and(|told| now.saturating_duration_since(told) < INTERVAL) {
            return None;
        }
        kind.told = Some(now);
        Some(std::mem::take(&mut kind.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_a_second_with_what_was_not_told() {
        let mut log = Occasionally::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(log.tell("json", 1, at(0)), Some(1));
        assert_eq!(log.tell("json", 2, at(10)), None);
        assert_eq!(log.tell("price", 1, at(10)), Some(1));
        assert_eq!(log.tell("json", 3, at(999)), None);
        assert_eq!(log.tell("json", 1, at(1_000)), Some(6));
        assert_eq!(log.tell("json", 1, at(1_500)), None);
    }
}
