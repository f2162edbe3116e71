use std::pin::pin;

use futures::{Stream, StreamExt};
use tokio::time::timeout;
use uuid::Uuid;

use crate::alert::Decode;
use crate::session::{Outcome, PATIENCE, Session, within};
use crate::{AlertState, Log, Store, StoreError};

/// What a reader has seen: a snapshot of PostgreSQL, which names the transactions that were still
/// uncommitted then. Good for the database that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    pub(crate) fn new(snapshot: String) -> Self {
        Self(snapshot)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// As the queries below give it.
struct Row {
    id: i64,
    symbol: String,
    condition: i16,
    target_price: f64,
    status: i16,
    generation: i32,
    partition: i32,
    armed_log: Uuid,
    armed_offset: i64,
    version: i64,
}

impl Store {
    /// Gives every active alert of these partitions to `each`, in no order, as they come over the
    /// wire. One that its partition's checkpoint has seen is armed at the end of that checkpoint,
    /// if that is later: what it had to fire on before has fired. What changes meanwhile comes with [`changes`](Self::changes) from the cursor returned.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: what was given so far is true, but not all.
    pub async fn armed(
        &self,
        log: &Log,
        partitions: &[i32],
        each: impl FnMut(AlertState),
    ) -> Result<Cursor, StoreError> {
        let mut session = self.session().await?;
        let cursor = snapshot(&mut session).await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, symbol, condition, target_price, status, generation, alerts.partition,
                armed_log, version,
                CASE WHEN pg_visible_in_snapshot(changed_xid, seen_alerts)
                    THEN greatest(armed_offset, last_offset + 1)
                    ELSE armed_offset
                END AS "armed_offset!"
            FROM alerts LEFT JOIN checkpoints
                ON checkpoints.log_id = armed_log AND checkpoints.partition = alerts.partition
            WHERE status = 1 AND alerts.partition = ANY ($1) AND armed_log = $2"#,
            partitions,
            log.id
        )
        .fetch(session.connection());
        let outcome = self.give(rows, each).await;
        settle(&mut session, outcome)?;
        Ok(cursor)
    }

    /// Gives every alert of these partitions that has changed since `cursor` to `each`, whatever
    /// its status, in no order. May give one again that was given before: keep the higher version.
    ///
    /// A row that was uncommitted when the cursor was made is given once it is committed, however
    /// long that takes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: ask again from the same cursor.
    pub async fn changes(
        &self,
        log: &Log,
        partitions: &[i32],
        cursor: &Cursor,
        each: impl FnMut(AlertState),
    ) -> Result<Cursor, StoreError> {
        let mut session = self.session().await?;
        // Made before the rows are read: what is committed in between is given twice, not skipped.
        let next = snapshot(&mut session).await?;
        // The first bound is for the index. The second one matters in a database restored from a
        // dump, whose rows may carry transaction ids that are yet to come.
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, symbol, condition, target_price, status, generation, partition,
                armed_log, armed_offset, version
            FROM alerts
            WHERE changed_xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                AND changed_xid < pg_snapshot_xmax(pg_current_snapshot())
                AND NOT pg_visible_in_snapshot(changed_xid, $1::text::pg_snapshot)
                AND partition = ANY ($2) AND armed_log = $3",
            cursor.0,
            partitions,
            log.id
        )
        .fetch(session.connection());
        let outcome = self.give(rows, each).await;
        settle(&mut session, outcome)?;
        Ok(next)
    }

    async fn give(
        &self,
        rows: impl Stream<Item = sqlx::Result<Row>>,
        mut each: impl FnMut(AlertState),
    ) -> Result<Outcome<()>, StoreError> {
        let mut rows = pin!(rows);
        loop {
            match timeout(PATIENCE, rows.next()).await {
                Ok(Some(Ok(row))) => each(row.decode(&self.address)?),
                Ok(Some(Err(error))) => return Ok(Outcome::Answer(Err(error))),
                Ok(None) => return Ok(Outcome::Answer(Ok(()))),
                Err(_) => return Ok(Outcome::Silence),
            }
        }
    }
}

fn settle(
    session: &mut Session<'_>,
    outcome: Result<Outcome<()>, StoreError>,
) -> Result<(), StoreError> {
    session.settle(outcome?)
}

async fn snapshot(session: &mut Session<'_>) -> Result<Cursor, StoreError> {
    let outcome = within(
        sqlx::query_scalar!(r#"SELECT pg_current_snapshot()::text AS "snapshot!""#)
            .fetch_one(session.connection()),
    );
    let outcome = outcome.await;
    session.settle(outcome).map(Cursor)
}

impl Row {
    fn decode(self, address: &str) -> Result<AlertState, StoreError> {
        let decode = Decode { address, table: "alert", id: self.id };
        Ok(AlertState {
            id: self.id,
            condition: decode.condition(self.condition)?,
            target_price: decode.price("target_price", self.target_price)?,
            status: decode.status(self.status)?,
            symbol: self.symbol,
            generation: self.generation,
            partition: self.partition,
            armed_log: self.armed_log,
            armed_offset: self.armed_offset,
            version: self.version,
        })
    }
}
