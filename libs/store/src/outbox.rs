use std::time::Duration;

use market::{Price, Sequence};
use uuid::Uuid;

use crate::alert::Decode;
use crate::metrics::Call;
use crate::session::within;
use crate::{Condition, Store, StoreError};

/// A firing, as it is published. `id` tells a repeated delivery from a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    pub id: i64,
    pub alert_id: i64,
    pub generation: i32,
    pub user_id: i64,
    pub symbol: String,
    pub condition: Condition,
    pub target_price: Price,
    pub price: Price,
    /// Event time, Unix milliseconds.
    pub trade_time: i64,
    pub log_id: Uuid,
    pub partition: i32,
    pub sequence: Sequence,
    /// Unix milliseconds.
    pub fired_at: i64,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

impl Store {
    /// Takes up to `limit` firings that nobody has, oldest first. They are the caller's for
    /// `period`; those that are not [`published`](Self::published) by then are given out again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lease(&self, limit: u32, period: Duration) -> Result<Vec<Firing>, StoreError> {
        let mut session = self.session(Call::Lease).await?;
        let rows = within(
            sqlx::query!(
                r#"WITH taken AS MATERIALIZED (
                    SELECT firing_id FROM outbox
                    WHERE leased_until IS NULL OR leased_until <= now()
                    ORDER BY firing_id LIMIT $1 FOR UPDATE SKIP LOCKED
                ), leased AS (
                    UPDATE outbox SET leased_until = now() + $2 * interval '1 second'
                    FROM taken WHERE outbox.firing_id = taken.firing_id
                    RETURNING outbox.firing_id, outbox.received_at
                )
                SELECT id, alert_id, generation, user_id, symbol, condition, target_price, price,
                    trade_time, log_id, partition, record_offset, record_index, received_at,
                    (extract(epoch FROM fired_at) * 1000)::bigint AS "fired_at!"
                FROM leased JOIN firings ON firings.id = leased.firing_id
                ORDER BY id"#,
                i64::from(limit),
                period.as_secs_f64()
            )
            .fetch_all(session.connection()),
        );
        let rows = rows.await;
        let rows = session.settle(rows)?.into_iter();
        let firings = rows.map(|row| {
            let decode = Decode { address: &self.address, table: "firing", id: row.id };
            Ok(Firing {
                id: row.id,
                alert_id: row.alert_id,
                generation: row.generation,
                user_id: row.user_id,
                condition: decode.condition(row.condition)?,
                target_price: decode.price("target_price", row.target_price)?,
                price: decode.price("price", row.price)?,
                symbol: row.symbol,
                trade_time: row.trade_time,
                log_id: row.log_id,
                partition: row.partition,
                sequence: Sequence {
                    offset: row.record_offset,
                    index: decode.index(row.record_index)?,
                },
                fired_at: row.fired_at,
                received_at: u64::try_from(row.received_at).unwrap_or_default(),
            })
        });
        firings.collect()
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
