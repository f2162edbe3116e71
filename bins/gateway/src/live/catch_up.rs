//! What a client missed while it was away, read back from the streams.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use market::Symbol;
use speed::{ReadError, Reader};
use tokio::sync::Semaphore;

use crate::live::board::{Base, Board};
use crate::live::cursor::{Cursor, Given};
use crate::live::event::{After, Event, Kind, Kinds, Order, Payload, TICK_RANK};
use crate::live::said::Said;
use crate::live::slot::Slot;

/// Entries of a stream that are read at once.
const ENTRIES: usize = 4;
/// Clients that read at once. Full means that the others wait.
pub(crate) const AT_ONCE: usize = 8;

/// Reads back, partition by partition, then the firings, then how everything stands.
#[derive(Debug)]
pub(crate) struct CatchUp {
    reader: Reader,
    topic: String,
    board: Arc<Board>,
    places: Arc<Semaphore>,
    kinds: Kinds,
    slots: Vec<Arc<Slot>>,
    /// Where the client was, and where it is by now.
    began: Cursor,
    from: Cursor,
    /// Where the live events begin.
    base: Base,
    /// Partitions that are yet to be read back.
    left: BTreeMap<usize, HashSet<Symbol>>,
    is_done: bool,
}

/// What is read back, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) reader: Reader,
    pub(crate) topic: String,
    pub(crate) board: Arc<Board>,
    pub(crate) places: Arc<Semaphore>,
}

impl CatchUp {
    /// Nothing is read back for a client that was told of another log: it is told so, and begins
    /// with how everything stands.
    pub(crate) fn new(
        source: Source,
        (kinds, slots): (Kinds, &[Arc<Slot>]),
        (from, base): (Cursor, Base),
    ) -> Self {
        let mut left: BTreeMap<usize, HashSet<Symbol>> = BTreeMap::new();
        if kinds.has(Kind::Tick) {
            for slot in slots {
                if let Some((partition, _)) = slot.lock().known {
                    left.entry(partition).or_default().insert(slot.symbol.clone());
                }
            }
        }
        let slots = slots.to_vec();
        let began = from.clone();
        let Source { reader, topic, board, places } = source;
        Self { reader, topic, board, places, kinds, slots, began, from, base, left, is_done: false }
    }

    /// The next events; `None` once the client has all. An error costs nothing but time: the client
    /// comes back with the last id that it was given.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Said>>, ReadError> {
        if self.is_done {
            return Ok(None);
        }
        if self.from.log != self.base.cursor.log
            || self.from.places.len() != self.base.cursor.places.len()
        {
            self.is_done = true;
            let mut said = vec![Said::Gap("another log is followed now")];
            said.extend(self.standing(None));
            return Ok(Some(said));
        }
        while let Some((partition, symbols)) = self.left.pop_first() {
            if let Some(part) = self.read(partition, &symbols).await? {
                self.left.insert(partition, symbols);
                return Ok(Some(part));
            }
        }
        self.is_done = true;
        let mut said = Vec::new();
        if self.kinds.has(Kind::Firing) {
            said.extend(self.firings());
        }
        said.extend(self.standing(Some(&self.began)));
        Ok(Some(said))
    }

    /// The next trades of a partition, and moves the client there. `None` where there are no more
    /// before the live ones.
    async fn read(
        &mut self,
        partition: usize,
        symbols: &HashSet<Symbol>,
    ) -> Result<Option<Vec<Said>>, ReadError> {
        const GONE: Said = Said::Gap("trades from before are no longer kept");
        let place = |cursor: &Cursor| cursor.places[partition];
        let end = place(&self.base.cursor).map(|given| given.sequence);
        let from = place(&self.from);
        let after = from.map(|given| given.sequence);
        if after >= end {
            return Ok(None);
        }
        // The semaphore is never closed.
        let _place = Arc::clone(&self.places).acquire_owned().await;
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let entries = self.reader.range(&self.topic, number, after, ENTRIES).await?;
        let Some(first) = entries.first() else {
            self.from.places[partition] = end.map(Given::all);
            return Ok(Some(vec![GONE]));
        };
        let mut said = Vec::new();
        if first.after > after {
            said.push(GONE);
        }
        for entry in &entries {
            let names: Vec<Symbol> =
                entry.batch.symbols().filter_map(|name| Symbol::new(name).ok()).collect();
            let base = Arc::new(self.from.clone());
            for packed in entry.batch.trades() {
                let given = Given { sequence: packed.sequence, rank: TICK_RANK };
                if from.is_some_and(|from| given <= from) || Some(packed.sequence) > end {
                    continue;
                }
                let Some(symbol) = names.get(packed.symbol) else { continue };
                if symbols.contains(symbol) {
                    let trade = Some((partition, packed.sequence));
                    let after = After { base: Arc::clone(&base), trade };
                    let (symbol, trade) = (symbol.clone(), packed.trade);
                    let order = Order { number: 0, rank: TICK_RANK };
                    let event = Event::new(order, after, Payload::Tick { symbol, trade });
                    let id = event.id();
                    said.push(Said::Event(Arc::new(event), id));
                }
            }
            self.from.places[partition] = Some(Given::all(entry.last())).min(end.map(Given::all));
        }
        Ok(Some(said))
    }

    fn firings(&self) -> Vec<Said> {
        const GONE: Said = Said::Gap("firings from before are no longer kept: ask for them");
        let here = self.base.cursor.firing;
        if here.is_none() || self.from.firing == here {
            return Vec::new();
        }
        let after = self.from.firing;
        let firings = after.and_then(|after| self.board.firings_after(after, self.base.number));
        let Some(firings) = firings else { return vec![GONE] };
        let symbols: HashSet<&str> = self.slots.iter().map(|slot| slot.symbol.as_str()).collect();
        let is_wanted = |event: &&Arc<Event>| match &event.payload {
            Payload::Firing(firing) => symbols.contains(&*firing.symbol),
            _ => false,
        };
        let tell = |event: &Arc<Event>| {
            // With the places that this client has by now.
            let mut base = self.from.clone();
            base.firing = event.firing_place();
            let mut id = String::new();
            base.write(None, &mut id);
            Said::Event(Arc::clone(event), id)
        };
        firings.iter().filter(is_wanted).map(tell).collect()
    }

    /// How the symbols stand that have changed since then, or all of them; then the client has
    /// everything.
    fn standing(&self, since: Option<&Cursor>) -> Vec<Said> {
        let is_new = |slot: &&Arc<Slot>| {
            let held = slot.lock();
            let Some((partition, state)) = &held.known else { return false };
            let given = since.and_then(|since| since.places.get(*partition).copied().flatten());
            state.as_of.map(Given::all) > given
        };
        let new = self.slots.iter().filter(is_new);
        standing(new.flat_map(|slot| slot.snapshot(self.kinds)), &self.base.cursor)
    }
}

/// How symbols stand, and then an event from whose id on a client can go on.
pub(crate) fn standing(payloads: impl Iterator<Item = Payload>, cursor: &Cursor) -> Vec<Said> {
    let states = payloads.map(|payload| Said::State(Arc::new(payload)));
    let mut said: Vec<Said> = states.collect();
    let mut id = String::new();
    cursor.write(None, &mut id);
    said.push(Said::Ready(id));
    said
}
