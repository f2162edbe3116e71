use market::{Price, Stamp};

use crate::ids::Ids;
use crate::repeats::Repeats;
use crate::slot::{Place, Slot};
use crate::standing::Standing;
use crate::symbols::SymbolKey;
use crate::{AlertId, Repeat};

/// Slots are kept in pages: a vector of tens of millions would hold twice its content each time
/// that it grows.
const PAGE: usize = 4_096;

/// Every alert that is known, by id.
///
/// 36 bytes a slot and some 8 bytes for finding it.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pages: Vec<Vec<Slot>>,
    /// Slots to be used again.
    free: Vec<u32>,
    by_id: Ids,
    repeats: Repeats,
}

impl Roster {
    /// For a roster that will hold so many.
    pub(crate) fn with_capacity(alerts: usize) -> Self {
        let pages = Vec::with_capacity(alerts.div_ceil(PAGE));
        Self { pages, by_id: Ids::with_capacity(alerts), ..Self::default() }
    }

    pub(crate) fn find(&self, id: AlertId) -> Option<u32> {
        self.by_id.find(id, |slot| self.get(slot).id())
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Slot {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub(crate) fn repeat(&self, slot: u32) -> Option<Repeat> {
        self.repeats.get(slot, self.get(slot).repeat_number())
    }

    /// How the alert of a slot stands; `best` is that of its group, if it is on a trail.
    pub(crate) fn standing(&self, slot: u32, best: Option<(Price, Stamp)>) -> Standing {
        self.get(slot).standing(self.repeat(slot), best)
    }

    /// The id must not be known. The slot's place is `Dead` until it is put somewhere.
    pub(crate) fn insert(&mut self, id: AlertId, symbol: SymbolKey, standing: &Standing) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| self.next());
        let repeat = self.repeats.number(slot, standing.repeat);
        let content = Slot::new(id, standing, symbol, repeat);
        if slot == self.next() {
            self.push(content);
        } else {
            *self.get_mut(slot) = content;
        }
        let Self { pages, by_id, .. } = self;
        by_id.insert(id, slot, |slot| pages[slot as usize / PAGE][slot as usize % PAGE].id());
        slot
    }

    /// How many slots there are, used or not.
    fn next(&self) -> u32 {
        let full = self.pages.len().saturating_sub(1) * PAGE;
        (full + self.pages.last().map_or(0, Vec::len)) as u32
    }

    fn push(&mut self, content: Slot) {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::new());
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(content);
        }
    }

    /// It is found no longer; its slot stays as it is until it is given to `free`.
    pub(crate) fn lose(&mut self, slot: u32) {
        let id = self.get(slot).id();
        self.by_id.remove(id, slot);
        let number = self.get(slot).repeat_number();
        self.repeats.forget(slot, number);
        self.get_mut(slot).put(Place::Dead);
    }

    pub(crate) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Every slot, in order, those that hold nothing any more among them: page by page, for the
    /// evaluation stands still meanwhile.
    pub(crate) fn copy(&self) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.next() as usize);
        self.pages.iter().for_each(|page| slots.extend_from_slice(page));
        slots
    }

    /// Every alert that is known, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let slots = (0..).zip(self.pages.iter().flatten());
        slots.filter(|(_, slot)| slot.place() != Place::Dead)
    }

    pub(crate) fn bytes(&self) -> usize {
        let slots: usize = self.pages.iter().map(Vec::capacity).sum();
        slots * size_of::<Slot>()
            + self.pages.capacity() * size_of::<Vec<Slot>>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_id.bytes()
            + self.repeats.bytes()
    }
}
