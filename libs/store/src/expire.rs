use triggers::Version;

use crate::alert::Decode;
use crate::metrics::Call;
use crate::session::within;
use crate::{Log, Store, StoreError};

/// An active alert whose expiry is past by the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Expiring {
    pub id: i64,
    pub version: Version,
    pub symbol: String,
    pub partition: i32,
    /// Unix milliseconds.
    pub expires_at: i64,
}

impl Store {
    /// Up to `limit` alerts of these partitions that are active and past their expiry, in the order
    /// of their expiries and ids, those after `after` in it. A trade from before its expiry may
    /// still be on its way to one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn expiring(
        &self,
        log: &Log,
        partitions: &[i32],
        (after, after_id): (i64, i64),
        limit: u32,
    ) -> Result<Vec<Expiring>, StoreError> {
        let mut session = self.session(Call::Expire).await?;
        // `IS TRUE` keeps PostgreSQL from looking for partitions by their index: it would read all
        // of their alerts, where the index by expiry has the few that are due.
        let rows = sqlx::query!(
            r#"SELECT id, revision, generation, symbol, partition,
                (extract(epoch FROM expires_at) * 1000)::bigint AS "expires_at!"
            FROM alerts
            WHERE status = 1 AND expires_at IS NOT NULL AND expires_at <= now()
                AND (expires_at, id) > ('epoch'::timestamptz + $4::bigint * interval '1 ms', $5)
                AND (partition = ANY ($2)) IS TRUE AND (armed_log = $1) IS TRUE
            ORDER BY expires_at, id LIMIT $3"#,
            log.id,
            partitions,
            i64::from(limit),
            after,
            after_id
        );
        let rows = within(rows.fetch_all(session.connection())).await;
        let rows = session.settle(rows)?.into_iter();
        let expiring = rows.map(|row| {
            let decode = Decode { address: &self.address, table: "alert", id: row.id };
            Ok(Expiring {
                id: row.id,
                version: decode.version(row.revision, row.generation)?,
                symbol: row.symbol,
                partition: row.partition,
                expires_at: row.expires_at,
            })
        });
        expiring.collect()
    }

    /// Ends alerts whose expiry their symbol's trades have passed, unless they changed meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn expire(&self, expired: &[Expiring]) -> Result<u64, StoreError> {
        if expired.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = expired.iter().map(|alert| alert.id).collect();
        let revisions: Vec<i32> =
            expired.iter().map(|alert| alert.version.revision.cast_signed()).collect();
        let generations: Vec<i32> = expired.iter().map(|alert| alert.version.generation).collect();
        let mut session = self.session(Call::Expire).await?;
        let done = sqlx::query!(
            "WITH locked AS MATERIALIZED (
                SELECT alerts.id
                FROM alerts JOIN unnest($1::bigint[], $2::integer[], $3::integer[])
                    AS new (id, revision, generation)
                    ON alerts.id = new.id AND alerts.revision = new.revision
                        AND alerts.generation = new.generation
                WHERE status = 1
                ORDER BY alerts.id
                FOR NO KEY UPDATE OF alerts
            )
            UPDATE alerts SET status = 4, revision = revision + 1, generation = generation + 1,
                version = version + 1, changed_xid = pg_current_xact_id(), changed_at = now()
            FROM locked WHERE alerts.id = locked.id",
            &ids,
            &revisions,
            &generations
        );
        let done = within(done.execute(session.connection())).await;
        let done = session.settle(done)?;
        self.news.announce();
        Ok(done.rows_affected())
    }
}
