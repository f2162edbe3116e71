use market::{Price, Symbol};

use crate::log::abandoned;
use crate::metrics::Call;
use crate::session::within;
use crate::{Condition, Log, Store, StoreError, UserId};

/// An alert to be stored: active, in its first generation.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAlert {
    pub user_id: UserId,
    pub symbol: Symbol,
    pub condition: Condition,
    pub target_price: Price,
    /// Of the topic, where the symbol's trades are.
    pub partition: i32,
    /// That partition's end, read while the call was under way.
    pub armed_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedAlert {
    pub id: i64,
    /// Unix milliseconds.
    pub created_at: i64,
}

impl Store {
    /// Stores alerts, all or none, in one statement; answers in their order. Once it returns they
    /// are durable.
    ///
    /// # Errors
    /// [`StoreError::AnotherLog`] where `log` is no longer followed; [`StoreError::Unavailable`].
    pub async fn create(
        &self,
        log: &Log,
        alerts: &[NewAlert],
    ) -> Result<Vec<CreatedAlert>, StoreError> {
        if alerts.is_empty() {
            return Ok(Vec::new());
        }
        let users: Vec<i64> = alerts.iter().map(|alert| alert.user_id.get()).collect();
        let symbols: Vec<&str> = alerts.iter().map(|alert| alert.symbol.as_str()).collect();
        let conditions: Vec<i16> = alerts.iter().map(|alert| alert.condition.code()).collect();
        let prices: Vec<f64> = alerts.iter().map(|alert| alert.target_price.get()).collect();
        let partitions: Vec<i32> = alerts.iter().map(|alert| alert.partition).collect();
        let offsets: Vec<i64> = alerts.iter().map(|alert| alert.armed_offset).collect();
        let mut session = self.session(Call::Create).await?;
        // Ids are given in the order of the rows that the sort puts out. The lock on the log's row
        // makes `rebuild` wait, or makes this one find that the id has gone.
        let rows = within(
            sqlx::query!(
                r#"WITH log AS MATERIALIZED (
                    SELECT log_id FROM logs WHERE log_id = $1 FOR SHARE
                )
                INSERT INTO alerts (
                    user_id, symbol, condition, target_price, partition, armed_log, armed_offset
                )
                SELECT user_id, symbol, condition, target_price, partition, log_id, armed_offset
                FROM log, unnest(
                    $2::bigint[], $3::text[], $4::smallint[], $5::double precision[],
                    $6::integer[], $7::bigint[]
                ) WITH ORDINALITY AS new (
                    user_id, symbol, condition, target_price, partition, armed_offset, ordinal
                )
                ORDER BY ordinal
                RETURNING id, (extract(epoch FROM created_at) * 1000)::bigint AS "created_at!""#,
                log.id,
                &users,
                &symbols as &[&str],
                &conditions,
                &prices,
                &partitions,
                &offsets
            )
            .fetch_all(session.connection()),
        );
        let rows = rows.await;
        let mut rows = session.settle(rows)?;
        if rows.is_empty() {
            return Err(abandoned(log));
        }
        self.news.announce();
        rows.sort_unstable_by_key(|row| row.id);
        let created = rows.iter();
        Ok(created.map(|row| CreatedAlert { id: row.id, created_at: row.created_at }).collect())
    }
}
