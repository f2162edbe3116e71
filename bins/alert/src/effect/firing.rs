//! What was found on its way to PostgreSQL: a transaction at a time, while trades are evaluated.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use follow::{Places, fail_span, now};
use futures::FutureExt;
use futures::future::{MaybeDone, maybe_done};
use store::{NewFiring, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{AlertEffect, FIRINGS_A_STEP, Found};
use crate::trouble;

/// A transaction that stores firings. It ends by itself.
pub(super) struct UnderWay {
    /// When the trades of its firings were received.
    received: Vec<u64>,
    /// How far everything has had its effect once it has ended.
    pub(super) places: Places,
    /// Of the batch that began it.
    span: Span,
    pub(super) stored: MaybeDone<JoinHandle<Result<Stored, StoreError>>>,
}

/// What has become of a transaction's firings.
pub(super) struct Stored {
    pub(super) admitted: usize,
    pub(super) took: Duration,
    /// Unix nanoseconds.
    pub(super) at: u64,
}

impl AlertEffect {
    /// Begins to store the first of what was found, each once, unless a transaction is under way: so
    /// many that whoever waits need not wait long.
    pub(super) fn begin_to_fire(&mut self) {
        if self.firing.is_some() || self.found.is_empty() {
            return;
        }
        let step = self.found.len().min(FIRINGS_A_STEP);
        let received = self.found.iter().take(step).map(|found| found.firing.received_at).collect();
        let firings: Vec<NewFiring> = self.found.drain(..step).map(new_firing).collect();
        let all = self.found.is_empty();
        let places = if all { std::mem::take(&mut self.reached) } else { BTreeMap::new() };
        let (store, log, fired) = (self.store().clone(), self.log().clone(), self.fired.clone());
        let span = Span::current();
        let storing = async move {
            let began = Instant::now();
            let admitted = store.fire(&log, &firings).await?.len();
            fired.notify_one();
            Ok(Stored { admitted, took: began.elapsed(), at: now() })
        };
        let stored = maybe_done(tokio::spawn(storing.instrument(span.clone())));
        let places = places.into_iter().collect();
        self.firing = Some(UnderWay { received, places, span, stored });
    }

    /// Once it returns, no transaction is under way.
    pub(super) async fn await_firing(&mut self) -> anyhow::Result<()> {
        ended(&mut self.firing).await;
        let Some(under_way) = self.firing.take() else { return Ok(()) };
        let UnderWay { received, places, span, mut stored } = under_way;
        let stored = Pin::new(&mut stored).take_output().context("a transaction's end was lost")?;
        let stored = stored.context("storing firings panicked")?.map_err(trouble);
        let Stored { admitted, took, at } = stored.inspect_err(|error| fail_span(&span, error))?;
        self.meters.commit_seconds.record(took.as_secs_f64());
        self.meters.admitted.increment(admitted as u64);
        self.meters.refused.increment(received.len().saturating_sub(admitted) as u64);
        self.meters.count_fired(received.into_iter(), at);
        self.effected.extend(places);
        Ok(())
    }

    /// Once it returns, what was under way and the first of what was found are in PostgreSQL.
    pub(super) async fn fire(&mut self) -> anyhow::Result<()> {
        self.await_firing().await?;
        self.begin_to_fire();
        self.await_firing().await
    }

    /// Goes on with what can be stored without waiting for it.
    pub(super) async fn go_on_firing(&mut self) -> anyhow::Result<()> {
        if ended(&mut self.firing).now_or_never().is_some() {
            self.await_firing().await?;
        }
        self.begin_to_fire();
        Ok(())
    }
}

/// Returns once a transaction has ended, if one is under way. May be dropped and called again at
/// any time.
pub(super) async fn ended(firing: &mut Option<UnderWay>) {
    if let Some(under_way) = firing {
        Pin::new(&mut under_way.stored).await;
    }
}

fn new_firing(found: Found) -> NewFiring {
    let Found { partition, firing } = found;
    NewFiring {
        alert_id: firing.id.0,
        version: firing.version,
        price: firing.price,
        reference: firing.reference,
        trade_time: firing.timestamp,
        partition,
        sequence: firing.sequence,
        received_at: firing.received_at,
    }
}
