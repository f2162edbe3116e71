//! Every symbol as the tail has it, and what is told of it: the gateway's view.
//!
//! ```text
//!  entries of the streams ─┐                    ┌─▶ slots ─▶ prices (REST, gRPC)
//!  firings ────────────────┴─▶ Board, in order ─┴─▶ events ─▶ subscriptions (SSE, WebSocket, gRPC)
//! ```
//! Only one task writes, so that events have one order. What it writes is not seen before it is
//! published: a client that has been given an event has been given every earlier one that it wants.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use market::{CandleSpec, Sequence, StateSpec, Symbol, SymbolState};
use rpc::alert::v1::Firing;
use speed::{Ends, Snapshot, StreamEntry};

use crate::live::cursor::{Cursor, Given, tag};
use crate::live::event::{
    After, CANDLE_RANK, Event, Kind, Kinds, Order, PRICE_RANK, Payload, TICK_RANK,
};
use crate::live::slot::{Held, Slot};

/// Firings that are kept for clients that come back.
const FIRINGS_KEPT: usize = 10_000;

/// Symbols that nobody trades but somebody asks for, at most.
const MOST_UNKNOWN: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Board {
    spec: StateSpec,
    slots: RwLock<HashMap<Symbol, Arc<Slot>>>,
    unknown: AtomicU64,
    published: AtomicU64,
    /// Raised when what was told is no longer true: another log is followed.
    life: AtomicU64,
    is_current: AtomicBool,
    base: Mutex<Base>,
    firings: Mutex<VecDeque<Arc<Event>>>,
}

/// As of what the board is.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// Of the last event.
    pub(crate) number: u64,
    pub(crate) cursor: Arc<Cursor>,
}

/// A partition's trades have another place than what was read before: some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed;

pub(crate) const TOO_MANY_SYMBOLS: &str = "too many symbols are followed that nobody trades";

/// There are too many symbols that nobody trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Board {
    pub(crate) fn new(candles: Vec<CandleSpec>) -> Self {
        let cursor = Cursor { log: "".into(), places: Box::default(), firing: None };
        Self {
            spec: StateSpec { candles, recent: 0 },
            slots: RwLock::default(),
            unknown: AtomicU64::new(0),
            published: AtomicU64::new(0),
            life: AtomicU64::new(0),
            is_current: AtomicBool::new(false),
            base: Mutex::new(Base { number: 0, cursor: Arc::new(cursor) }),
            firings: Mutex::default(),
        }
    }

    pub(crate) fn spec(&self) -> &StateSpec {
        &self.spec
    }

    fn lock_base(&self) -> MutexGuard<'_, Base> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn base(&self) -> Base {
        self.lock_base().clone()
    }

    /// Number of the last event that may be seen.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    /// Whether it has all that the streams have, or nearly.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    pub(crate) fn set_current(&self, is_current: bool) {
        self.is_current.store(is_current, Ordering::Release);
    }

    pub(crate) fn find(&self, symbol: &str) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(symbol).cloned()
    }

    /// The slot of a symbol that may yet have to trade.
    pub(crate) fn find_or_make(&self, symbol: &Symbol) -> Result<Arc<Slot>, TooMany> {
        if let Some(slot) = self.find(symbol.as_str()) {
            return Ok(slot);
        }
        if self.unknown.load(Ordering::Relaxed) >= MOST_UNKNOWN as u64 {
            return Err(TooMany);
        }
        Ok(self.make(symbol.clone()))
    }

    fn make(&self, symbol: Symbol) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(symbol).or_insert_with_key(|symbol| {
            self.unknown.fetch_add(1, Ordering::Relaxed);
            Arc::new(Slot::new(symbol.clone()))
        });
        Arc::clone(slot)
    }

    /// Nobody watches it any more: where it never traded it is forgotten.
    pub(crate) fn let_go(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let held = slot.lock();
        if held.known.is_none() && !held.is_watched() && slots.remove(&slot.symbol).is_some() {
            self.unknown.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The names of all symbols that have traded, in their order.
    pub(crate) fn symbols(&self) -> Vec<Symbol> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let known = slots.values().filter(|slot| slot.lock().known.is_some());
        let mut symbols: Vec<Symbol> = known.map(|slot| slot.symbol.clone()).collect();
        symbols.sort_unstable();
        symbols
    }

    /// Begins with what Redis holds. Whoever was told of another log, or would miss what came in
    /// between, is let go: it comes back, and what it missed is read back for it.
    pub(crate) fn begin(&self, ends: &Ends, states: Vec<Snapshot>) {
        let places = ends.newest.iter().map(|newest| newest.map(Given::all)).collect();
        let log = tag(ends.log.as_str());
        let cursor = {
            let base = self.lock_base();
            Cursor { log, places, firing: base.cursor.firing }
        };
        if *self.lock_base().cursor != cursor {
            self.forget();
        }
        self.lock_base().cursor = Arc::new(cursor);
        for Snapshot { symbol, position, state } in states {
            if position.log == ends.log {
                let slot = self.make(symbol);
                self.know(&slot, &mut slot.lock(), position.partition as usize, state);
            }
        }
    }

    fn know(&self, _: &Slot, held: &mut Held, partition: usize, state: SymbolState) {
        if held.known.is_none() {
            self.unknown.fetch_sub(1, Ordering::Relaxed);
        }
        held.known = Some((partition, state));
    }

    /// Forgets all symbols, and lets everybody go.
    fn forget(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            slot.lock().wake(Kinds::of(&Kind::ALL));
        }
        slots.clear();
        self.unknown.store(0, Ordering::Relaxed);
    }

    /// Wakes everybody: there is something to be told that is no event.
    pub(crate) fn wake_all(&self) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().for_each(|slot| slot.lock().wake(Kinds::of(&Kind::ALL)));
    }

    /// Counts an entry. Returns the symbols whose states are to be read anew, since a trade was too
    /// late to be counted with what is here.
    pub(crate) fn apply(&self, entry: &StreamEntry) -> Result<Vec<Arc<Slot>>, Missed> {
        let Base { mut number, cursor, .. } = self.base();
        let partition = usize::try_from(entry.partition).unwrap_or(usize::MAX);
        let place = cursor.places.get(partition).ok_or(Missed)?.map(|given| given.sequence);
        if entry.after > place {
            return Err(Missed);
        }
        let slots: Vec<Arc<Slot>> = entry
            .batch
            .symbols()
            .filter_map(|name| self.find(name).or_else(|| Some(self.make(Symbol::new(name).ok()?))))
            .collect();
        if slots.len() != entry.batch.symbols().len() {
            return Err(Missed);
        }
        let mut touched: Vec<Option<Touched>> = slots.iter().map(|_| None).collect();
        for packed in entry.batch.trades().filter(|packed| Some(packed.sequence) > place) {
            number += 1;
            let (slot, sequence) = (&slots[packed.symbol], packed.sequence);
            let mut held = slot.lock();
            let held = &mut *held;
            if held.known.is_none() {
                self.know(slot, held, partition, SymbolState::new(&self.spec));
            }
            let Some((_, state)) = &mut held.known else { continue };
            let touched = touched[packed.symbol].get_or_insert_with(Touched::default);
            (touched.number, touched.sequence) = (number, sequence);
            if state.reaches(packed.trade.timestamp) {
                state.apply(&packed.trade, sequence);
            } else {
                touched.is_late = true;
            }
            if held.wants_ticks() {
                let after = After { base: Arc::clone(&cursor), trade: Some((partition, sequence)) };
                let order = Order { number, rank: TICK_RANK };
                let (symbol, trade) = (slot.symbol.clone(), packed.trade);
                held.push_tick(Event::new(order, after, Payload::Tick { symbol, trade }));
            }
        }
        let mut late = Vec::new();
        for (slot, touched) in slots.iter().zip(&touched) {
            let Some(touched) = touched else { continue };
            let after =
                After { base: Arc::clone(&cursor), trade: Some((partition, touched.sequence)) };
            slot.tell(touched.number, &after);
            if touched.is_late {
                late.push(Arc::clone(slot));
            }
        }
        self.publish(number, |cursor| {
            cursor.places[partition] = Some(Given::all(entry.last()));
        });
        let kinds = Kinds::of(&[Kind::Price, Kind::Tick, Kind::Candle]);
        for (slot, _) in slots.iter().zip(&touched).filter(|(_, touched)| touched.is_some()) {
            slot.lock().wake(kinds);
        }
        Ok(late)
    }

    /// Takes a state that was read anew.
    pub(crate) fn renew(&self, slot: &Slot, snapshot: Snapshot) {
        let mut held = slot.lock();
        let partition = snapshot.position.partition as usize;
        self.know(slot, &mut held, partition, snapshot.state);
    }

    /// Tells of a firing. Firings come in the order in which they were stored.
    pub(crate) fn fire(&self, firing: Firing) {
        let Ok(symbol) = Symbol::new(&firing.symbol) else { return };
        let Base { number, cursor, .. } = self.base();
        let (number, id) = (number + 1, firing.id);
        let mut base = Cursor::clone(&cursor);
        base.firing = Some(id);
        let after = After { base: Arc::new(base), trade: None };
        let order = Order { number, rank: 0 };
        let event = Arc::new(Event::new(order, after, Payload::Firing(Box::new(firing))));
        {
            let mut firings = self.firings.lock().unwrap_or_else(PoisonError::into_inner);
            if firings.len() >= FIRINGS_KEPT {
                firings.pop_front();
            }
            firings.push_back(Arc::clone(&event));
        }
        let slot = self.find(symbol.as_str());
        if let Some(slot) = &slot {
            slot.lock().push_firing(event);
            slot.changed(number);
        }
        self.publish(number, |cursor| cursor.firing = Some(id));
        if let Some(slot) = slot {
            slot.lock().wake(Kinds::of(&[Kind::Firing]));
        }
    }

    /// The firings after one, oldest first, up to those of a base; `None` where that one is no
    /// longer kept.
    pub(crate) fn firings_after(&self, id: i64, until: u64) -> Option<Vec<Arc<Event>>> {
        let firings = self.firings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |event: &Arc<Event>| match &event.payload {
            Payload::Firing(firing) => firing.id == id,
            _ => false,
        };
        let at = firings.iter().rposition(is_it)?;
        let after = firings.range(at + 1..);
        Some(after.filter(|event| event.order.number <= until).cloned().collect())
    }

    fn publish(&self, number: u64, change: impl FnOnce(&mut Cursor)) {
        let mut base = self.lock_base();
        base.number = number;
        change(Arc::make_mut(&mut base.cursor));
        drop(base);
        self.published.store(number, Ordering::Release);
    }

    /// Whether all that these ends say is here.
    pub(crate) fn reaches(&self, ends: &Ends) -> bool {
        let cursor = self.base().cursor;
        let places = cursor.places.iter().map(|place| place.map(|given| given.sequence));
        *cursor.log == *tag(ends.log.as_str())
            && cursor.places.len() == ends.newest.len()
            && places.zip(&ends.newest).all(|(place, newest)| place >= *newest)
    }
}

/// What an entry does to a symbol.
#[derive(Debug, Default)]
struct Touched {
    /// Its last trade.
    number: u64,
    sequence: Sequence,
    is_late: bool,
}

impl Slot {
    /// Makes the events of how a symbol stands now, where anybody watches.
    fn tell(&self, number: u64, after: &After) {
        let mut held = self.lock();
        let held = &mut *held;
        let is_watched = held.is_watched();
        let Some((_, state)) = &mut held.known else { return };
        if is_watched {
            if let Some(latest) = state.latest {
                let (symbol, stands) = (self.symbol.clone(), Box::new((latest, state.day)));
                let payload = Payload::Price { symbol, stands };
                let order = Order { number, rank: PRICE_RANK };
                held.price = Some(Arc::new(Event::new(order, after.clone(), payload)));
            }
            held.candles.resize_with(state.candles.len(), || None);
            for ((rank, candles), told) in
                (CANDLE_RANK..).zip(&mut state.candles).zip(&mut held.candles)
            {
                let mut newest = None;
                candles.take_changes(|start, candle| newest = Some((start, Box::new(*candle))));
                let Some((start, candle)) = newest else { continue };
                let (symbol, interval) = (self.symbol.clone(), candles.spec().interval);
                let payload = Payload::Candle { symbol, interval, start, candle };
                let order = Order { number, rank };
                *told = Some(Arc::new(Event::new(order, after.clone(), payload)));
            }
        }
        for candles in &mut state.candles {
            candles.take_changes(|_, _| {});
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
}
