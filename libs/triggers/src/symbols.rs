use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The number of a symbol in one [`crate::Partition`], dense from 0. Another partition, or the
/// same one restored, has other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolKey(pub(crate) u32);

impl SymbolKey {
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
    #[inline]
    pub(crate) fn intern(&mut self, name: &str) -> SymbolKey {
        let Self { names, by_name, hasher } = self;
        let hash = hasher.hash_one(name);
        if let Some(number) = by_name.find(hash, |number| *names[*number as usize] == *name) {
            return SymbolKey(*number);
        }
        let number = names.len() as u32;
        names.push(name.into());
        by_name.insert_unique(hash, number, |number| hasher.hash_one(&*names[*number as usize]));
        SymbolKey(number)
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
