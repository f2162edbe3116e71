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
    known: Vec<Known>,
    /// Numbers to be used again.
    free: Vec<u32>,
    numbers: HashMap<Repeat, u32, foldhash::fast::RandomState>,
    /// By slot, once the numbers are used up.
    odd: HashMap<u32, Repeat, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Known {
    repeat: Repeat,
    /// How many alerts repeat so.
    alerts: u32,
}

impl Repeats {
    /// The number for an alert that will be in this slot, until that is told to [`Repeats::forget`].
    pub(crate) fn number(&mut self, slot: u32, repeat: Option<Repeat>) -> u32 {
        let Some(repeat) = repeat else { return ONCE };
        if let Some(number) = self.numbers.get(&repeat) {
            self.known[*number as usize - 1].alerts += 1;
            return *number;
        }
        let known = Known { repeat, alerts: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                self.known[number as usize - 1] = known;
                number
            }
            None if self.known.len() as u32 + 1 == ODD => {
                self.odd.insert(slot, repeat);
                return ODD;
            }
            None => {
                self.known.push(known);
                self.known.len() as u32
            }
        };
        self.numbers.insert(repeat, number);
        number
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32, number: u32) -> Option<Repeat> {
        match number {
            ONCE => None,
            ODD => self.odd.get(&slot).copied(),
            number => self.known.get(number as usize - 1).map(|known| known.repeat),
        }
    }

    pub(crate) fn forget(&mut self, slot: u32, number: u32) {
        match number {
            ONCE => {}
            ODD => {
                self.odd.remove(&slot);
            }
            number => {
                let Known { repeat, alerts } = &mut self.known[number as usize - 1];
                *alerts -= 1;
                if *alerts == 0 {
                    self.numbers.remove(repeat);
                    self.free.push(number);
                }
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.known.capacity() * size_of::<Known>()
            + self.free.capacity() * size_of::<u32>()
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

    #[test]
    fn what_no_alert_needs_leaves_its_number_to_others() {
        let mut repeats = Repeats::default();
        for slot in 0..5 * REPEATS {
            let repeat = Some(Repeat { cooldown: slot, hysteresis: None });
            let (one, other) = (repeats.number(slot, repeat), repeats.number(slot + 1, repeat));
            assert!(one == other && one != ODD);
            repeats.forget(slot, one);
            assert_eq!(repeats.get(slot + 1, other), repeat);
            repeats.forget(slot + 1, other);
        }
        assert!(repeats.numbers.is_empty());
    }
}
