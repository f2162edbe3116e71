//! What one client is told.

use std::sync::Arc;
use std::task::{Context, Poll};

use market::Symbol;
use tokio_util::sync::CancellationToken;

use crate::live::board::{Base, Board, TooMany};
use crate::live::event::{Event, Kinds, Order};
use crate::live::said::Said;
use crate::live::slot::{Slot, Watcher};

/// Events that are taken at once at most: what is left is taken when these have been sent.
const AT_ONCE: usize = 256;

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The gateway stops: another one goes on.
    Stopping,
    /// It took too long to read what cannot be left out.
    TooSlow,
    /// What it was told of is no more: another log is followed.
    AnotherLog,
}

impl End {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Stopping => "the gateway stops: come back, and another one goes on",
            Self::TooSlow => "the client reads too slowly: come back with the last id",
            Self::AnotherLog => "what was followed was begun anew: come back",
        }
    }

    pub(crate) fn said(self) -> Said {
        Said::Bye(self.why())
    }
}

/// Symbols, kinds, and how far a client is. Holds nothing of what is yet to be sent: a client that
/// does not read costs nothing, and finds the newest states when it does.
#[derive(Debug)]
pub(crate) struct Subscription {
    board: Arc<Board>,
    stopping: CancellationToken,
    kinds: Kinds,
    slots: Vec<Arc<Slot>>,
    watcher: Arc<Watcher>,
    at: Order,
    life: u64,
}

impl Subscription {
    /// Also where it begins.
    pub(crate) fn new(
        board: &Arc<Board>,
        symbols: &[Symbol],
        kinds: Kinds,
        stopping: CancellationToken,
    ) -> Result<(Self, Base), TooMany> {
        let watcher = Arc::new(Watcher::new(kinds));
        let mut this = Self {
            board: Arc::clone(board),
            stopping,
            kinds,
            slots: Vec::with_capacity(symbols.len()),
            watcher,
            at: Order::default(),
            // Before the slots are looked up: they may be let go of meanwhile.
            life: board.life(),
        };
        for symbol in symbols {
            this.watch(symbol)?;
        }
        let base = this.begin_at_base();
        Ok((this, base))
    }

    fn watch(&mut self, symbol: &Symbol) -> Result<(), TooMany> {
        let slot = self.board.find_or_make(symbol)?;
        slot.watch(&self.watcher);
        self.slots.push(slot);
        Ok(())
    }

    /// Goes on from here: whatever comes after this is kept for it.
    pub(crate) fn begin_at_base(&mut self) -> Base {
        let base = self.board.base();
        self.at = Order { number: base.number, rank: u8::MAX };
        base
    }

    /// Follows more symbols. Returns how many are new; `None` where those are too many.
    pub(crate) fn add(&mut self, symbols: &[Symbol], most: usize) -> Option<usize> {
        let before = self.slots.len();
        for symbol in symbols {
            let is_known = self.slots.iter().any(|slot| slot.symbol == *symbol);
            if !is_known && (self.slots.len() >= most || self.watch(symbol).is_err()) {
                return None;
            }
        }
        Some(self.slots.len() - before)
    }

    pub(crate) fn remove(&mut self, symbols: &[Symbol]) {
        let Self { slots, watcher, board, .. } = self;
        slots.retain(|slot| {
            let is_wanted = !symbols.contains(&slot.symbol);
            if !is_wanted && !slot.forget(watcher) {
                board.let_go(slot);
            }
            is_wanted
        });
    }

    /// The slots that were added last.
    pub(crate) fn last_slots(&self, count: usize) -> Vec<Arc<Slot>> {
        self.slots[self.slots.len() - count.min(self.slots.len())..].to_vec()
    }

    pub(crate) fn kinds(&self) -> Kinds {
        self.kinds
    }

    pub(crate) fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// Events in their order: of prices and candles the newest of each that has changed, of ticks
    /// and firings each.
    pub(crate) fn poll_events(
        &mut self,
        context: &mut Context<'_>,
        events: &mut Vec<Arc<Event>>,
    ) -> Poll<Result<(), End>> {
        self.watcher.register(context.waker());
        if self.stopping.is_cancelled() {
            return Poll::Ready(Err(End::Stopping));
        }
        if self.board.life() != self.life {
            return Poll::Ready(Err(End::AnotherLog));
        }
        let until = self.board.published();
        for slot in self.slots.iter().filter(|slot| slot.is_newer(self.at)) {
            let found = slot.lock().events(self.kinds, self.at, until, events);
            if found.is_err() {
                return Poll::Ready(Err(End::TooSlow));
            }
        }
        if events.is_empty() {
            self.at = Order { number: until, rank: u8::MAX }.max(self.at);
            return Poll::Pending;
        }
        events.sort_unstable_by_key(|event| event.order);
        if events.len() > AT_ONCE {
            events.truncate(AT_ONCE);
            self.at = events.last().map_or(self.at, |event| event.order);
            self.watcher.wake();
        } else {
            self.at = Order { number: until, rank: u8::MAX };
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for slot in &self.slots {
            if !slot.forget(&self.watcher) {
                self.board.let_go(slot);
            }
        }
    }
}
