use std::time::Duration;

use store::Expiring;
use tokio::time::Instant;

use crate::tasks::Done;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When alerts past their expiry are looked for: every few seconds from the first expiry on, page
/// by page.
pub(crate) struct Expiry {
    due: Instant,
    is_looking: bool,
    /// Up to that expiry, and that id among those of the same one, they were looked at.
    to: (i64, i64),
}

impl Expiry {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now + LOOK_EVERY, is_looking: false, to: (0, 0) }
    }

    /// Where the page begins that is due.
    pub(crate) fn begin(&mut self) -> Option<(i64, i64)> {
        let now = Instant::now();
        if self.is_looking || now < self.due {
            return None;
        }
        (self.is_looking, self.due) = (true, now + LOOK_EVERY);
        Some(self.to)
    }

    /// A page has come: after a full one, the next is due at once.
    pub(crate) fn looked_at(&mut self, page: &[Expiring]) {
        self.to = (0, 0);
        if let Some(last) = page.last().filter(|_| !Done::is_last(page)) {
            self.to = (last.expires_at, last.id);
            self.due = Instant::now();
        }
    }

    /// Nothing of the last page is left to be done.
    pub(crate) fn end(&mut self) {
        self.is_looking = false;
    }
}
