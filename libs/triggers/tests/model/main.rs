//! A partition under random logs, alerts and crashes, against what the log says by itself.

mod random;
#[path = "../row/mod.rs"]
mod row;
mod verdict;
mod world;

use std::collections::BTreeMap;

use market::{Sequence, Trade};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use triggers::{AlertId, Arming, Partition, Terms, Version};

use crate::row::Row;
use crate::verdict::firings;
use crate::world::{World, read_records};

const SYMBOLS: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];

/// A record: trades of one symbol; none where it could not be decoded. Its offset is its index.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) symbol: usize,
    pub(crate) trades: Vec<Trade>,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many records are read, and it is said that they are done with, or not; then some trades
    /// of the next one.
    Read {
        count: usize,
        advance: bool,
        part: usize,
    },
    /// A row is created, armed so far from where the log was read to, and told or held back.
    Create {
        symbol: usize,
        terms: Terms,
        ahead: i64,
        told: bool,
    },
    /// A row is changed.
    Change {
        which: usize,
        terms: Terms,
        ahead: i64,
    },
    /// A row is told (again).
    Tell {
        which: usize,
    },
    Delete {
        which: usize,
    },
    /// The log is read again for those that are behind.
    CatchUp {
        count: usize,
    },
    /// After all that has changed was heard of, or not.
    Checkpoint {
        news: bool,
    },
    /// The owner dies; what it had fired since its last checkpoint was stored, or not.
    Crash {
        stored: bool,
        ring: usize,
        from_snapshot: bool,
    },
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn what_fires_is_a_function_of_the_row_and_the_log(
        log in random::log(), steps in random::steps(), ring in 1usize..12,
    ) {
        let mut world = World::new(&log, ring);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// The steps above are few; these are many alerts, for ladders and heaps that are large.
    #[test]
    fn of_many_alerts_each_fires_as_if_it_were_alone(
        log in random::long_log(), terms in prop::collection::vec(random::terms(), 1..400),
        seed in any::<u64>(),
    ) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut partition = Partition::new(64);
        let (mut rows, mut found) = (BTreeMap::new(), BTreeMap::new());
        for offset in 0..log.len() {
            for _ in 0..random.random_range(0..4) {
                let id = rows.len() as i64;
                let terms = terms[random.random_range(0..terms.len())];
                let symbol = random.random_range(0..SYMBOLS.len());
                let row = Row::new(id, terms, Sequence::of_record(offset as i64));
                let arming = partition.arm(SYMBOLS[symbol], row.armed().expect("new"), &mut Vec::new());
                prop_assert_eq!(arming, Arming::Armed);
                rows.insert(row.id, (symbol, row, log.len()));
            }
            if random.random_bool(0.3) && !rows.is_empty() {
                let id = AlertId(random.random_range(0..rows.len()) as i64);
                let (_, row, until) = rows.get_mut(&id).expect("a row");
                *until = offset.min(*until);
                let Version { revision, generation } = row.version;
                // Past any generation that its firings have come to.
                let version = Version { revision: revision + 1, generation };
                partition.disarm(id, version);
            }
            for firing in read_records(&mut partition, &log, offset, 1) {
                found.entry(firing.id).or_insert_with(Vec::new).push(firing);
            }
            partition.advance(offset as i64 + 1);
            if random.random_bool(0.01) {
                let bytes = row::aligned(&partition.snapshot().encode(""));
                let again = Partition::from_snapshot(&bytes, 64, |_| true);
                partition = again.expect("a snapshot").expect("ours");
            }
        }
        for (id, (symbol, row, until)) in rows {
            let found = found.remove(&id).unwrap_or_default();
            prop_assert_eq!(found, firings(&log[..until], symbol, &row));
        }
    }
}
