use std::sync::atomic::{AtomicI64, Ordering};

use service::catalogue;

/// Not ours, or nothing is known of it yet.
const NONE: i64 = -1;

/// How many records of each partition have not had their effect yet. Not how far the group's
/// offsets are: those follow what is stored for good, which may come later.
#[derive(Debug)]
pub(crate) struct Lag {
    /// By partition, the offset after the last record that had its effect.
    applied: Vec<AtomicI64>,
}

impl Lag {
    pub(crate) fn new(partitions: i32) -> Self {
        Self { applied: (0..partitions).map(|_| AtomicI64::new(NONE)).collect() }
    }

    pub(crate) fn applied(&self, partition: i32, next_offset: i64) {
        if let Some(applied) = self.of(partition) {
            applied.store(next_offset, Ordering::Relaxed);
        }
    }

    /// Whoever has the partition now tells how far it is.
    pub(crate) fn given_back(&self, partition: i32) {
        self.applied(partition, NONE);
        tell(partition, 0);
    }

    /// The broker has said where a partition ends.
    pub(crate) fn ends(&self, partition: i32, end: i64) {
        let applied = self.of(partition).map_or(NONE, |applied| applied.load(Ordering::Relaxed));
        if applied != NONE {
            tell(partition, (end - applied).max(0));
        }
    }

    fn of(&self, partition: i32) -> Option<&AtomicI64> {
        self.applied.get(usize::try_from(partition).ok()?)
    }
}

fn tell(partition: i32, records: i64) {
    let gauge = catalogue::CONSUMER_LAG.with("partition", partition.to_string()).gauge();
    gauge.set(records as f64);
}
