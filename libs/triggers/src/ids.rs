use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::AlertId;

/// Slots by the ids of their alerts.
///
/// In many tables, for one that doubles stops the evaluation for as long as it takes to move all
/// that is in it; and of unequal sizes, so that they do not all double at once and leave half of
/// their memory empty.
#[derive(Debug)]
pub(crate) struct Ids {
    tables: Vec<HashTable<u32>>,
    hasher: RandomState,
    len: usize,
}

const TABLES: usize = 32;

/// The table of a hash's part. The last one has almost twice the share of the first.
const TABLE_OF: [u8; 256] = {
    // The 32 sizes are each a 32nd root of two larger than the one before; 256 parts of them all.
    const ROOT: f64 = 1.021_897_148_654_116_7;
    let (mut sum, mut size, mut table) = (0.0, 1.0, 0);
    while table < TABLES {
        sum += size;
        size *= ROOT;
        table += 1;
    }
    let (mut of, mut part, mut table, mut size) = ([0; 256], 0, 0, 1.0);
    let mut end = size * 256.0 / sum;
    while part < 256 {
        if part as f64 >= end && table + 1 < TABLES {
            table += 1;
            size *= ROOT;
            end += size * 256.0 / sum;
        }
        of[part] = table as u8;
        part += 1;
    }
    of
};

impl Default for Ids {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Ids {
    pub(crate) fn with_capacity(ids: usize) -> Self {
        let table = |table: usize| {
            let parts = TABLE_OF.iter().filter(|of| usize::from(**of) == table).count();
            HashTable::with_capacity(ids * parts / 256)
        };
        let tables = (0..TABLES).map(table).collect();
        Self { tables, hasher: RandomState::default(), len: 0 }
    }

    /// Not by the first or the last bits, by which a table tells its own entries apart.
    fn table(hash: u64) -> usize {
        usize::from(TABLE_OF[(hash >> 32 & 0xff) as usize])
    }

    pub(crate) fn find(&self, id: AlertId, id_of: impl Fn(u32) -> AlertId) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.tables[Self::table(hash)].find(hash, |slot| id_of(*slot) == id).copied()
    }

    /// The id must not be there.
    pub(crate) fn insert(&mut self, id: AlertId, slot: u32, id_of: impl Fn(u32) -> AlertId) {
        let Self { tables, hasher, len } = self;
        let hash = hasher.hash_one(id);
        tables[Self::table(hash)].insert_unique(hash, slot, |slot| hasher.hash_one(id_of(*slot)));
        *len += 1;
    }

    pub(crate) fn remove(&mut self, id: AlertId, slot: u32) {
        let hash = self.hasher.hash_one(id);
        let table = &mut self.tables[Self::table(hash)];
        if let Ok(entry) = table.find_entry(hash, |other| *other == slot) {
            entry.remove();
            self.len -= 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_double_at_once() {
        let id_of = |slot: u32| AlertId(i64::from(slot) * 6);
        let mut ids = Ids::default();
        for slot in 0..200_000 {
            ids.insert(id_of(slot), slot, id_of);
            if slot % 1_000 == 999 && slot > 20_000 {
                let each = ids.bytes() as f64 / ids.len() as f64;
                assert!((7.0..9.5).contains(&each), "{each:.1} bytes an id at {slot}");
            }
        }
        for slot in 0..200_000 {
            assert_eq!(ids.find(id_of(slot), id_of), Some(slot));
            ids.remove(id_of(slot), slot);
            assert_eq!(ids.find(id_of(slot), id_of), None);
        }
        assert_eq!(ids.len(), 0);
    }
}
