//! Creates in batches, without a timer.
//!
//! ```text
//!  call ─┐                       ┌─ look-up of end offsets ─ INSERT ─┐
//!  call ─┼─▶ queue ─▶ all that ──┤                                   ├─▶ answers
//!  call ─┘          have arrived └─ (up to BATCHES at once) ─────────┘
//! ```
//! A call that comes alone goes at once. While [`BATCHES`] are under way the next one gathers, so
//! a batch is as large as PostgreSQL is slow, and one look-up and one commit serve all of it.
//!
//! A batch is one span, which links to those of the calls that it serves; it is a child of a call
//! that is alone.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span};

use crate::{CreatedAlert, EndUnknown, Log, LogEnds, Store, StoreError, Wish};

/// Calls that wait for a batch. Full means that PostgreSQL or Kafka is behind: callers wait, and
/// their deadlines end it.
const CALLS_WAITING: usize = 4_096;
/// Alerts in one statement at most: past this many another one costs nothing more.
const BATCH: usize = 1_024;
/// Batches under way: while one commits the next looks up its offsets.
const BATCHES: usize = 2;
/// Spans that a batch links to at most: as many as OpenTelemetry keeps of a span's by default.
const LINKS: usize = 128;

#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was created.
    #[error(transparent)]
    Offsets(#[from] EndUnknown),
    /// Its user has as many alerts as the quota allows. It was not created.
    #[error("the user has as many alerts as one may have")]
    Quota,
    /// Nothing was created.
    #[error("the service is stopping")]
    Stopping,
}

/// Stores alerts for many callers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Creator {
    calls: mpsc::Sender<Call>,
}

#[derive(Debug)]
struct Call {
    wish: Wish,
    answer: oneshot::Sender<Result<CreatedAlert, CreateError>>,
    /// What the call is part of: none for most, and where nothing is traced.
    span: Span,
}

impl Creator {
    /// Also the work behind it, to be spawned: it ends once every clone of the creator is gone and
    /// the calls that were made are answered.
    pub fn new(
        store: Store,
        log: Log,
        ends: LogEnds,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (calls, arrived) = mpsc::channel(CALLS_WAITING);
        (Self { calls }, work(store, log, ends, arrived))
    }

    /// How many calls wait for a batch, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let bound = self.calls.max_capacity();
        (bound - self.calls.capacity(), bound)
    }

    /// Stores one alert, armed at the end of its partition. Once it returns the alert is durable.
    /// A caller that goes away meanwhile finds it created or not, never in part.
    pub async fn create(&self, wish: Wish) -> Result<CreatedAlert, CreateError> {
        let (answer, answered) = oneshot::channel();
        let call = Call { wish, answer, span: Span::current() };
        self.calls.send(call).await.map_err(|_| CreateError::Stopping)?;
        answered.await.unwrap_or(Err(CreateError::Stopping))
    }
}

async fn work(store: Store, log: Log, ends: LogEnds, mut arrived: mpsc::Receiver<Call>) {
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        let mut calls = Vec::new();
        tokio::select! {
            Some(()) = under_way.next() => {}
            count = arrived.recv_many(&mut calls, BATCH), if open && under_way.len() < BATCHES => {
                open = count > 0;
                under_way.push(batch(&store, &log, &ends, calls));
            }
        }
    }
}

async fn batch(store: &Store, log: &Log, ends: &LogEnds, mut calls: Vec<Call>) {
    // Whoever no longer waits has been told that it failed.
    calls.retain(|call| !call.answer.is_closed());
    let span = span_of(&calls);
    match create(store, log, ends, &calls).instrument(span).await {
        Ok(created) => {
            for (call, created) in calls.into_iter().zip(created) {
                // A caller that has gone finds the alert in its list.
                let _ = call.answer.send(created.ok_or(CreateError::Quota));
            }
        }
        Err(error) => {
            for call in calls {
                let _ = call.answer.send(Err(error.clone()));
            }
        }
    }
}

fn span_of(calls: &[Call]) -> Span {
    let mut traced = calls.iter().map(|call| &call.span).filter(|span| !span.is_disabled());
    let Some(first) = traced.next() else { return Span::none() };
    let Some(second) = traced.next() else {
        return tracing::info_span!(target: "otel", parent: first, "create batch", calls = calls.len());
    };
    let span =
        tracing::info_span!(target: "otel", parent: None, "create batch", calls = calls.len());
    for call in [first, second].into_iter().chain(traced).take(LINKS) {
        span.follows_from(call);
    }
    span
}

async fn create(
    store: &Store,
    log: &Log,
    ends: &LogEnds,
    calls: &[Call],
) -> Result<Vec<Option<CreatedAlert>>, CreateError> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let alerts = ends.arm(calls.iter().map(|call| &call.wish)).await?;
    Ok(store.create(log, &alerts).await?)
}
