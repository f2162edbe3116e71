//! A symbol: how it stands, what was told of it last, and who wants to know.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::task::AtomicWaker;
use market::{Symbol, SymbolState};

use crate::live::event::{After, CANDLE_RANK, Event, Kind, Kinds, Order, PRICE_RANK, Payload};

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
        // A swap: the look that follows must not be done before it.
        self.is_woken.swap(false, Ordering::AcqRel);
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
    price: Option<Arc<Event>>,
    /// Of each interval, in their order.
    candles: Vec<ToldCandles>,
    ticks: Kept,
    firings: Kept,
    watchers: Vec<Arc<Watcher>>,
    /// How many of them want events of a kind.
    wanted: [usize; Kind::ALL.len()],
}

/// The newest candle of an interval, and the one before, which trades may still change.
#[derive(Debug, Default)]
struct ToldCandles {
    newest: Option<(i64, Arc<Event>)>,
    before: Option<(i64, Arc<Event>)>,
}

impl ToldCandles {
    fn take(&mut self, number: u64, interval: u8, after: &After, start: i64, payload: Payload) {
        let is_newest = self.newest.as_ref().is_none_or(|(newest, _)| start >= *newest);
        if self.newest.as_ref().is_some_and(|(newest, _)| start > *newest) {
            self.before = self.newest.take();
        }
        let (place, back) = if is_newest { (&mut self.newest, 1) } else { (&mut self.before, 0) };
        if place.as_ref().is_none_or(|(held, _)| start >= *held) {
            // Of one trade the older candle first.
            let order = Order { number, rank: CANDLE_RANK + 2 * interval + back };
            *place = Some((start, Arc::new(Event::new(order, after.clone(), payload))));
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.before.iter().chain(&self.newest).map(|(_, event)| event)
    }
}

/// The last few events of a kind that is given one by one.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    /// Number of the newest one that is no longer kept.
    lost: u64,
}

impl Kept {
    /// Keeps so many, and all that nobody has been able to see yet.
    fn push(&mut self, event: Arc<Event>, kept: usize, published: u64) {
        while self.events.len() >= kept
            && let Some(oldest) = self.events.front()
            && oldest.order.number <= published
        {
            self.lost = oldest.order.number;
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Keeps an event no longer, nor any before it.
    fn let_go(&mut self, number: u64) {
        while self.events.front().is_some_and(|oldest| oldest.order.number <= number) {
            self.events.pop_front();
            self.lost = number;
        }
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

    /// Makes the events of how a symbol stands now, where anybody wants them.
    pub(crate) fn tell(&self, number: u64, after: &After) {
        let mut held = self.lock();
        let held = &mut *held;
        let (wants_price, wants_candles) = (held.wants(Kind::Price), held.wants(Kind::Candle));
        let Some((_, state)) = &mut held.known else { return };
        if let Some(latest) = state.latest.filter(|_| wants_price) {
            let (symbol, stands) = (self.symbol.clone(), Box::new((latest, state.day)));
            let payload = Payload::Price { symbol, stands };
            let order = Order { number, rank: PRICE_RANK };
            held.price = Some(Arc::new(Event::new(order, after.clone(), payload)));
        }
        held.candles.resize_with(state.candles.len(), Default::default);
        for ((rank, candles), told) in (0..).zip(&mut state.candles).zip(&mut held.candles) {
            let interval = candles.spec().interval;
            candles.take_changes(|start, candle| {
                if wants_candles {
                    let (symbol, candle) = (self.symbol.clone(), Box::new(*candle));
                    let payload = Payload::Candle { symbol, interval, start, candle };
                    told.take(number, rank, after, start, payload);
                }
            });
            candles.take_expired(|_| {});
        }
        state.cool();
        self.changed(number);
    }

    /// How a symbol stands: for a client that has just come.
    pub(crate) fn snapshot(&self, kinds: Kinds) -> Vec<Payload> {
        let held = self.lock();
        let Some((_, state)) = &held.known else { return Vec::new() };
        let mut payloads = Vec::new();
        if let Some(latest) = state.latest.filter(|_| kinds.has(Kind::Price)) {
            let (symbol, stands) = (self.symbol.clone(), Box::new((latest, state.day)));
            payloads.push(Payload::Price { symbol, stands });
        }
        if kinds.has(Kind::Candle) {
            payloads.extend(state.candles.iter().filter_map(|candles| {
                let (start, candle) = candles.iter().next_back()?;
                let (symbol, interval) = (self.symbol.clone(), candles.spec().interval);
                let candle = Box::new(*candle);
                Some(Payload::Candle { symbol, interval, start, candle })
            }));
        }
        payloads
    }

    /// Whether there may be events after that one.
    pub(crate) fn is_newer(&self, than: Order) -> bool {
        let newest = self.newest.load(Ordering::Acquire);
        newest > than.number || (newest == than.number && than.rank < u8::MAX)
    }

    /// Returns whether it is the first that wants ticks.
    pub(crate) fn watch(&self, watcher: &Arc<Watcher>) -> bool {
        let mut held = self.lock();
        for kind in Kind::ALL.into_iter().filter(|kind| watcher.kinds.has(*kind)) {
            held.wanted[kind as usize] += 1;
        }
        held.watchers.push(Arc::clone(watcher));
        watcher.kinds.has(Kind::Tick) && held.wanted[Kind::Tick as usize] == 1
    }

    /// Returns whether it was the last that wants ticks.
    pub(crate) fn forget(&self, watcher: &Arc<Watcher>) -> bool {
        let mut held = self.lock();
        let at = held.watchers.iter().position(|other| Arc::ptr_eq(other, watcher));
        let Some(at) = at else { return false };
        held.watchers.swap_remove(at);
        for kind in Kind::ALL.into_iter().filter(|kind| watcher.kinds.has(*kind)) {
            held.wanted[kind as usize] -= 1;
        }
        if !held.wants(Kind::Firing) {
            held.firings = Kept::default();
        }
        let is_last = watcher.kinds.has(Kind::Tick) && !held.wants(Kind::Tick);
        if is_last {
            held.ticks = Kept::default();
        }
        is_last
    }
}

impl Held {
    pub(crate) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(crate) fn wants(&self, kind: Kind) -> bool {
        self.wanted[kind as usize] > 0
    }

    pub(crate) fn push_tick(&mut self, event: Event, kept: usize, published: u64) {
        self.ticks.push(Arc::new(event), kept, published);
    }

    pub(crate) fn push_firing(&mut self, event: Arc<Event>) {
        self.firings.events.push_back(event);
    }

    /// Keeps no firing up to that event.
    pub(crate) fn let_go(&mut self, number: u64) {
        self.firings.let_go(number);
    }

    #[cfg(test)]
    pub(crate) fn firings(&self) -> usize {
        self.firings.events.len()
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
            found.extend(self.candles.iter().flat_map(ToldCandles::iter).filter(is_new).cloned());
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
