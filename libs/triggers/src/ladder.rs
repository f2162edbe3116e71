/// The most rungs of a chunk. Small enough that moving half of one is cheap beside the cache
/// misses of the search, large enough that a million rungs have only some thousands of chunks.
const CHUNK: usize = 256;

/// The thresholds of one symbol and side, in order, the one that is reached first at the end.
///
/// Sorted chunks under one directory rather than a `BTreeSet` or a heap: 12 bytes a rung and two
/// thirds to all of a chunk used (a set takes some 25 bytes), firing takes from the end without
/// moving anything, and any range of thresholds can be looked at in order.
///
/// Invariant: no chunk is empty, rungs ascend within a chunk and from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    chunks: Vec<Vec<Rung>>,
}

/// A key and the slot of its alert, which makes equal keys distinct. In halves, so that no padding
/// is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rung {
    high: u32,
    low: u32,
    slot: u32,
}

impl Rung {
    #[inline]
    fn new(key: u64, slot: u32) -> Self {
        Self { high: (key >> 32) as u32, low: key as u32, slot }
    }

    #[inline]
    fn key(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

impl Ladder {
    /// The highest key: what is reached first.
    #[inline]
    pub(crate) fn nearest(&self) -> Option<u64> {
        Some(self.chunks.last()?.last()?.key())
    }

    /// Takes out the slot of the nearest rung, where its key is at least `key`.
    #[inline]
    pub(crate) fn pop_reached(&mut self, key: u64) -> Option<u32> {
        let chunk = self.chunks.last_mut()?;
        let rung = chunk.pop_if(|rung| rung.key() >= key)?;
        if chunk.is_empty() {
            self.chunks.pop();
        }
        Some(rung.slot)
    }

    pub(crate) fn insert(&mut self, key: u64, slot: u32) {
        let rung = Rung::new(key, slot);
        let at = self.chunk_of(rung);
        let count = self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![rung]);
            return;
        };
        let place = chunk.partition_point(|other| *other < rung);
        if chunk.len() < CHUNK {
            chunk.insert(place, rung);
        } else if place == CHUNK && at + 1 == count {
            // At either end a full chunk stays full, so that thresholds that come in order pack.
            self.chunks.push(vec![rung]);
        } else if place == 0 {
            self.chunks.insert(at, vec![rung]);
        } else {
            let mut upper = chunk.split_off(CHUNK / 2);
            match place.checked_sub(CHUNK / 2) {
                Some(place) => upper.insert(place, rung),
                None => chunk.insert(place, rung),
            }
            self.chunks.insert(at + 1, upper);
        }
    }

    pub(crate) fn remove(&mut self, key: u64, slot: u32) {
        let rung = Rung::new(key, slot);
        let at = self.chunk_of(rung);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.binary_search(&rung) else { return };
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        } else if chunk.len() < CHUNK / 4 {
            self.merge(at);
        }
    }

    /// Joins a chunk that has become small with a neighbour, where both fit in half a chunk.
    fn merge(&mut self, at: usize) {
        for lower in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            let Some([low, high]) = self.chunks.get(lower..lower + 2) else { continue };
            if low.len() + high.len() <= CHUNK / 2 {
                let high = self.chunks.remove(lower + 1);
                self.chunks[lower].extend(high);
                return;
            }
        }
    }

    /// The chunk that holds a rung, or is to hold it.
    fn chunk_of(&self, rung: Rung) -> usize {
        self.chunks.partition_point(|chunk| chunk[0] <= rung).saturating_sub(1)
    }

    pub(crate) fn bytes(&self) -> usize {
        let rungs: usize = self.chunks.iter().map(Vec::capacity).sum();
        rungs * size_of::<Rung>() + self.chunks.capacity() * size_of::<Vec<Rung>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Ladder {
        fn check(&self, expected: &BTreeSet<(u64, u32)>) {
            let rungs = self.chunks.iter().flatten().map(|rung| (rung.key(), rung.slot));
            assert!(rungs.eq(expected.iter().copied()), "not the same rungs in order");
            assert!(self.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// So many inserts, the keys so far apart.
        Insert {
            count: u32,
            key: u64,
            apart: i64,
        },
        Remove {
            every: usize,
        },
        Reach(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = prop_oneof![0u64..50, 0u64..10_000, Just(u64::MAX >> 1)];
        let step = prop_oneof![
            3 => (1u32..1_500, key.clone(), -3i64..4)
                .prop_map(|(count, key, apart)| Step::Insert { count, key, apart }),
            1 => (1usize..5).prop_map(|every| Step::Remove { every }),
            1 => key.prop_map(Step::Reach),
        ];
        prop::collection::vec(step, 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_ladder_is_a_sorted_set(steps in steps()) {
            let (mut ladder, mut set, mut slot) = (Ladder::default(), BTreeSet::new(), 0);
            for step in steps {
                match step {
                    Step::Insert { count, key, apart } => for n in 0..count {
                        // Odd slots from the far end, so that equal keys do not come in order.
                        slot += 1;
                        let slot = if slot % 2 == 0 { slot } else { u32::MAX - slot };
                        let key = key.saturating_add_signed(apart * i64::from(n));
                        ladder.insert(key, slot);
                        set.insert((key, slot));
                    },
                    Step::Remove { every } => {
                        let gone: Vec<_> = set.iter().copied().step_by(every).collect();
                        for (key, slot) in gone {
                            ladder.remove(key, slot);
                            ladder.remove(key, slot);
                            set.remove(&(key, slot));
                        }
                    }
                    Step::Reach(key) => while let Some(slot) = ladder.pop_reached(key) {
                        prop_assert_eq!(set.pop_last().map(|(_, slot)| slot), Some(slot));
                    },
                }
                ladder.check(&set);
                prop_assert_eq!(ladder.nearest(), set.last().map(|(key, _)| *key));
            }
        }
    }

    #[test]
    fn thresholds_that_come_in_order_fill_their_chunks() {
        let (mut up, mut down) = (Ladder::default(), Ladder::default());
        let count = 10 * CHUNK;
        for n in 0..count as u32 {
            up.insert(u64::from(n), n);
            down.insert(u64::from(u32::MAX - n), n);
        }
        assert_eq!((up.chunks.len(), down.chunks.len()), (10, 10));
    }

    #[test]
    fn a_ladder_that_empties_gives_its_memory_back() {
        let mut ladder = Ladder::default();
        let key = |n: u32| u64::from(n.wrapping_mul(2_654_435_761));
        (0..100_000).for_each(|n| ladder.insert(key(n), n));
        (0..100_000).filter(|n| n % 100 != 0).for_each(|n| ladder.remove(key(n), n));
        assert!(ladder.bytes() < 100_000, "{} bytes for 1,000 rungs", ladder.bytes());
    }
}
