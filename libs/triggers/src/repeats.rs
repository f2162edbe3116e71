use hashbrown::HashMap;

use crate::Repeat;
use crate::slot::REPEATS;

/// The number of an alert that fires once.
const ONCE: u32 = 0;
/// Whose way to repeat stands by itself.
const ODD: u32 = REPEATS - 1;

/// Ways to repeat, each kept once: people choose among few.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: Vec<Repeat>,
    numbers: HashMap<Repeat, u32, foldhash::fast::RandomState>,
    /// By slot, once the numbers are used up.
    odd: HashMap<u32, Repeat, foldhash::fast::RandomState>,
}

impl Repeats {
    /// The number for an alert that will be in this slot.
    pub(crate) fn number(&mut self, slot: u32, repeat: Option<Repeat>) -> u32 {
        let Some(repeat) = repeat else { return ONCE };
        if let Some(number) = self.numbers.get(&repeat) {
            return *number;
        }
        let number = self.known.len() as u32 + 1;
        if number == ODD {
            self.odd.insert(slot, repeat);
            return ODD;
        }
        self.known.push(repeat);
        self.numbers.insert(repeat, number);
        number
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32, number: u32) -> Option<Repeat> {
        match number {
            ONCE => None,
            ODD => self.odd.get(&slot).copied(),
            number => self.known.get(number as usize - 1).copied(),
        }
    }

    pub(crate) fn forget(&mut self, slot: u32, number: u32) {
        if number == ODD {
            self.odd.remove(&slot);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.known.capacity() * size_of::<Repeat>()
            + self.numbers.allocation_size()
            + self.odd.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_repeat_is_found_again_however_many_there_are() {
        let mut repeats = Repeats::default();
        let repeat = |slot: u32| {
            let cooldown = slot / 2 * 1_000;
            (!slot.is_multiple_of(50)).then_some(Repeat { cooldown, hysteresis: None })
        };
        let numbers: Vec<u32> = (0..5_000).map(|slot| repeats.number(slot, repeat(slot))).collect();
        assert!(numbers.iter().all(|number| *number < REPEATS));
        for (slot, number) in (0..).zip(numbers) {
            assert_eq!(repeats.get(slot, number), repeat(slot));
            repeats.forget(slot, number);
        }
        assert!(repeats.odd.is_empty());
    }
}
