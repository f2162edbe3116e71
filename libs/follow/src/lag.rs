//! How far behind the log each partition is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use service::catalogue;

use crate::now;

/// No partition ends there: it is not being read.
const NONE: i64 = -1;

#[derive(Debug)]
pub(crate) struct Lag {
    partitions: Vec<Behind>,
}

#[derive(Debug)]
struct Behind {
    /// The first offset whose record has not had its effect.
    next: AtomicI64,
    /// When the oldest trade that was read and has not had its effect was received, Unix
    /// nanoseconds; 0 where there is none.
    received_at: AtomicU64,
}

impl Lag {
    pub(crate) fn new(partitions: i32) -> Self {
        let behind = |_| Behind { next: AtomicI64::new(NONE), received_at: AtomicU64::new(0) };
        Self { partitions: (0..partitions).map(behind).collect() }
    }

    /// A batch is about to have its effect; the first trade of each partition in it was received
    /// then. An earlier one that has not had its own stands, as does one whose effect fails, since
    /// the same trades come again.
    pub(crate) fn under_way(&self, received_at: &BTreeMap<i32, u64>) {
        for (partition, received_at) in received_at {
            if let Some(behind) = self.of(*partition) {
                let (order, stands) = (Ordering::Relaxed, Ordering::Relaxed);
                let _ = behind.received_at.compare_exchange(0, *received_at, order, stands);
            }
        }
    }

    /// Everything before `next` has had its effect.
    pub(crate) fn applied(&self, partition: i32, next: i64) {
        if let Some(behind) = self.of(partition) {
            behind.next.store(next, Ordering::Relaxed);
            behind.received_at.store(0, Ordering::Relaxed);
        }
    }

    /// Whoever has the partition now tells how far it is.
    pub(crate) fn given_back(&self, partition: i32) {
        self.applied(partition, NONE);
        tell(partition, 0, Duration::ZERO);
    }

    /// The broker has said where a partition ends.
    pub(crate) fn ends(&self, partition: i32, end: i64) {
        let Some(behind) = self.of(partition) else { return };
        let next = behind.next.load(Ordering::Relaxed);
        if next == NONE {
            return;
        }
        let age = match behind.received_at.load(Ordering::Relaxed) {
            0 => 0,
            received_at => now().saturating_sub(received_at),
        };
        tell(partition, (end - next).max(0), Duration::from_nanos(age));
    }

    fn of(&self, partition: i32) -> Option<&Behind> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

fn tell(partition: i32, records: i64, age: Duration) {
    let gauge = |metric: catalogue::Metric| metric.with("partition", partition.to_string()).gauge();
    gauge(catalogue::CONSUMER_LAG).set(records as f64);
    gauge(catalogue::CONSUMER_LAG_SECONDS).set(age.as_secs_f64());
}
