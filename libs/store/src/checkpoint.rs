use market::Place;
use uuid::Uuid;

use crate::log::abandoned;
use crate::metrics::Call;
use crate::session::within;
use crate::{Cursor, Log, Store, StoreError};

/// How far a partition was evaluated: everything up to `place` has fired what it fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub partition: i32,
    /// The last record evaluated.
    pub place: Place,
    /// What conditions need to know of the trades up to there.
    pub history: Vec<u8>,
    /// Every change of an alert that is seen from here was heeded: whatever those alerts had to
    /// fire on up to `place` has fired. `None`: of no alert is that so.
    pub seen: Option<Cursor>,
}

impl Store {
    /// Stores checkpoints, all or none. One that is not ahead of what is stored is left out:
    /// another owner has come further.
    ///
    /// # Errors
    /// [`StoreError::AnotherLog`] where `log` is no longer followed; [`StoreError::Unavailable`].
    pub async fn checkpoint(
        &self,
        log: &Log,
        checkpoints: &[Checkpoint],
    ) -> Result<(), StoreError> {
        // In one order for everybody, so that two owners never wait for one another's rows.
        let mut sorted: Vec<&Checkpoint> = checkpoints.iter().collect();
        sorted.sort_unstable_by_key(|checkpoint| checkpoint.partition);
        let partitions: Vec<i32> = sorted.iter().map(|checkpoint| checkpoint.partition).collect();
        let offsets: Vec<i64> = sorted.iter().map(|checkpoint| checkpoint.place.offset).collect();
        let fingerprints: Vec<i64> =
            sorted.iter().map(|checkpoint| checkpoint.place.fingerprint.cast_signed()).collect();
        let seen: Vec<Option<&str>> =
            sorted.iter().map(|checkpoint| checkpoint.seen.as_ref().map(Cursor::as_str)).collect();
        let histories: Vec<&[u8]> = sorted.iter().map(|checkpoint| &*checkpoint.history).collect();
        let mut session = self.session(Call::Checkpoints).await?;
        let followed = within(
            sqlx::query_scalar!(
                r#"WITH log AS MATERIALIZED (
                    SELECT log_id FROM logs WHERE log_id = $1 FOR SHARE
                ), stored AS (
                    INSERT INTO checkpoints (
                        log_id, partition, last_offset, fingerprint, history, seen_alerts
                    )
                    SELECT log_id, partition, last_offset, fingerprint, history,
                        seen_alerts::pg_snapshot
                    FROM log, unnest(
                        $2::integer[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[]
                    ) AS new (partition, last_offset, fingerprint, history, seen_alerts)
                    ORDER BY partition
                    ON CONFLICT (log_id, partition) DO UPDATE SET
                        last_offset = excluded.last_offset,
                        fingerprint = excluded.fingerprint,
                        history = excluded.history,
                        seen_alerts = excluded.seen_alerts
                    WHERE checkpoints.last_offset < excluded.last_offset
                )
                SELECT EXISTS (SELECT FROM log) AS "followed!""#,
                log.id,
                &partitions,
                &offsets,
                &fingerprints,
                &histories as &[&[u8]],
                &seen as &[Option<&str>]
            )
            .fetch_one(session.connection()),
        );
        let followed = followed.await;
        if session.settle(followed)? { Ok(()) } else { Err(abandoned(log)) }
    }

    /// Remembers that a snapshot of a partition was taken: one that this database does not
    /// remember is another's, or of another past. Older ones of the partition are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn remember_snapshot(
        &self,
        log: Uuid,
        partition: i32,
        id: Uuid,
    ) -> Result<(), StoreError> {
        let mut session = self.session(Call::Snapshot).await?;
        let done = sqlx::query!(
            "WITH kept AS (
                SELECT id FROM snapshots WHERE log_id = $2 AND partition = $3
                ORDER BY taken_at DESC LIMIT $4
            ), forgotten AS (
                DELETE FROM snapshots WHERE log_id = $2 AND partition = $3
                    AND id NOT IN (SELECT id FROM kept)
            )
            INSERT INTO snapshots (id, log_id, partition) VALUES ($1, $2, $3)",
            id,
            log,
            partition,
            SNAPSHOTS
        );
        let done = within(done.execute(session.connection())).await;
        session.settle(done).map(drop)
    }
}

/// Of a partition, by whichever instances, that are remembered at most.
const SNAPSHOTS: i64 = 32;

/// As queries give it.
pub(crate) struct CheckpointRow {
    pub(crate) partition: i32,
    pub(crate) last_offset: i64,
    pub(crate) fingerprint: i64,
    pub(crate) history: Vec<u8>,
    pub(crate) seen: Option<String>,
}

impl From<CheckpointRow> for Checkpoint {
    fn from(row: CheckpointRow) -> Self {
        Self {
            partition: row.partition,
            place: Place { offset: row.last_offset, fingerprint: row.fingerprint.cast_unsigned() },
            history: row.history,
            seen: row.seen.map(Cursor::new),
        }
    }
}
