//! One client that says once what it wants, and then is told.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use market::Symbol;
use tokio::time::timeout;

use crate::live::board::TooMany;
use crate::live::catch_up::{CatchUp, standing};
use crate::live::cursor::Cursor;
use crate::live::event::{Event, Kinds};
use crate::live::said::Said;
use crate::live::subscription::{End, Subscription};
use crate::live::{Counted, Live, Told};

/// A client that is told nothing for so long is told that.
const QUIET: Duration = Duration::from_secs(15);

pub(crate) struct Following {
    first: Option<Vec<Said>>,
    catch_up: Option<CatchUp>,
    /// `None` once it has ended.
    subscription: Option<Subscription>,
    events: Vec<Arc<Event>>,
    told: Told,
    _counted: Counted,
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
    /// From there on, or from how everything stands.
    pub(crate) fn new(
        live: &Live,
        symbols: &[Symbol],
        kinds: Kinds,
        from: Option<Cursor>,
    ) -> Result<Self, TooMany> {
        let (subscription, base) =
            Subscription::new(&live.board, symbols, kinds, live.stopping.clone())?;
        let (mut first, mut catch_up) = (None, None);
        match from {
            Some(from) => {
                let (reader, topic, board) =
                    (live.reader.clone(), live.topic.clone(), Arc::clone(&live.board));
                let wanted = (kinds, subscription.slots());
                catch_up = Some(CatchUp::new(reader, topic, board, wanted, (from, base)));
            }
            None => {
                let payloads = subscription.slots().iter().flat_map(|slot| slot.snapshot(kinds));
                first = Some(standing(payloads, &base.cursor));
            }
        }
        Ok(Self {
            first,
            catch_up,
            subscription: Some(subscription),
            events: Vec::new(),
            told: live.told.clone(),
            _counted: Counted::new(&live.streams),
        })
    }

    /// `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Part<'_>> {
        if let Some(first) = self.first.take() {
            return Some(Part::Said(first));
        }
        while let Some(catch_up) = &mut self.catch_up {
            match catch_up.next().await {
                Some(said) if said.is_empty() => {}
                Some(said) => return Some(Part::Said(said)),
                None => self.catch_up = None,
            }
        }
        let subscription = self.subscription.as_mut()?;
        self.events.clear();
        let events = &mut self.events;
        let polled = poll_fn(|context| subscription.poll_events(context, events));
        match timeout(QUIET, polled).await {
            Err(_) => Some(Part::Quiet),
            Ok(Ok(())) => {
                self.told.count(&self.events);
                Some(Part::Events(&self.events))
            }
            Ok(Err(end)) => {
                self.subscription = None;
                Some(Part::End(end))
            }
        }
    }
}
