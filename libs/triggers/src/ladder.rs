use std::cmp::Ordering;

/// The most rungs of a chunk. Small enough that moving half of one is cheap beside the cache
/// misses of the search, large enough that a million rungs have only some thousands of chunks.
const CHUNK: usize = 256;

/// By how many a chunk grows: doubling would leave a third of it empty.
const GROWTH: usize = 16;

/// The bounds that alerts of one symbol wait for on one side, in order, the one that is reached
/// first at the end.
///
/// Sorted chunks under one directory rather than a `BTreeSet` or a heap: firing takes from the end
/// without moving anything, and a rung is 8 bytes (a set would take some 25), since of a key it
/// keeps only the upper half. Where two are alike in that, and wherever a price is compared, the
/// whole key is asked for: `keys` works it out from the alert itself.
///
/// Invariant: no chunk is empty; rungs ascend by whole key and slot, within a chunk and from chunk
/// to chunk. So `keys` must say of a slot what it said when it was put in.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    /// The key of its first rung.
    first: u64,
    rungs: Vec<Rung>,
}

#[derive(Clone, Copy, Debug)]
struct Rung {
    upper: u32,
    slot: u32,
}

/// The first bit of a side's keys is always the same.
#[inline]
fn upper(key: u64) -> u32 {
    (key >> 31) as u32
}

impl Rung {
    fn cmp(self, key: u64, slot: u32, keys: &impl Fn(u32) -> u64) -> Ordering {
        let by_upper = self.upper.cmp(&upper(key));
        by_upper.then_with(|| (keys(self.slot), self.slot).cmp(&(key, slot)))
    }

    fn reaches(self, key: u64, keys: &impl Fn(u32) -> u64) -> bool {
        match self.upper.cmp(&upper(key)) {
            Ordering::Less => false,
            Ordering::Equal => keys(self.slot) >= key,
            Ordering::Greater => true,
        }
    }
}

impl Chunk {
    fn of(key: u64, slot: u32) -> Self {
        Self { first: key, rungs: vec![Rung { upper: upper(key), slot }] }
    }

    fn search(&self, key: u64, slot: u32, keys: &impl Fn(u32) -> u64) -> Result<usize, usize> {
        self.rungs.binary_search_by(|rung| rung.cmp(key, slot, keys))
    }

    fn insert(&mut self, place: usize, key: u64, slot: u32) {
        if self.rungs.len() == self.rungs.capacity() {
            self.rungs.reserve_exact(GROWTH);
        }
        self.rungs.insert(place, Rung { upper: upper(key), slot });
        if place == 0 {
            self.first = key;
        }
    }
}

impl Ladder {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The slot of the rung that is reached first.
    #[inline]
    pub(crate) fn nearest(&self) -> Option<u32> {
        Some(self.chunks.last()?.rungs.last()?.slot)
    }

    /// Takes out the slot of the nearest rung, where its key is at least `key`.
    #[inline]
    pub(crate) fn pop_reached(&mut self, key: u64, keys: &impl Fn(u32) -> u64) -> Option<u32> {
        let chunk = self.chunks.last_mut()?;
        let rung = chunk.rungs.pop_if(|rung| rung.reaches(key, keys))?;
        if chunk.rungs.is_empty() {
            self.chunks.pop();
        }
        Some(rung.slot)
    }

    pub(crate) fn insert(&mut self, slot: u32, keys: &impl Fn(u32) -> u64) {
        let key = keys(slot);
        let at = self.chunk_of(key, slot);
        let count = self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk::of(key, slot));
            return;
        };
        let Err(place) = chunk.search(key, slot, keys) else { return };
        if chunk.rungs.len() < CHUNK {
            chunk.insert(place, key, slot);
        } else if place == CHUNK && at + 1 == count {
            // At either end a full chunk stays full, so that bounds that come in order pack.
            self.chunks.push(Chunk::of(key, slot));
        } else if place == 0 {
            self.chunks.insert(at, Chunk::of(key, slot));
        } else {
            let rungs = chunk.rungs.split_off(CHUNK / 2);
            chunk.rungs.shrink_to(CHUNK / 2 + GROWTH);
            let mut half = Chunk { first: keys(rungs[0].slot), rungs };
            match place.checked_sub(CHUNK / 2) {
                // Before the first of the upper half is after the last of the lower one.
                Some(place) if place > 0 => half.insert(place, key, slot),
                _ => chunk.insert(place, key, slot),
            }
            self.chunks.insert(at + 1, half);
        }
    }

    pub(crate) fn remove(&mut self, slot: u32, keys: &impl Fn(u32) -> u64) {
        let key = keys(slot);
        let at = self.chunk_of(key, slot);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.search(key, slot, keys) else { return };
        chunk.rungs.remove(place);
        match chunk.rungs.first() {
            None => {
                self.chunks.remove(at);
                return;
            }
            Some(first) if place == 0 => chunk.first = keys(first.slot),
            Some(_) => {}
        }
        if chunk.rungs.len() < CHUNK / 4 {
            self.merge(at);
        }
    }

    /// Joins a chunk that has become small with a neighbour, where both fit in half a chunk.
    fn merge(&mut self, at: usize) {
        for lower in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            let Some([low, high]) = self.chunks.get(lower..lower + 2) else { continue };
            if low.rungs.len() + high.rungs.len() <= CHUNK / 2 {
                let high = self.chunks.remove(lower + 1);
                self.chunks[lower].rungs.extend(high.rungs);
                return;
            }
        }
    }

    /// The chunk that holds a rung, or is to hold it.
    fn chunk_of(&self, key: u64, slot: u32) -> usize {
        let before = |chunk: &Chunk| (chunk.first, chunk.rungs[0].slot) <= (key, slot);
        self.chunks.partition_point(before).saturating_sub(1)
    }

    /// From keys and slots in ascending order.
    pub(crate) fn of_sorted(rungs: &[(u64, u32)]) -> Self {
        let chunk = |rungs: &[(u64, u32)]| Chunk {
            first: rungs[0].0,
            rungs: rungs
                .iter()
                .map(|(key, slot)| Rung { upper: upper(*key), slot: *slot })
                .collect(),
        };
        Self { chunks: rungs.chunks(CHUNK).map(chunk).collect() }
    }

    /// Every slot, nearest last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flat_map(|chunk| &chunk.rungs).map(|rung| rung.slot)
    }

    pub(crate) fn bytes(&self) -> usize {
        let rungs: usize = self.chunks.iter().map(|chunk| chunk.rungs.capacity()).sum();
        rungs * size_of::<Rung>() + self.chunks.capacity() * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    impl Ladder {
        fn check(&self, keys: &impl Fn(u32) -> u64, expected: &BTreeSet<(u64, u32)>) {
            let rungs = self.iter().map(|slot| (keys(slot), slot));
            assert!(rungs.eq(expected.iter().copied()), "not the same rungs in order");
            for chunk in &self.chunks {
                assert!((1..=CHUNK).contains(&chunk.rungs.len()));
                assert_eq!(chunk.first, keys(chunk.rungs[0].slot));
            }
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
        Rebuild,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Some are alike in their upper halves.
        let key = prop_oneof![0u64..50, 0u64..10_000, 0u64..(1 << 45), Just(u64::MAX >> 1)];
        let apart = prop_oneof![-3i64..4, Just(1 << 31), Just(-(1 << 33))];
        let step = prop_oneof![
            6 => (1u32..1_500, key.clone(), apart)
                .prop_map(|(count, key, apart)| Step::Insert { count, key, apart }),
            2 => (1usize..5).prop_map(|every| Step::Remove { every }),
            2 => key.prop_map(Step::Reach),
            1 => Just(Step::Rebuild),
        ];
        prop::collection::vec(step, 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_ladder_is_a_sorted_set(steps in steps()) {
            let (mut ladder, mut set, mut slot) = (Ladder::default(), BTreeSet::new(), 0);
            let known = RefCell::new(HashMap::new());
            let keys = |slot: u32| known.borrow()[&slot];
            for step in steps {
                match step {
                    Step::Insert { count, key, apart } => for n in 0..count {
                        // Odd slots from the far end, so that equal keys do not come in order.
                        slot += 1;
                        let slot = if slot % 2 == 0 { slot } else { u32::MAX - slot };
                        let key = key.saturating_add_signed(apart.saturating_mul(i64::from(n)));
                        let key = key.min(u64::MAX >> 1);
                        known.borrow_mut().insert(slot, key);
                        ladder.insert(slot, &keys);
                        set.insert((key, slot));
                    },
                    Step::Remove { every } => {
                        let gone: Vec<_> = set.iter().copied().step_by(every).collect();
                        for (key, slot) in gone {
                            ladder.remove(slot, &keys);
                            ladder.remove(slot, &keys);
                            set.remove(&(key, slot));
                        }
                    }
                    Step::Reach(key) => while let Some(slot) = ladder.pop_reached(key, &keys) {
                        prop_assert_eq!(set.pop_last().map(|(_, slot)| slot), Some(slot));
                    },
                    Step::Rebuild => {
                        ladder = Ladder::of_sorted(&set.iter().copied().collect::<Vec<_>>());
                    }
                }
                ladder.check(&keys, &set);
                prop_assert_eq!(ladder.nearest(), set.last().map(|(_, slot)| *slot));
            }
        }
    }

    #[test]
    fn bounds_that_come_in_order_fill_their_chunks() {
        let (mut up, mut down) = (Ladder::default(), Ladder::default());
        let count = 10 * CHUNK;
        for n in 0..count as u32 {
            up.insert(n, &u64::from);
            down.insert(u32::MAX - n, &u64::from);
        }
        assert_eq!((up.chunks.len(), down.chunks.len()), (10, 10));
    }

    #[test]
    fn a_ladder_is_as_large_as_what_it_holds() {
        let mut ladder = Ladder::default();
        let key = |n: u32| u64::from(n.wrapping_mul(2_654_435_761)) << 31;
        (0..100_000).for_each(|n| ladder.insert(n, &key));
        assert!(ladder.bytes() < 1_000_000, "{} bytes for 100,000 rungs", ladder.bytes());
        (0..100_000).filter(|n| n % 100 != 0).for_each(|n| ladder.remove(n, &key));
        assert!(ladder.bytes() < 100_000, "{} bytes for 1,000 rungs", ladder.bytes());
    }
}
