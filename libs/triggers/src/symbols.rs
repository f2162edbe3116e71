use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::slot::SYMBOLS;

/// The number of a symbol in one [`crate::Partition`], dense from 0. Another partition, or the
/// same one restored, has other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolKey(u32);

impl SymbolKey {
    pub(crate) fn of(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The symbols of a partition and their numbers.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    names: Vec<Box<str>>,
    by_name: HashTable<u32>,
    hasher: RandomState,
}

impl Symbols {
    /// `None` where there are as many as there are numbers.
    #[inline]
    pub(crate) fn intern(&mut self, name: &str) -> Option<SymbolKey> {
        let Self { names, by_name, hasher } = self;
        let hash = hasher.hash_one(name);
        if let Some(number) = by_name.find(hash, |number| *names[*number as usize] == *name) {
            return Some(SymbolKey(*number));
        }
        let number = u32::try_from(names.len()).ok().filter(|number| *number < SYMBOLS)?;
        names.push(name.into());
        by_name.insert_unique(hash, number, |number| hasher.hash_one(&*names[*number as usize]));
        Some(SymbolKey(number))
    }

    pub(crate) fn find(&self, name: &str) -> Option<SymbolKey> {
        let number = self
            .by_name
            .find(self.hasher.hash_one(name), |number| *self.names[*number as usize] == *name);
        number.copied().map(SymbolKey)
    }

    pub(crate) fn name(&self, key: SymbolKey) -> &str {
        &self.names[key.index()]
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.names.iter().map(|name| name.len()).sum::<usize>()
            + self.names.capacity() * size_of::<Box<str>>()
            + self.by_name.allocation_size()
    }
}
