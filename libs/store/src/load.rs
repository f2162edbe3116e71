use futures::StreamExt;
use sqlx::{Executor, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::changes::{StateRow, changes_since, snapshot};
use crate::copy::{NotRows, Row, RowsIn};
use crate::session::{Outcome, PATIENCE, within};
use crate::{AlertState, Checkpoint, Cursor, Log, Reader, StoreError};

/// What the owner of partitions begins with, all of it as of one moment: their checkpoints, and
/// their alerts, which may go with them.
#[derive(Debug)]
pub struct Loading<'a> {
    reader: &'a mut Reader,
    log: &'a Log,
    connection: PgConnection,
    cursor: Cursor,
    /// A partition that has none was never followed.
    pub checkpoints: Vec<Checkpoint>,
    /// Which snapshots this database remembers of these partitions.
    pub snapshots: Vec<(i32, Uuid)>,
}

impl Reader {
    /// Looks up what is stored of these partitions.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load<'a>(
        &'a mut self,
        log: &'a Log,
        partitions: &[i32],
    ) -> Result<Loading<'a>, StoreError> {
        let (address, mut connection) = self.take()?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        settle(&address, within(connection.execute(begin)).await)?;
        let cursor = snapshot(&address, &mut connection).await?;
        let checkpoints = sqlx::query_as!(
            crate::checkpoint::CheckpointRow,
            "SELECT partition, last_offset, fingerprint, history, seen_alerts::text AS seen
            FROM checkpoints WHERE log_id = $1 AND partition = ANY ($2) ORDER BY partition",
            log.id,
            partitions
        );
        let checkpoints = within(checkpoints.fetch_all(&mut connection)).await;
        let checkpoints = settle(&address, checkpoints)?;
        let snapshots = sqlx::query!(
            "SELECT partition, id FROM snapshots WHERE log_id = $1 AND partition = ANY ($2)
                AND cluster = (pg_control_system()).system_identifier",
            log.id,
            partitions
        );
        let snapshots = within(snapshots.fetch_all(&mut connection)).await;
        let snapshots = settle(&address, snapshots)?;
        Ok(Loading {
            reader: self,
            log,
            connection,
            cursor,
            checkpoints: checkpoints.into_iter().map(Into::into).collect(),
            snapshots: snapshots.into_iter().map(|row| (row.partition, row.id)).collect(),
        })
    }
}

impl Loading<'_> {
    /// Gives every active alert of these partitions to `each`, in no order, as they come over the
    /// wire. One that its partition's checkpoint has seen says that it was judged so far.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: what was given so far is true, but not all.
    pub async fn armed(
        &mut self,
        partitions: &[i32],
        mut each: impl FnMut(AlertState<&str>),
    ) -> Result<(), StoreError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let address = &self.reader.store.address;
        let numbers: Vec<String> = partitions.iter().map(i32::to_string).collect();
        // COPY takes no parameters: these are numbers and a UUID.
        let statement = format!(
            "COPY (
                SELECT id, symbol, condition, target_price, lower_price, upper_price, percent,
                    cooldown_ms, hysteresis_percent, status, revision, generation,
                    alerts.partition, armed_offset, armed_index, latched, asleep_until,
                    reference_price, (extract(epoch FROM changed_at) * 1000000)::bigint,
                    coalesce(pg_visible_in_snapshot(changed_xid, seen_alerts), false)
                FROM alerts LEFT JOIN checkpoints
                    ON checkpoints.log_id = armed_log AND checkpoints.partition = alerts.partition
                WHERE status = 1 AND alerts.partition IN ({}) AND armed_log = '{}'
            ) TO STDOUT (FORMAT binary)",
            numbers.join(", "),
            self.log.id
        );
        let began = within(self.connection.copy_out_raw(&statement)).await;
        let mut pieces = settle(address, began)?;
        let mut rows = RowsIn::default();
        loop {
            let piece = match timeout(PATIENCE, pieces.next()).await {
                Ok(Some(piece)) => piece.map_err(|error| StoreError::new(address, &error))?,
                Ok(None) => break,
                Err(_) => return Err(StoreError::slow(address, PATIENCE)),
            };
            rows.hear(&piece, |row| {
                each(state(row)?.decode(address).map_err(LoadError::Store)?);
                Ok(())
            })
            .map_err(|error| match error {
                LoadError::Store(error) => error,
                LoadError::NotRows => {
                    StoreError::foreign(address, "COPY answers with other columns".to_owned())
                }
            })?;
        }
        Ok(())
    }

    /// Gives every alert of these partitions that has changed since `cursor`, as
    /// [`Reader::changes`] does. The cursor may be one that was stored with a checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn changes(
        &mut self,
        partitions: &[i32],
        cursor: &Cursor,
        each: impl FnMut(AlertState),
    ) -> Result<(), StoreError> {
        let address = &self.reader.store.address;
        changes_since(address, &mut self.connection, self.log, partitions, cursor, each).await
    }

    /// What changes from here on comes with [`Reader::changes`] from this cursor.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn finish(self) -> Result<Cursor, StoreError> {
        let Self { reader, mut connection, cursor, .. } = self;
        let address = &reader.store.address;
        settle(address, within(connection.execute("COMMIT")).await)?;
        reader.put_back(connection);
        Ok(cursor)
    }
}

fn settle<T>(address: &str, outcome: Outcome<T>) -> Result<T, StoreError> {
    match outcome {
        Outcome::Answer(answer) => answer.map_err(|error| StoreError::new(address, &error)),
        Outcome::Silence => Err(StoreError::slow(address, PATIENCE)),
    }
}

enum LoadError {
    Store(StoreError),
    NotRows,
}

impl From<NotRows> for LoadError {
    fn from(_: NotRows) -> Self {
        Self::NotRows
    }
}

fn state(mut row: Row<'_>) -> Result<StateRow<&str>, NotRows> {
    Ok(StateRow {
        id: row.take()?,
        symbol: row.take()?,
        condition: row.take()?,
        target_price: row.optional()?,
        lower_price: row.optional()?,
        upper_price: row.optional()?,
        percent: row.optional()?,
        cooldown_ms: row.optional()?,
        hysteresis_percent: row.optional()?,
        status: row.take()?,
        revision: row.take()?,
        generation: row.take()?,
        partition: row.take()?,
        armed_offset: row.take()?,
        armed_index: row.take()?,
        latched: row.take()?,
        asleep_until: row.optional()?,
        reference_price: row.optional()?,
        changed_at: row.take()?,
        is_judged: row.take()?,
    })
}
