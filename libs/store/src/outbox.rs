use std::time::Duration;

use crate::firings::firings;
use crate::metrics::Call;
use crate::session::within;
use crate::{Firing, Store, StoreError};

impl Store {
    /// Takes up to `limit` firings that nobody has, oldest first. They are the caller's for
    /// `period`; those that are not [`published`](Self::published) by then are given out again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lease(&self, limit: u32, period: Duration) -> Result<Vec<Firing>, StoreError> {
        let mut session = self.session(Call::Lease).await?;
        // No joins: a plan for a short queue, kept or made of old statistics, would hold each row
        // of a long one against each that is taken.
        let rows = firings!(
            "WITH taken AS MATERIALIZED (
                SELECT ctid FROM outbox
                WHERE leased_until IS NULL OR leased_until <= now()
                ORDER BY firing_id LIMIT $1 FOR UPDATE SKIP LOCKED
            ), leased AS (
                UPDATE outbox SET leased_until = now() + $2 * interval '1 second'
                WHERE ctid = ANY (ARRAY(SELECT ctid FROM taken))
                RETURNING firing_id
            )
            SELECT",
            "FROM firings WHERE id = ANY (ARRAY(SELECT firing_id FROM leased)) ORDER BY id",
            i64::from(limit),
            period.as_secs_f64()
        );
        let rows = within(rows.fetch_all(session.connection())).await;
        let rows = session.settle(rows)?;
        rows.into_iter().map(|row| row.decode(&self.address)).collect()
    }

    /// How many firings wait to be published, counted up to `most`, and how long the oldest has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn waiting(&self, most: u32) -> Result<(u64, Duration), StoreError> {
        let mut session = self.session(Call::Waiting).await?;
        let row = within(
            sqlx::query!(
                r#"SELECT
                    (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS counted) AS "count!",
                    coalesce((
                        SELECT extract(epoch FROM now() - fired_at) FROM firings
                        WHERE id = (SELECT min(firing_id) FROM outbox)
                    ), 0)::double precision AS "age!""#,
                i64::from(most)
            )
            .fetch_one(session.connection()),
        );
        let row = row.await;
        let row = session.settle(row)?;
        let count = u64::try_from(row.count).unwrap_or_default();
        Ok((count, Duration::try_from_secs_f64(row.age).unwrap_or_default()))
    }

    /// Takes firings that were delivered out of the outbox.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: they may be given out again.
    pub async fn published(&self, firings: &[i64]) -> Result<(), StoreError> {
        let mut session = self.session(Call::Published).await?;
        let done = within(
            sqlx::query!("DELETE FROM outbox WHERE firing_id = ANY ($1)", firings)
                .execute(session.connection()),
        );
        let done = done.await;
        session.settle(done).map(|_| ())
    }
}
