//! Every symbol as the tail has it, and what is told of it: the gateway's view.
//!
//! ```text
//!  entries of the streams ─┐                    ┌─▶ slots ─▶ prices (REST, gRPC)
//!  firings ────────────────┴─▶ Board, in order ─┴─▶ events ─▶ subscriptions (SSE, WebSocket, gRPC)
//! ```
//! Only one task writes, so that events have one order. What it writes is not seen before it is
//! published: a client that has been given an event has been given every earlier one that it wants.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use market::{CandleSpec, Sequence, StateSpec, Symbol, SymbolState};
use rpc::alert::v1::Firing;
use speed::{Ends, Snapshot, StreamEntry};
use tokio::sync::watch;

use crate::live::cursor::{Cursor, FiringPlace, Given, tag};
use crate::live::event::{After, Event, Kind, Kinds, Order, Payload, TICK_RANK};
use crate::live::slot::{Held, Slot, Watcher};

/// Firings that are kept, of all symbols together: for clients that come back, and for those that
/// are a little behind. After a burst of more than these a client that had not read of its own symbol
/// yet is told that it was too slow, and comes back.
const FIRINGS_KEPT: usize = 10_000;
/// Firings that are told again to a client that comes from another gateway, which may have heard of
/// them in another order.
const FIRINGS_AGAIN: usize = 256;

/// Symbols that nobody trades but somebody asks for, at most.
const MOST_UNKNOWN: usize = 100_000;

/// Ticks that are kept for clients that are a little behind: of all symbols together, and of each
/// at most and at least.
const TICKS_KEPT: usize = 500_000;
const TICKS_OF_SYMBOL: std::ops::RangeInclusive<usize> = 32..=512;

#[derive(Debug)]
pub(crate) struct Board {
    spec: StateSpec,
    /// Held by whoever writes, and by whoever joins or leaves: so nobody joins in the middle.
    turn: Mutex<()>,
    slots: RwLock<HashMap<Symbol, Arc<Slot>>>,
    /// Those of them that have not traded.
    unknown: AtomicUsize,
    /// Those of whose ticks somebody wants to be told.
    ticking: AtomicUsize,
    published: AtomicU64,
    /// Raised when what was told is no longer true: another log is followed.
    life: AtomicU64,
    is_current: AtomicBool,
    has_begun: watch::Sender<bool>,
    base: Mutex<Base>,
    teller: u32,
    firings: Mutex<Firings>,
    /// The symbols that have traded, in their order; `None` where that is to be found out anew.
    names: Mutex<Option<Arc<[Symbol]>>>,
}

/// As of what the board is.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// Of the last event.
    pub(crate) number: u64,
    pub(crate) cursor: Arc<Cursor>,
}

/// Firings in the order in which they came here.
#[derive(Debug, Default)]
struct Firings {
    kept: VecDeque<Arc<Event>>,
    /// There is none from before these.
    is_whole: bool,
}

/// A partition's trades have another place than what was read before: some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missed;

pub(crate) const TOO_MANY_SYMBOLS: &str = "too many symbols are followed";

/// Too many symbols are followed, or too many that nobody trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Board {
    pub(crate) fn new(candles: Vec<CandleSpec>, teller: u32) -> Self {
        let cursor = Cursor { log: "".into(), places: Box::default(), firing: None };
        Self {
            spec: StateSpec { candles, recent: 0 },
            turn: Mutex::default(),
            slots: RwLock::default(),
            unknown: AtomicUsize::new(0),
            ticking: AtomicUsize::new(0),
            published: AtomicU64::new(0),
            life: AtomicU64::new(0),
            is_current: AtomicBool::new(false),
            has_begun: watch::Sender::new(false),
            base: Mutex::new(Base { number: 0, cursor: Arc::new(cursor) }),
            teller,
            firings: Mutex::default(),
            names: Mutex::default(),
        }
    }

    pub(crate) fn spec(&self) -> &StateSpec {
        &self.spec
    }

    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether it has ever had what the streams had: before, there is nothing to join.
    pub(crate) fn has_begun(&self) -> watch::Receiver<bool> {
        self.has_begun.subscribe()
    }

    pub(crate) fn find(&self, symbol: &str) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(symbol).cloned()
    }

    /// Watches a symbol that may yet have to trade. To be called in turn.
    pub(crate) fn watch(
        &self,
        symbol: &Symbol,
        watcher: &Arc<Watcher>,
    ) -> Result<Arc<Slot>, TooMany> {
        let slot = match self.find(symbol.as_str()) {
            Some(slot) => slot,
            None if self.unknown.load(Ordering::Relaxed) >= MOST_UNKNOWN => return Err(TooMany),
            None => self.make(symbol.clone()),
        };
        if slot.watch(watcher) {
            self.ticking.fetch_add(1, Ordering::Relaxed);
        }
        Ok(slot)
    }

    /// Watches no more: where a symbol never traded and nobody watches, it is forgotten. To be
    /// called in turn.
    pub(crate) fn forget_watcher(&self, slot: &Arc<Slot>, watcher: &Arc<Watcher>) {
        if slot.forget(watcher) {
            self.ticking.fetch_sub(1, Ordering::Relaxed);
        }
        let is_needed = {
            let held = slot.lock();
            held.known.is_some() || held.is_watched()
        };
        let is_here =
            || self.find(slot.symbol.as_str()).is_some_and(|here| Arc::ptr_eq(&here, slot));
        if !is_needed && is_here() {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            slots.remove(&slot.symbol);
            self.unknown.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The slot of a symbol that is not here yet, nearly always.
    fn make(&self, symbol: Symbol) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(symbol).or_insert_with_key(|symbol| {
            self.unknown.fetch_add(1, Ordering::Relaxed);
            Arc::new(Slot::new(symbol.clone()))
        });
        Arc::clone(slot)
    }

    /// The names of all symbols that have traded, in their order.
    pub(crate) fn symbols(&self) -> Arc<[Symbol]> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let find = || {
            let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
            let known = slots.values().filter(|slot| slot.lock().known.is_some());
            let mut symbols: Vec<Symbol> = known.map(|slot| slot.symbol.clone()).collect();
            symbols.sort_unstable();
            symbols.into()
        };
        Arc::clone(names.get_or_insert_with(find))
    }

    /// Begins with what Redis holds. Whoever was told of another log, or would miss what came in
    /// between, is let go: it comes back, and what it missed is read back for it.
    pub(crate) fn begin(&self, ends: &Ends, states: Vec<Snapshot>) {
        let _turn = self.turn();
        let places = ends.newest.iter().map(|newest| newest.map(Given::all)).collect();
        let log = tag(ends.log.as_str());
        let changed = {
            let mut base = self.lock_base();
            let cursor = Cursor { log, places, firing: base.cursor.firing };
            let changed = *base.cursor != cursor;
            base.cursor = Arc::new(cursor);
            changed
        };
        if changed {
            self.forget();
        }
        for Snapshot { symbol, position, state } in states {
            if position.log == ends.log {
                let slot = self.make(symbol);
                self.know(&mut slot.lock(), position.partition as usize, state);
            }
        }
        self.has_begun.send_replace(true);
    }

    fn know(&self, held: &mut Held, partition: usize, state: SymbolState) {
        if held.known.is_none() {
            self.unknown.fetch_sub(1, Ordering::Relaxed);
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        held.known = Some((partition, state));
    }

    /// Forgets all symbols, and lets everybody go. In turn: who joins next finds the new ones.
    fn forget(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        let gone = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *slots)
        };
        self.unknown.store(0, Ordering::Relaxed);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for slot in gone.values() {
            slot.lock().wake(Kinds::of(&Kind::ALL));
        }
    }

    /// Wakes everybody: there is something to be told that is no event.
    pub(crate) fn wake_all(&self) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().for_each(|slot| slot.lock().wake(Kinds::of(&Kind::ALL)));
    }

    /// Counts an entry. Returns the symbols whose states are to be read anew, since a trade was too
    /// late to be counted with what is here.
    pub(crate) fn apply(&self, entry: &StreamEntry) -> Result<Vec<Arc<Slot>>, Missed> {
        let _turn = self.turn();
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
        let published = self.published();
        let ticking = self.ticking.load(Ordering::Relaxed).max(1);
        let (least, most) = TICKS_OF_SYMBOL.into_inner();
        let kept = (TICKS_KEPT / ticking).clamp(least, most);
        let mut touched: Vec<Option<Touched>> = slots.iter().map(|_| None).collect();
        for packed in entry.batch.trades().filter(|packed| Some(packed.sequence) > place) {
            number += 1;
            let (slot, sequence) = (&slots[packed.symbol], packed.sequence);
            let mut held = slot.lock();
            let held = &mut *held;
            if held.known.is_none() {
                self.know(held, partition, SymbolState::new(&self.spec));
            }
            let Some((_, state)) = &mut held.known else { continue };
            let touched = touched[packed.symbol].get_or_insert_with(Touched::default);
            (touched.number, touched.sequence) = (number, sequence);
            if state.reaches(packed.trade.timestamp) {
                state.apply(&packed.trade, sequence);
            } else {
                touched.is_late = true;
            }
            if held.wants(Kind::Tick) {
                let after = After { base: Arc::clone(&cursor), trade: Some((partition, sequence)) };
                let order = Order { number, rank: TICK_RANK };
                let (symbol, trade) = (slot.symbol.clone(), packed.trade);
                let event = Event::new(order, after, Payload::Tick { symbol, trade });
                held.push_tick(event, kept, published);
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

    /// Takes a state that was read anew. Returns whether it was as new as the one here.
    pub(crate) fn renew(&self, slot: &Slot, snapshot: Snapshot) -> bool {
        let _turn = self.turn();
        let mut held = slot.lock();
        let is_log = *self.lock_base().cursor.log == *tag(snapshot.position.log.as_str());
        let as_of = held.known.as_ref().and_then(|(_, state)| state.as_of);
        let is_new = is_log && snapshot.state.as_of >= as_of;
        if is_new {
            let partition = snapshot.position.partition as usize;
            self.know(&mut held, partition, snapshot.state);
        }
        is_new
    }

    /// Keeps firings from before, oldest first, for clients that come back; `is_all`: there are no
    /// others.
    pub(crate) fn remember(&self, before: Vec<Firing>, is_all: bool) {
        let _turn = self.turn();
        let cursor = self.base().cursor;
        let last = before.last().map_or(0, |firing| firing.id);
        let place = |id| Some(FiringPlace { id, teller: self.teller });
        let mut firings = self.firings.lock().unwrap_or_else(PoisonError::into_inner);
        firings.is_whole = is_all;
        firings.kept = before
            .into_iter()
            .map(|firing| {
                let base = Cursor { firing: place(firing.id), ..Cursor::clone(&cursor) };
                let after = After { base: Arc::new(base), trade: None };
                let payload = Payload::Firing(Box::new(firing));
                Arc::new(Event::new(Order::default(), after, payload))
            })
            .collect();
        Arc::make_mut(&mut self.lock_base().cursor).firing = place(last);
    }

    /// Tells of a firing.
    pub(crate) fn fire(&self, firing: Firing) {
        let Ok(symbol) = Symbol::new(&firing.symbol) else { return };
        let _turn = self.turn();
        let Base { number, cursor, .. } = self.base();
        let number = number + 1;
        let place = Some(FiringPlace { id: firing.id, teller: self.teller });
        let base = Cursor { firing: place, ..Cursor::clone(&cursor) };
        let after = After { base: Arc::new(base), trade: None };
        let order = Order { number, rank: 0 };
        let event = Arc::new(Event::new(order, after, Payload::Firing(Box::new(firing))));
        if let Some(oldest) = self.keep(&event)
            && let Payload::Firing(firing) = &oldest.payload
            && let Some(slot) = self.find(&firing.symbol)
        {
            slot.lock().let_go(oldest.order.number);
        }
        let slot = self.find(symbol.as_str());
        if let Some(slot) = &slot {
            let mut held = slot.lock();
            if held.wants(Kind::Firing) {
                held.push_firing(event);
            }
            slot.changed(number);
        }
        self.publish(number, |cursor| cursor.firing = place);
        if let Some(slot) = slot {
            slot.lock().wake(Kinds::of(&[Kind::Firing]));
        }
    }

    /// Keeps a firing for clients that come back. Returns the one that is no longer kept for it.
    fn keep(&self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let mut firings = self.firings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = firings.kept.len() >= FIRINGS_KEPT;
        let oldest = if is_full { firings.kept.pop_front() } else { None };
        firings.is_whole &= !is_full;
        firings.kept.push_back(Arc::clone(event));
        oldest
    }

    /// The firings after one, oldest first, up to those of a base; `None` where that one is no
    /// longer kept. After another gateway's some from before it, too.
    pub(crate) fn firings_after(&self, from: FiringPlace, until: u64) -> Option<Vec<Arc<Event>>> {
        let firings = self.firings.lock().unwrap_or_else(PoisonError::into_inner);
        let id_of = |event: &Arc<Event>| match &event.payload {
            Payload::Firing(firing) => firing.id,
            _ => 0,
        };
        let after = match firings.kept.iter().rposition(|event| id_of(event) == from.id) {
            Some(at) if from.teller == self.teller => at + 1,
            Some(at) => at.saturating_sub(FIRINGS_AGAIN),
            None if from.id == 0 && firings.is_whole => 0,
            None => return None,
        };
        let after = firings.kept.range(after..);
        let is_wanted =
            |event: &&Arc<Event>| event.order.number <= until && id_of(event) != from.id;
        Some(after.filter(is_wanted).cloned().collect())
    }

    fn publish(&self, number: u64, change: impl FnOnce(&mut Cursor)) {
        let mut base = self.lock_base();
        base.number = number;
        change(Arc::make_mut(&mut base.cursor));
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

    /// Whether a client that was told so much comes from ahead of here.
    pub(crate) fn is_behind(&self, from: &Cursor) -> bool {
        let here = self.base().cursor;
        let given = from.places.iter().zip(&here.places);
        here.log == from.log
            && here.places.len() == from.places.len()
            && given.map(|(from, here)| (sequence(*from), sequence(*here))).any(|(f, h)| f > h)
    }
}

fn sequence(given: Option<Given>) -> Option<Sequence> {
    given.map(|given| given.sequence)
}

/// What an entry does to a symbol.
#[derive(Debug, Default)]
struct Touched {
    /// Its last trade.
    number: u64,
    sequence: Sequence,
    is_late: bool,
}

#[cfg(test)]
mod tests;
