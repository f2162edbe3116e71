//! A symbol: how it stands, what was told of it last, and who wants to know.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::task::AtomicWaker;
use market::{Symbol, SymbolState};

use crate::live::event::{Event, Kind, Kinds, Order};

/// Ticks, and firings, of a symbol that are kept for clients that are a little behind. One that is
/// behind these is too slow.
const KEPT: usize = 512;

/// One client's wish to be woken.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    kinds: Kinds,
    waker: AtomicWaker,
    /// It is to look, and has not done so yet.
    is_woken: AtomicBool,
}

impl Watcher {
    pub(crate) fn new(kinds: Kinds) -> Self {
        Self { kinds, ..Self::default() }
    }

    pub(crate) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// To be called before a look: what comes after it wakes again.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
        self.is_woken.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) symbol: Symbol,
    /// Number of the newest event.
    newest: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Its partition and its state; `None` where it has not traded.
    pub(crate) known: Option<(usize, SymbolState)>,
    pub(crate) price: Option<Arc<Event>>,
    /// The newest of each interval that has one, in the order of the intervals.
    pub(crate) candles: Vec<Option<Arc<Event>>>,
    ticks: Kept,
    firings: Kept,
    watchers: Vec<Arc<Watcher>>,
    /// How many of them want ticks.
    tick_watchers: usize,
}

/// The last few events of a kind that is given one by one.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    /// Number of the newest one that is no longer kept.
    lost: u64,
}

impl Kept {
    fn push(&mut self, event: Arc<Event>) {
        if self.events.len() >= KEPT
            && let Some(oldest) = self.events.pop_front()
        {
            self.lost = oldest.order.number;
        }
        self.events.push_back(event);
    }

    fn after(&self, order: Order) -> impl Iterator<Item = &Arc<Event>> {
        let from = self.events.partition_point(|event| event.order <= order);
        self.events.range(from..)
    }
}

/// Events were made that are not kept any more: they cannot be given one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Slot {
    pub(crate) fn new(symbol: Symbol) -> Self {
        Self { symbol, newest: AtomicU64::new(0), held: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self, number: u64) {
        self.newest.store(number, Ordering::Release);
    }

    /// Whether there may be events after that one.
    pub(crate) fn is_newer(&self, than: Order) -> bool {
        let newest = self.newest.load(Ordering::Acquire);
        newest > than.number || (newest == than.number && than.rank < u8::MAX)
    }

    pub(crate) fn watch(&self, watcher: &Arc<Watcher>) {
        let mut held = self.lock();
        held.tick_watchers += usize::from(watcher.kinds.has(Kind::Tick));
        held.watchers.push(Arc::clone(watcher));
    }

    /// Returns whether anybody still watches.
    pub(crate) fn forget(&self, watcher: &Arc<Watcher>) -> bool {
        let mut held = self.lock();
        if let Some(at) = held.watchers.iter().position(|other| Arc::ptr_eq(other, watcher)) {
            held.watchers.swap_remove(at);
            held.tick_watchers -= usize::from(watcher.kinds.has(Kind::Tick));
        }
        if held.tick_watchers == 0 {
            held.ticks = Kept::default();
        }
        !held.watchers.is_empty()
    }
}

impl Held {
    pub(crate) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(crate) fn wants_ticks(&self) -> bool {
        self.tick_watchers > 0
    }

    pub(crate) fn push_tick(&mut self, event: Event) {
        self.ticks.push(Arc::new(event));
    }

    pub(crate) fn push_firing(&mut self, event: Arc<Event>) {
        self.firings.push(event);
    }

    /// Events after one and up to a number. Of those that are states only the newest.
    pub(crate) fn events(
        &self,
        kinds: Kinds,
        after: Order,
        until: u64,
        found: &mut Vec<Arc<Event>>,
    ) -> Result<(), TooSlow> {
        let is_new = |event: &&Arc<Event>| event.order > after && event.order.number <= until;
        for (kind, kept) in [(Kind::Tick, &self.ticks), (Kind::Firing, &self.firings)] {
            if kinds.has(kind) {
                if kept.lost > after.number {
                    return Err(TooSlow);
                }
                found.extend(kept.after(after).filter(is_new).cloned());
            }
        }
        if kinds.has(Kind::Price) {
            found.extend(self.price.iter().filter(is_new).cloned());
        }
        if kinds.has(Kind::Candle) {
            found.extend(self.candles.iter().flatten().filter(is_new).cloned());
        }
        Ok(())
    }

    pub(crate) fn wake(&self, kinds: Kinds) {
        for watcher in &self.watchers {
            if watcher.kinds.meet(kinds) {
                watcher.wake();
            }
        }
    }
}
