use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::AlertId;
use crate::level::Side;
use crate::symbols::SymbolKey;

/// Slots are kept in pages: a vector of tens of millions would hold twice its content each time
/// that it grows.
const PAGE: usize = 4_096;

/// Every alert that is known, by id.
///
/// 24 bytes a slot and 5.7 to 11.4 bytes for finding it (a number and a byte a bucket).
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pages: Vec<Vec<Slot>>,
    /// Slots to be used again.
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) id: AlertId,
    pub(crate) generation: i32,
    pub(crate) place: Place,
    /// On a ladder the key of its rung; waiting, the offset it waits for; else of no meaning.
    pub(crate) word: u64,
}

/// Where an alert is: on one of the ladders, or one of the values below, which no ladder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// Armed at an offset that the log has not reached.
    pub(crate) const WAITING: Self = Self(u32::MAX);
    /// Has fired, and stays known until its row says so too: an older copy of the row must not
    /// arm it again.
    pub(crate) const FIRED: Self = Self(u32::MAX - 1);

    pub(crate) fn ladder(symbol: SymbolKey, side: Side) -> Self {
        Self(symbol.0 << 1 | side as u32)
    }

    pub(crate) fn as_ladder(self) -> Option<(SymbolKey, Side)> {
        let side = Side::BOTH[(self.0 & 1) as usize];
        (self.0 < Self::FIRED.0).then_some((SymbolKey(self.0 >> 1), side))
    }
}

impl Roster {
    pub(crate) fn find(&self, id: AlertId) -> Option<u32> {
        let found = self.by_id.find(self.hasher.hash_one(id), |slot| self.get(*slot).id == id);
        found.copied()
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Slot {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// The id must not be known.
    pub(crate) fn insert(&mut self, content: Slot) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.get_mut(slot) = content;
                slot
            }
            None => self.push(content),
        };
        let Self { pages, by_id, hasher, .. } = self;
        let id_of = |slot: u32| pages[slot as usize / PAGE][slot as usize % PAGE].id;
        by_id
            .insert_unique(hasher.hash_one(content.id), slot, |slot| hasher.hash_one(id_of(*slot)));
        slot
    }

    fn push(&mut self, content: Slot) -> u32 {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::new());
        }
        let before = (self.pages.len() - 1) * PAGE;
        let page = &mut self.pages[before / PAGE];
        page.push(content);
        (before + page.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let hash = self.hasher.hash_one(self.get(slot).id);
        if let Ok(entry) = self.by_id.find_entry(hash, |other| *other == slot) {
            entry.remove();
            self.free.push(slot);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.by_id.iter().map(|slot| (*slot, self.get(*slot)))
    }

    pub(crate) fn bytes(&self) -> usize {
        let slots: usize = self.pages.iter().map(Vec::capacity).sum();
        slots * size_of::<Slot>()
            + self.pages.capacity() * size_of::<Vec<Slot>>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_id.allocation_size()
    }
}
