use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::alert::Decode;
use crate::session::{Outcome, PATIENCE, within};
use crate::{AlertState, Log, Store, StoreError};

/// What a reader has seen: a snapshot of PostgreSQL, which names the transactions that were still
/// uncommitted then. Good for the [`Reader`] that it came from, and for a checkpoint.
///
/// Not for another connection: a transaction that only said NOTIFY is finished before its record
/// is on disk, and a crash gives its number to another one, which a snapshot from before the crash
/// takes for seen. A crash ends every connection. What a checkpoint stores is safe: its own commit
/// puts all records before it on disk.
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

/// Reads alerts on a connection of its own, which is not replaced when it breaks.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    /// `None` once it has broken.
    connection: Option<PgConnection>,
}

impl Store {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        match within(PgConnection::connect_with(&self.options)).await {
            Outcome::Answer(Ok(connection)) => {
                Ok(Reader { store: self.clone(), connection: Some(connection) })
            }
            Outcome::Answer(Err(error)) => Err(self.error(&error)),
            Outcome::Silence => Err(StoreError::slow(&self.address, PATIENCE)),
        }
    }
}

impl Reader {
    /// Gives every active alert of these partitions to `each`, in no order, as they come over the
    /// wire. One that its partition's checkpoint has seen is armed at the end of that checkpoint,
    /// if that is later: what it had to fire on before has fired. What changes meanwhile comes with [`changes`](Self::changes) from the cursor returned.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: what was given so far is true, but not all.
    pub async fn armed(
        &mut self,
        log: &Log,
        partitions: &[i32],
        each: impl FnMut(AlertState),
    ) -> Result<Cursor, StoreError> {
        let (address, mut connection) = self.take()?;
        let cursor = snapshot(&address, &mut connection).await?;
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
        .fetch(&mut connection);
        give(&address, rows, each).await?;
        self.connection = Some(connection);
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
        &mut self,
        log: &Log,
        partitions: &[i32],
        cursor: &Cursor,
        each: impl FnMut(AlertState),
    ) -> Result<Cursor, StoreError> {
        let (address, mut connection) = self.take()?;
        // Made before the rows are read: what is committed in between is given twice, not skipped.
        let next = snapshot(&address, &mut connection).await?;
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
        .fetch(&mut connection);
        give(&address, rows, each).await?;
        self.connection = Some(connection);
        Ok(next)
    }

    /// The connection is put back only after a whole answer: what is left of one would be taken
    /// for the next.
    fn take(&mut self) -> Result<(Arc<str>, PgConnection), StoreError> {
        let address = Arc::clone(&self.store.address);
        match self.connection.take() {
            Some(connection) => Ok((address, connection)),
            None => Err(StoreError::Unavailable {
                address: address.to_string(),
                reason: "the reader's connection has broken".to_owned(),
            }),
        }
    }
}

async fn give(
    address: &str,
    rows: impl Stream<Item = sqlx::Result<Row>>,
    mut each: impl FnMut(AlertState),
) -> Result<(), StoreError> {
    let mut rows = pin!(rows);
    loop {
        match timeout(PATIENCE, rows.next()).await {
            Ok(Some(Ok(row))) => each(row.decode(address)?),
            Ok(Some(Err(error))) => return Err(StoreError::new(address, &error)),
            Ok(None) => return Ok(()),
            Err(_) => return Err(StoreError::slow(address, PATIENCE)),
        }
    }
}

async fn snapshot(address: &str, connection: &mut PgConnection) -> Result<Cursor, StoreError> {
    let query = sqlx::query_scalar!(r#"SELECT pg_current_snapshot()::text AS "snapshot!""#);
    match within(query.fetch_one(connection)).await {
        Outcome::Answer(Ok(snapshot)) => Ok(Cursor(snapshot)),
        Outcome::Answer(Err(error)) => Err(StoreError::new(address, &error)),
        Outcome::Silence => Err(StoreError::slow(address, PATIENCE)),
    }
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
