use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use market::Sequence;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::alert::Decode;
use crate::session::{Outcome, PATIENCE, within};
use crate::terms::{ConditionColumns, TermsColumns};
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

    /// From what [`as_str`](Self::as_str) gave; `None` where it is not PostgreSQL's.
    pub fn parse(text: &str) -> Option<Self> {
        let is_good = text.bytes().all(|byte| byte.is_ascii_digit() || b":,".contains(&byte));
        is_good.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As the queries give it.
pub(crate) struct StateRow<S> {
    pub(crate) id: i64,
    pub(crate) symbol: S,
    pub(crate) condition: i16,
    pub(crate) target_price: Option<f64>,
    pub(crate) lower_price: Option<f64>,
    pub(crate) upper_price: Option<f64>,
    pub(crate) percent: Option<f64>,
    pub(crate) cooldown_ms: Option<i64>,
    pub(crate) hysteresis_percent: Option<f64>,
    pub(crate) status: i16,
    pub(crate) revision: i32,
    pub(crate) generation: i32,
    pub(crate) partition: i32,
    pub(crate) armed_offset: i64,
    pub(crate) armed_index: i64,
    pub(crate) latched: bool,
    pub(crate) asleep_until: Option<i64>,
    pub(crate) reference_price: Option<f64>,
    pub(crate) changed_at: i64,
    pub(crate) is_judged: bool,
}

/// Reads alerts on a connection of its own, which is not replaced when it breaks.
#[derive(Debug)]
pub struct Reader {
    pub(crate) store: Store,
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
    /// Gives every alert of these partitions that has changed since `cursor` to `each`, whatever
    /// its status, in no order. May give one again that was given before: keep the later version.
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
        changes_since(&address, &mut connection, log, partitions, cursor, each).await?;
        self.put_back(connection);
        Ok(next)
    }

    /// The connection is put back only after a whole answer: what is left of one would be taken
    /// for the next.
    pub(crate) fn take(&mut self) -> Result<(Arc<str>, PgConnection), StoreError> {
        let address = Arc::clone(&self.store.address);
        match self.connection.take() {
            Some(connection) => Ok((address, connection)),
            None => Err(StoreError::Unavailable {
                address: address.to_string(),
                reason: "the reader's connection has broken".to_owned(),
            }),
        }
    }

    pub(crate) fn put_back(&mut self, connection: PgConnection) {
        self.connection = Some(connection);
    }
}

pub(crate) async fn changes_since(
    address: &str,
    connection: &mut PgConnection,
    log: &Log,
    partitions: &[i32],
    cursor: &Cursor,
    each: impl FnMut(AlertState),
) -> Result<(), StoreError> {
    // The first bound is for the index. The second one matters in a database restored from a
    // dump, whose rows may carry transaction ids that are yet to come.
    let rows = sqlx::query_as!(
        StateRow::<String>,
        r#"SELECT id, symbol, condition, target_price, lower_price, upper_price, percent,
            cooldown_ms, hysteresis_percent, status, revision, generation, partition,
            armed_offset, armed_index, latched, asleep_until, reference_price,
            (extract(epoch FROM changed_at) * 1000000)::bigint AS "changed_at!",
            false AS "is_judged!"
        FROM alerts
        WHERE changed_xid >= pg_snapshot_xmin($1::text::pg_snapshot)
            AND changed_xid < pg_snapshot_xmax(pg_current_snapshot())
            AND NOT pg_visible_in_snapshot(changed_xid, $1::text::pg_snapshot)
            AND partition = ANY ($2) AND armed_log = $3"#,
        cursor.0,
        partitions,
        log.id
    )
    .fetch(connection);
    give(address, rows, each).await
}

async fn give(
    address: &str,
    rows: impl Stream<Item = sqlx::Result<StateRow<String>>>,
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

pub(crate) async fn snapshot(
    address: &str,
    connection: &mut PgConnection,
) -> Result<Cursor, StoreError> {
    let query = sqlx::query_scalar!(r#"SELECT pg_current_snapshot()::text AS "snapshot!""#);
    match within(query.fetch_one(connection)).await {
        Outcome::Answer(Ok(snapshot)) => Ok(Cursor(snapshot)),
        Outcome::Answer(Err(error)) => Err(StoreError::new(address, &error)),
        Outcome::Silence => Err(StoreError::slow(address, PATIENCE)),
    }
}

impl<S> StateRow<S> {
    pub(crate) fn decode(self, address: &str) -> Result<AlertState<S>, StoreError> {
        let decode = Decode { address, table: "alert", id: self.id };
        let columns = TermsColumns {
            condition: ConditionColumns {
                condition: self.condition,
                target_price: self.target_price,
                lower_price: self.lower_price,
                upper_price: self.upper_price,
                percent: self.percent,
            },
            cooldown_ms: self.cooldown_ms,
            hysteresis_percent: self.hysteresis_percent,
        };
        let reference = self.reference_price;
        Ok(AlertState {
            id: self.id,
            terms: columns.decode(&decode)?,
            status: decode.status(self.status)?,
            version: decode.version(self.revision, self.generation)?,
            symbol: self.symbol,
            partition: self.partition,
            armed_at: Sequence {
                offset: self.armed_offset,
                index: decode.index("armed_index", self.armed_index)?,
            },
            latched: self.latched,
            asleep_until: self.asleep_until,
            reference: reference.map(|price| decode.price("reference_price", price)).transpose()?,
            changed_at: self.changed_at,
            is_judged: self.is_judged,
        })
    }
}
