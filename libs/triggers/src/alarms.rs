use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use market::Sequence;

/// What names the slot of an alert.
pub(crate) trait OfSlot {
    fn slot(&self) -> u32;
}

/// Until the log comes to a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
pub(crate) struct Wait {
    pub(crate) at: Sequence,
    pub(crate) slot: u32,
    /// How its alert stands then.
    pub(crate) asleep_until: i64,
}

/// Until a symbol's time has come so far, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
pub(crate) struct Sleep {
    pub(crate) until: i64,
    pub(crate) slot: u32,
}

impl OfSlot for Wait {
    fn slot(&self) -> u32 {
        self.slot
    }
}

impl OfSlot for Sleep {
    fn slot(&self) -> u32 {
        self.slot
    }
}

/// By how much so many are to grow: doubling would leave up to half empty.
pub(crate) fn growth(count: usize) -> usize {
    (count / 4).max(4)
}

/// Alerts that are looked at again when something has come, the next one first.
///
/// One that is forgotten is not looked for: its slot is dead until its turn comes, or until half
/// of all are dead.
#[derive(Debug)]
pub(crate) struct Alarms<T> {
    heap: BinaryHeap<Reverse<T>>,
    dead: usize,
}

impl<T: Ord> Default for Alarms<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), dead: 0 }
    }
}

impl<T: Ord + Copy + OfSlot> Alarms<T> {
    pub(crate) fn set(&mut self, alarm: T) {
        if self.heap.len() == self.heap.capacity() {
            self.heap.reserve_exact(growth(self.heap.len()));
        }
        self.heap.push(Reverse(alarm));
    }

    pub(crate) fn next(&self) -> Option<&T> {
        self.heap.peek().map(|Reverse(alarm)| alarm)
    }

    /// Takes out the next one where it `is_due`. Its slot may be dead: say so with
    /// [`Alarms::buried`].
    pub(crate) fn take(&mut self, is_due: impl FnOnce(&T) -> bool) -> Option<T> {
        let next = self.heap.peek_mut()?;
        let taken = is_due(&next.0).then(|| PeekMut::pop(next).0);
        self.trim();
        taken
    }

    /// Many may have come at once.
    fn trim(&mut self) {
        if self.heap.len() < self.heap.capacity() / 2 {
            self.heap.shrink_to(self.heap.len() + growth(self.heap.len()));
        }
    }

    pub(crate) fn buried(&mut self) {
        self.dead -= 1;
    }

    /// Another one is dead. Hands over those slots that nothing names any more.
    pub(crate) fn died(&mut self, is_dead: impl Fn(u32) -> bool, mut free: impl FnMut(u32)) {
        self.dead += 1;
        if self.dead * 2 > self.heap.len() {
            self.heap.retain(|Reverse(alarm)| {
                let dead = is_dead(alarm.slot());
                if dead {
                    free(alarm.slot());
                }
                !dead
            });
            self.dead = 0;
            self.trim();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|Reverse(alarm)| alarm)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<T>()
    }
}
