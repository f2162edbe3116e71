use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tokio::time::timeout;
use tracing::Span;
use tracing::field::Empty;

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
    /// Lasts as long as the session, the wait for its connection included. A child of whatever
    /// span the caller is in.
    span: Span,
}

impl Store {
    pub(crate) async fn session(&self, call: Call) -> Result<Session<'_>, StoreError> {
        let asked = Instant::now();
        let span = span_of(call);
        let pool = if call.is_an_owners() { &self.owners } else { &self.calls };
        let connection = pool.acquire().await.map_err(|error| {
            let error = self.error(&error);
            fail(&span, &error);
            error
        })?;
        self.metrics.acquire.record(asked.elapsed().as_secs_f64());
        let began = Instant::now();
        Ok(Session { store: self, connection, settled: false, call, began, span })
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
        let answer = match outcome {
            Outcome::Answer(answer) => {
                self.settled = matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
                answer.map_err(|error| self.store.error(&error))
            }
            Outcome::Silence => Err(StoreError::slow(&self.store.address, PATIENCE)),
        };
        if let Err(error) = &answer {
            fail(&self.span, error);
        }
        answer
    }
}

/// For a collector, where the program has one: `otel` is the target of such spans. Attributes as
/// OpenTelemetry's semantic conventions of database client spans name them.
fn span_of(call: Call) -> Span {
    tracing::info_span!(
        target: "otel",
        "postgresql",
        otel.name = call.as_str(),
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = call.as_str(),
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

fn fail(span: &Span, error: &StoreError) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", tracing::field::display(error));
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

/// As [`within`], for what may take longer: see [`unbounded`].
pub(crate) async fn within_period<T>(
    period: Duration,
    statement: impl Future<Output = sqlx::Result<T>>,
) -> Outcome<T> {
    match timeout(period, statement).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(_) => Outcome::Silence,
    }
}

/// Lets the statements of a transaction take longer than [`PATIENCE`].
pub(crate) async fn unbounded(transaction: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SET LOCAL statement_timeout = 0").execute(transaction).await.map(drop)
}
