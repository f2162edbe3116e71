//! One client that says once what it wants, and then is told.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use market::Symbol;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::live::board::TooMany;
use crate::live::catch_up::{CatchUp, standing};
use crate::live::cursor::Cursor;
use crate::live::event::{Event, Kinds};
use crate::live::said::Said;
use crate::live::subscription::{End, Subscription};
use crate::live::{Counted, Live};

/// A client that is told nothing for so long is told that.
const QUIET: Duration = Duration::from_secs(15);
/// Events that are given at once.
const AT_ONCE: usize = 256;

pub(crate) struct Following {
    live: Arc<Live>,
    stage: Stage,
    /// Taken, of which so many were given.
    events: Vec<Arc<Event>>,
    given: usize,
    quiet: Pin<Box<Sleep>>,
    told_at: Instant,
    _counted: Counted,
    _places: OwnedSemaphorePermit,
}

enum Stage {
    /// There is nothing to join yet.
    Waits {
        wish: Wish,
        has_begun: watch::Receiver<bool>,
    },
    First(Vec<Said>, Subscription),
    CatchesUp(Box<CatchUp>, Subscription),
    Follows(Subscription),
    Ended,
}

#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) kinds: Kinds,
    /// From there on, or from how everything stands.
    pub(crate) from: Option<Cursor>,
}

/// What comes next.
pub(crate) enum Part<'a> {
    /// For this client alone.
    Said(Vec<Said>),
    /// For everybody.
    Events(&'a [Arc<Event>]),
    /// Nothing has happened for a while.
    Quiet,
    /// Nothing more comes.
    End(End),
}

impl Following {
    pub(crate) fn new(live: &Arc<Live>, wish: Wish) -> Result<Self, TooMany> {
        let places = live.follow(wish.symbols.len())?;
        let has_begun = live.board.has_begun();
        let is_simple = *has_begun.borrow() && wish.from.is_none();
        let stage = if is_simple { join(live, wish)? } else { Stage::Waits { wish, has_begun } };
        Ok(Self {
            live: Arc::clone(live),
            stage,
            events: Vec::new(),
            given: 0,
            quiet: Box::pin(sleep(QUIET)),
            told_at: Instant::now(),
            _counted: Counted::new(&live.streams),
            _places: places,
        })
    }

    /// `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Part<'_>> {
        if self.given < self.events.len() {
            return Some(self.give());
        }
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Ended => return None,
                Stage::Waits { wish, mut has_begun } => {
                    let begun = timeout(QUIET, has_begun.wait_for(|begun| *begun));
                    let waited = self.live.stopping.run_until_cancelled(begun).await;
                    match waited.map(|waited| waited.is_ok()) {
                        None => return Some(Part::End(End::Stopping)),
                        Some(false) => {
                            self.stage = Stage::Waits { wish, has_begun };
                            return Some(Part::Quiet);
                        }
                        Some(true) => {}
                    }
                    if let Some(from) = &wish.from
                        && !self.live.reached(from).await
                    {
                        return Some(Part::End(End::Behind));
                    }
                    match join(&self.live, wish) {
                        Ok(stage) => self.stage = stage,
                        Err(TooMany) => return Some(Part::End(End::TooMany)),
                    }
                }
                Stage::First(said, subscription) => {
                    self.stage = Stage::Follows(subscription);
                    return Some(Part::Said(said));
                }
                Stage::CatchesUp(..) if self.live.stopping.is_cancelled() => {
                    return Some(Part::End(End::Stopping));
                }
                Stage::CatchesUp(mut catch_up, subscription) => match catch_up.next().await {
                    Ok(None) => self.stage = Stage::Follows(subscription),
                    Ok(Some(said)) => {
                        self.stage = Stage::CatchesUp(catch_up, subscription);
                        if !said.is_empty() {
                            return Some(Part::Said(said));
                        }
                    }
                    Err(_) => return Some(Part::End(End::Away)),
                },
                Stage::Follows(subscription) => {
                    return self.follow(subscription).await;
                }
            }
        }
    }

    async fn follow(&mut self, mut subscription: Subscription) -> Option<Part<'_>> {
        self.events.clear();
        self.given = 0;
        loop {
            let events = &mut self.events;
            let polled = poll_fn(|context| subscription.poll_events(context, events));
            tokio::select! {
                biased;
                polled = polled => match polled {
                    Ok(()) => break,
                    Err(end) => return Some(Part::End(end)),
                },
                () = &mut self.quiet => {
                    // Set anew only here: something is told far more often than it runs out.
                    let since = self.told_at.elapsed();
                    let left = QUIET.saturating_sub(since);
                    let is_quiet = left.is_zero();
                    let next = if is_quiet { QUIET } else { left };
                    self.quiet.as_mut().reset(Instant::now() + next);
                    if is_quiet {
                        self.told_at = Instant::now();
                        self.stage = Stage::Follows(subscription);
                        return Some(Part::Quiet);
                    }
                }
            }
        }
        self.stage = Stage::Follows(subscription);
        self.live.told.count(&self.events);
        self.told_at = Instant::now();
        Some(self.give())
    }

    fn give(&mut self) -> Part<'_> {
        let from = self.given;
        self.given = (from + AT_ONCE).min(self.events.len());
        Part::Events(&self.events[from..self.given])
    }
}

fn join(live: &Live, wish: Wish) -> Result<Stage, TooMany> {
    let Wish { symbols, kinds, from } = wish;
    let (subscription, base) =
        Subscription::new(&live.board, &symbols, kinds, live.stopping.clone())?;
    Ok(match from {
        Some(from) => {
            let wanted = (kinds, subscription.slots());
            let catch_up = CatchUp::new(live.source(), wanted, (from, base));
            Stage::CatchesUp(Box::new(catch_up), subscription)
        }
        None => {
            let payloads = subscription.slots().iter().flat_map(|slot| slot.snapshot(kinds));
            Stage::First(standing(payloads, &base.cursor), subscription)
        }
    })
}
