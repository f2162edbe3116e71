use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// While a backend is away every request fails: a line now and then says why.
#[derive(Debug, Default)]
pub(crate) struct Sparingly {
    logged: Mutex<Option<Instant>>,
}

impl Sparingly {
    /// Whether a line is due; it is then taken for written.
    pub(crate) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|at| now.duration_since(at) >= EVERY);
        if due {
            *logged = Some(now);
        }
        due
    }
}
