use std::fmt;

use metrics::Histogram;

/// What a connection is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    CreateMany,
    Change,
    Get,
    List,
    Firings,
    Fire,
    Advance,
    Expire,
    Checkpoints,
    Snapshot,
    Lease,
    Published,
    Waiting,
    Quota,
    Log,
}

impl Call {
    pub const ALL: [Self; 16] = [
        Self::Create,
        Self::CreateMany,
        Self::Change,
        Self::Get,
        Self::List,
        Self::Firings,
        Self::Fire,
        Self::Advance,
        Self::Expire,
        Self::Checkpoints,
        Self::Snapshot,
        Self::Lease,
        Self::Published,
        Self::Waiting,
        Self::Quota,
        Self::Log,
    ];

    /// Whether owners of partitions make it, whose firings depend on it.
    pub(crate) fn is_an_owners(self) -> bool {
        use Call::{Advance, Checkpoints, Expire, Fire, Snapshot};
        matches!(self, Fire | Advance | Expire | Checkpoints | Snapshot)
    }

    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateMany => "create_many",
            Self::Change => "change",
            Self::Get => "get",
            Self::List => "list",
            Self::Firings => "firings",
            Self::Fire => "fire",
            Self::Advance => "advance",
            Self::Expire => "expire",
            Self::Checkpoints => "checkpoints",
            Self::Snapshot => "snapshot",
            Self::Lease => "lease",
            Self::Published => "published",
            Self::Waiting => "waiting",
            Self::Quota => "quota",
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
