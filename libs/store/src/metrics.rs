use std::fmt;

use metrics::Histogram;

/// What a connection is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    List,
    Fire,
    Checkpoint,
    Checkpoints,
    Lease,
    Published,
    Waiting,
    Log,
}

impl Call {
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::List,
        Self::Fire,
        Self::Checkpoint,
        Self::Checkpoints,
        Self::Lease,
        Self::Published,
        Self::Waiting,
        Self::Log,
    ];

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::List => "list",
            Self::Fire => "fire",
            Self::Checkpoint => "checkpoint",
            Self::Checkpoints => "checkpoints",
            Self::Lease => "lease",
            Self::Published => "published",
            Self::Waiting => "waiting",
            Self::Log => "log",
        }
    }
}

/// Where the store counts; the catalogue names them.
#[derive(Clone)]
pub struct StoreMetrics {
    /// Seconds that a call waited for a connection.
    pub acquire: Histogram,
    /// Seconds that it held one, in the order of [`Call::ALL`].
    pub calls: [Histogram; Call::ALL.len()],
}

impl StoreMetrics {
    /// Counts nowhere.
    pub fn noop() -> Self {
        Self { acquire: Histogram::noop(), calls: Call::ALL.map(|_| Histogram::noop()) }
    }

    pub(crate) fn of(&self, call: Call) -> &Histogram {
        &self.calls[call as usize]
    }
}

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stand_in_their_own_order() {
        for (place, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, place, "{call:?}");
        }
    }
}
