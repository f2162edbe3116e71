//! The truth about alerts, in PostgreSQL: alerts, firings, the outbox, checkpoints.
//!
//! ```text
//!  calls ──▶ Creator ──▶ create ─┐             ┌─▶ load, changes ──▶ the owners' indexes
//!             batches            ├─▶ alerts ───┤      ▲
//!  calls ──▶ bulk (COPY), change ┤     │       └─▶ list, get
//!  owners ─▶ fire, progress, ────┘     │
//!            expire, checkpoint        └─▶ firings + outbox ──▶ lease, published
//!                                          News: NOTIFY, coalesced, on a connection of its own
//! ```
//! Invariants: an alert fires once per generation, whoever tries (`fire` is fenced by status,
//! revision and generation), and a firing moves its alert on in the same transaction; a checkpoint
//! only moves forward; no change of an alert is ever skipped by `changes`, whatever was uncommitted
//! when it was asked. Every call is one transaction, or, of many firings, several that stand for
//! themselves: none is half done, and no transaction waits for anything but PostgreSQL.
//!
//! Queries are checked at build time against the answers in `.sqlx`. After a change of a query or
//! of a migration make them anew: `cargo run --release --package testkit --example sqlx_prepare`.

mod alert;
mod bulk;
mod change;
mod changes;
mod checkpoint;
mod copy;
mod create;
mod creator;
mod ends;
mod error;
mod expire;
mod fire;
mod firings;
mod list;
mod load;
mod log;
mod metrics;
mod migrate;
mod news;
mod outbox;
mod plan;
mod progress;
mod quota;
mod session;
mod terms;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::plan::Plans;

pub use alert::{Alert, AlertState, Status, UserId};
pub use change::{ArmedAt, Change, ChangeError, Patch, Target};
pub use changes::{Cursor, Reader};
pub use checkpoint::Checkpoint;
pub use create::{CreatedAlert, NewAlert, Wish};
pub use creator::{CreateError, Creator};
pub use ends::{EndOffsets, EndUnknown, LogEnds};
pub use error::StoreError;
pub use expire::Expiring;
pub use fire::NewFiring;
pub use firings::{AT_ONCE, Firing, Of, Place};
pub use list::Filter;
pub use load::Loading;
pub use log::{Log, Rearm};
pub use metrics::{Call, StoreMetrics};
pub use news::News;
pub use quota::Quota;
pub use url::DatabaseUrl;

/// Connections at most, for calls. PostgreSQL serves a few busy ones faster than many; a call that
/// finds none free, or no server, waits for [`ACQUIRE_PATIENCE`].
const FOR_CALLS: u32 = 8;
/// For what owners of partitions store: however many calls there are, firings do not wait for them.
const FOR_OWNERS: u32 = 4;
/// Connections of both pools at most.
pub const CONNECTIONS: u32 = FOR_CALLS + FOR_OWNERS;
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(2);

/// PostgreSQL, as the alert service needs it. Cheap to clone.
///
/// A PostgreSQL that is away is [`StoreError::Unavailable`]; each call connects again by itself.
#[derive(Clone)]
pub struct Store {
    calls: PgPool,
    owners: PgPool,
    options: PgConnectOptions,
    /// Host, port and database: what an error may show.
    address: Arc<str>,
    news: Arc<news::Exchange>,
    metrics: StoreMetrics,
    /// How many alerts a user may have.
    quota: Option<Quota>,
}

impl Store {
    /// Connects nowhere yet. `program` is what PostgreSQL shows as `application_name`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(url: &DatabaseUrl, program: &str, metrics: StoreMetrics) -> Self {
        let options = url.options(program);
        // What was given up on here is not to go on there, with its locks.
        let patience = session::PATIENCE.as_millis().to_string();
        let bounded = options.clone().options([("statement_timeout", patience)]);
        let pool = |connections| {
            PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_PATIENCE)
        };
        let plans = Plans::default();
        let owners = pool(FOR_OWNERS)
            .after_connect({
                let plans = plans.clone();
                move |connection, _| Box::pin(plans.clone().keep_where_alerts_are_many(connection))
            })
            .before_acquire(move |_, meta| {
                let is_fit = plans.are_as_they_should(meta.age);
                Box::pin(std::future::ready(Ok(is_fit)))
            });
        Self {
            calls: pool(FOR_CALLS).connect_lazy_with(bounded.clone()),
            owners: owners.connect_lazy_with(bounded),
            options,
            address: url.address().into(),
            news: Arc::default(),
            metrics,
            quota: None,
        }
    }

    /// Connections of the pools: all, and of them idle.
    pub fn connections(&self) -> (usize, usize) {
        let Self { calls, owners, .. } = self;
        (calls.size() as usize + owners.size() as usize, calls.num_idle() + owners.num_idle())
    }

    /// Waits until every connection has been given back, and closes them.
    pub async fn close(&self) {
        tokio::join!(self.calls.close(), self.owners.close());
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("address", &self.address).finish_non_exhaustive()
    }
}
