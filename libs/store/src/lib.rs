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
//! when it was asked. Every call is one transaction, so none is half done, and no transaction waits
//! for anything but PostgreSQL.
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
pub use firings::{Firing, Of, Place};
pub use list::Filter;
pub use load::Loading;
pub use log::{Log, Rearm};
pub use metrics::{Call, StoreMetrics};
pub use news::News;
pub use quota::Quota;
pub use url::DatabaseUrl;

/// Connections at most. PostgreSQL serves a few busy ones faster than many; a call that finds
/// none free, or no server, waits for [`ACQUIRE_PATIENCE`].
pub const CONNECTIONS: u32 = 8;
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(2);

/// PostgreSQL, as the alert service needs it. Cheap to clone.
///
/// A PostgreSQL that is away is [`StoreError::Unavailable`]; each call connects again by itself.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
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
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .connect_lazy_with(options.clone());
        Self {
            pool,
            options,
            address: url.address().into(),
            news: Arc::default(),
            metrics,
            quota: None,
        }
    }

    /// Connections of the pool: all, and of them idle.
    pub fn connections(&self) -> (usize, usize) {
        (self.pool.size() as usize, self.pool.num_idle())
    }

    /// Waits until every connection has been given back, and closes them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("address", &self.address).finish_non_exhaustive()
    }
}
