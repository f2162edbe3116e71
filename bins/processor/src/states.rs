use follow::{Batch, Known};
use market::Symbol;
use speed::Tracked;

/// The states held in memory, by symbol number.
#[derive(Debug, Default)]
pub(crate) struct States {
    slots: Vec<Slot>,
    /// How many of them have a state.
    held: usize,
}

#[derive(Debug)]
struct Slot {
    symbol: Symbol,
    partition: i32,
    /// `None` until loaded, and again after another writer was seen.
    state: Option<Tracked>,
    /// Which batch touched it last; each symbol of a batch is listed once.
    touched: u64,
}

/// A symbol of the batch at hand, its state taken out while it is folded and written.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) number: u32,
    pub(crate) state: Option<Tracked>,
    /// Has the batch's trades.
    pub(crate) folded: bool,
    /// Holds a trade that was not counted before.
    pub(crate) changed: bool,
}

impl Touched {
    pub(crate) fn new(number: u32, state: Option<Tracked>) -> Self {
        Self { number, state, folded: false, changed: false }
    }

    /// What Redis had a moment ago.
    pub(crate) fn set(&mut self, state: Tracked) {
        *self = Self::new(self.number, Some(state));
    }
}

impl States {
    /// Makes room for symbols that are new; with `anew`, all numbers have a new meaning.
    pub(crate) fn know(&mut self, anew: bool, known: &[Known]) {
        if anew {
            self.slots.clear();
            self.held = 0;
        }
        self.slots.extend(known.iter().skip(self.slots.len()).map(|known| Slot {
            symbol: known.symbol.clone(),
            partition: known.partition,
            state: None,
            touched: 0,
        }));
    }

    /// Takes out the states of the batch's symbols, in order of first touch. `batch_number` grows
    /// by one a batch, from 1.
    pub(crate) fn take(&mut self, batch: &Batch, batch_number: u64, touched: &mut Vec<Touched>) {
        touched.clear();
        for gathered in &batch.trades {
            let slot = &mut self.slots[gathered.symbol as usize];
            if slot.touched != batch_number {
                slot.touched = batch_number;
                let state = slot.state.take();
                self.held -= usize::from(state.is_some());
                touched.push(Touched::new(gathered.symbol, state));
            }
        }
    }

    pub(crate) fn put_back(&mut self, touched: &mut Vec<Touched>) {
        for touched in touched.drain(..) {
            self.held += usize::from(touched.state.is_some());
            self.slots[touched.number as usize].state = touched.state;
        }
    }

    /// Drops a symbol's state, unless the batch at hand has it.
    pub(crate) fn drop(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            self.held -= usize::from(slot.state.take().is_some());
        }
    }

    pub(crate) fn symbol(&self, number: u32) -> &str {
        self.slots[number as usize].symbol.as_str()
    }

    pub(crate) fn partition(&self, number: u32) -> i32 {
        self.slots[number as usize].partition
    }

    /// How many symbols' states are held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many symbols there are numbers for.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Drops candles that are in Redis and not likely to be needed.
    pub(crate) fn cool(&mut self) {
        let held = self.slots.iter_mut().filter_map(|slot| slot.state.as_mut());
        held.for_each(|tracked| tracked.state.cool());
    }

    /// Drops the states of some partitions, or of all.
    pub(crate) fn forget(&mut self, partitions: Option<&[i32]>) {
        for slot in &mut self.slots {
            if partitions.is_none_or(|partitions| partitions.contains(&slot.partition)) {
                self.held -= usize::from(slot.state.take().is_some());
            }
        }
    }
}
