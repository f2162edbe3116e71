//! What one client is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use market::Symbol;
use tokio_util::sync::CancellationToken;

use crate::live::board::{Base, Board, TooMany};
use crate::live::event::{Event, Kinds, Order};
use crate::live::said::Said;
use crate::live::slot::{Slot, Watcher};

/// Events that a client may be behind. Past it, it is too slow: to look for them costs more than
/// to come back.
const MOST_BEHIND: usize = 8_192;

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The gateway stops: another one goes on.
    Stopping,
    /// It took too long to read what cannot be left out.
    TooSlow,
    /// What it was told of is no more: another log is followed.
    AnotherLog,
    /// What it has missed cannot be read now.
    Away,
    /// It comes from a gateway that is ahead of this one.
    Behind,
    /// Too many symbols are followed that nobody trades.
    TooMany,
}

impl End {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Stopping => "the gateway stops: come back, and another one goes on",
            Self::TooSlow => "the client reads too slowly: come back with the last id",
            Self::AnotherLog => "what was followed was begun anew: come back",
            Self::Away => "what was missed cannot be read now: come back with the last id",
            Self::Behind => "this gateway is behind: come back with the last id",
            Self::TooMany => "too many symbols are followed that nobody trades: come back later",
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
    /// Also where it begins: whatever comes after that is kept for it.
    pub(crate) fn new(
        board: &Arc<Board>,
        symbols: &[Symbol],
        kinds: Kinds,
        stopping: CancellationToken,
    ) -> Result<(Self, Base), TooMany> {
        let mut this = Self {
            board: Arc::clone(board),
            stopping,
            kinds,
            slots: Vec::with_capacity(symbols.len()),
            watcher: Arc::new(Watcher::new(kinds)),
            at: Order::default(),
            life: 0,
        };
        let base = {
            let _turn = board.turn();
            this.join(symbols)?
        };
        Ok((this, base))
    }

    /// Watches all of these, or none, in turn.
    fn join(&mut self, symbols: &[Symbol]) -> Result<Base, TooMany> {
        let before = self.slots.len();
        if before == 0 {
            self.life = self.board.life();
        }
        for symbol in symbols {
            match self.board.watch(symbol, &self.watcher) {
                Ok(slot) => self.slots.push(slot),
                Err(error) => {
                    for slot in self.slots.drain(before..) {
                        self.board.forget_watcher(&slot, &self.watcher);
                    }
                    return Err(error);
                }
            }
        }
        let base = self.board.base();
        self.at = Order { number: base.number, rank: u8::MAX };
        Ok(base)
    }

    /// Follows more symbols. Returns what came before that of the others, where the new ones begin,
    /// and how many are new.
    pub(crate) fn add(
        &mut self,
        symbols: &[Symbol],
        events: &mut Vec<Arc<Event>>,
    ) -> Result<(Base, usize), End> {
        let known: HashSet<&str> = self.slots.iter().map(|slot| slot.symbol.as_str()).collect();
        let new: Vec<Symbol> =
            symbols.iter().filter(|symbol| !known.contains(symbol.as_str())).cloned().collect();
        let board = Arc::clone(&self.board);
        let _turn = board.turn();
        if !self.slots.is_empty() {
            self.take(events)?;
        }
        let base = self.join(&new).map_err(|TooMany| End::TooMany)?;
        Ok((base, new.len()))
    }

    pub(crate) fn remove(&mut self, symbols: &[Symbol]) {
        let unwanted: HashSet<&str> = symbols.iter().map(Symbol::as_str).collect();
        let Self { slots, watcher, board, .. } = self;
        let _turn = board.turn();
        slots.retain(|slot| {
            let is_wanted = !unwanted.contains(slot.symbol.as_str());
            if !is_wanted {
                board.forget_watcher(slot, watcher);
            }
            is_wanted
        });
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
        match self.take(events) {
            Ok(()) if events.is_empty() => Poll::Pending,
            taken => Poll::Ready(taken),
        }
    }

    /// What there is by now.
    fn take(&mut self, events: &mut Vec<Arc<Event>>) -> Result<(), End> {
        if self.stopping.is_cancelled() {
            return Err(End::Stopping);
        }
        // Who follows nothing yet is at home in any log.
        if !self.slots.is_empty() && self.board.life() != self.life {
            return Err(End::AnotherLog);
        }
        let until = self.board.published();
        for slot in self.slots.iter().filter(|slot| slot.is_newer(self.at)) {
            let found = slot.lock().events(self.kinds, self.at, until, events);
            if found.is_err() || events.len() > MOST_BEHIND {
                return Err(End::TooSlow);
            }
        }
        self.at = Order { number: until, rank: u8::MAX }.max(self.at);
        events.sort_by_key(|event| event.order);
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _turn = self.board.turn();
        for slot in &self.slots {
            self.board.forget_watcher(slot, &self.watcher);
        }
    }
}
