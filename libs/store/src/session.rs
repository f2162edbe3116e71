use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tokio::time::timeout;

use crate::metrics::Call;
use crate::{Store, StoreError};

/// How long one statement may take before PostgreSQL counts as away. The largest one, ten
/// thousand firings, takes a fraction of a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One connection for one call. Unless the call was settled, the connection is closed rather than
/// given back: an answer may still be on its way to it.
pub(crate) struct Session<'a> {
    store: &'a Store,
    connection: PoolConnection<Postgres>,
    settled: bool,
    call: Call,
    began: Instant,
}

impl Store {
    pub(crate) async fn session(&self, call: Call) -> Result<Session<'_>, StoreError> {
        let asked = Instant::now();
        let connection = self.pool.acquire().await.map_err(|error| self.error(&error))?;
        self.metrics.acquire.record(asked.elapsed().as_secs_f64());
        let began = Instant::now();
        Ok(Session { store: self, connection, settled: false, call, began })
    }

    pub(crate) fn error(&self, error: &sqlx::Error) -> StoreError {
        StoreError::new(&self.address, error)
    }
}

impl Session<'_> {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Notes what came of the statement. A refusal leaves the connection good, silence does not.
    pub(crate) fn settle<T>(&mut self, outcome: Outcome<T>) -> Result<T, StoreError> {
        match outcome {
            Outcome::Answer(answer) => {
                self.settled = matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
                answer.map_err(|error| self.store.error(&error))
            }
            Outcome::Silence => Err(StoreError::slow(&self.store.address, PATIENCE)),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.store.metrics.of(self.call).record(self.began.elapsed().as_secs_f64());
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}

pub(crate) enum Outcome<T> {
    Answer(sqlx::Result<T>),
    Silence,
}

/// Waits for a statement for as long as [`PATIENCE`].
pub(crate) async fn within<T>(statement: impl Future<Output = sqlx::Result<T>>) -> Outcome<T> {
    within_period(PATIENCE, statement).await
}

/// As [`within`], for what may take longer.
pub(crate) async fn within_period<T>(
    period: Duration,
    statement: impl Future<Output = sqlx::Result<T>>,
) -> Outcome<T> {
    match timeout(period, statement).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(_) => Outcome::Silence,
    }
}
