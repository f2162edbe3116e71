use market::{Price, Sequence};

use crate::metrics::Call;
use crate::session::within;
use crate::{Log, Store, StoreError};

/// Firings in one transaction at most: it holds their alerts' rows locked, and one that fails has
/// to be done again.
const FIRINGS_A_TRANSACTION: usize = 10_000;

/// An alert that the log satisfies, and the trade that did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFiring {
    pub alert_id: i64,
    pub generation: i32,
    pub price: Price,
    /// Event time, Unix milliseconds.
    pub trade_time: i64,
    pub partition: i32,
    pub sequence: Sequence,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

impl Store {
    /// Fires alerts: each that is active and in this generation is triggered, and its firing and
    /// its place in the outbox stored, in one transaction. Returns the ids of those alerts; the
    /// others were fired, changed or deleted by somebody else before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some may have fired. Fire all of them again; those are then
    /// not admitted a second time.
    pub async fn fire(&self, log: &Log, firings: &[NewFiring]) -> Result<Vec<i64>, StoreError> {
        let mut admitted = Vec::with_capacity(firings.len());
        for firings in firings.chunks(FIRINGS_A_TRANSACTION) {
            admitted.extend(self.fire_some(log, firings).await?);
        }
        Ok(admitted)
    }

    async fn fire_some(&self, log: &Log, firings: &[NewFiring]) -> Result<Vec<i64>, StoreError> {
        let ids: Vec<i64> = firings.iter().map(|firing| firing.alert_id).collect();
        let generations: Vec<i32> = firings.iter().map(|firing| firing.generation).collect();
        let prices: Vec<f64> = firings.iter().map(|firing| firing.price.get()).collect();
        let times: Vec<i64> = firings.iter().map(|firing| firing.trade_time).collect();
        let partitions: Vec<i32> = firings.iter().map(|firing| firing.partition).collect();
        let offsets: Vec<i64> = firings.iter().map(|firing| firing.sequence.offset).collect();
        let indexes: Vec<i64> =
            firings.iter().map(|firing| i64::from(firing.sequence.index)).collect();
        let received: Vec<i64> = firings
            .iter()
            .map(|firing| i64::try_from(firing.received_at).unwrap_or_default())
            .collect();
        let mut session = self.session(Call::Fire).await?;
        // Rows are locked in the order of their ids, so that two owners who fire the same alerts
        // wait for one another and never deadlock; a row is looked at again once it is locked.
        let admitted = within(
            sqlx::query_scalar!(
                "WITH locked AS MATERIALIZED (
                    SELECT alerts.id, new.price, new.trade_time, new.partition, new.record_offset,
                        new.record_index, new.received_at
                    FROM alerts JOIN unnest(
                        $1::bigint[], $2::integer[], $3::double precision[], $4::bigint[],
                        $5::integer[], $6::bigint[], $7::bigint[], $9::bigint[]
                    ) AS new (
                        alert_id, generation, price, trade_time, partition, record_offset,
                        record_index, received_at
                    ) ON alerts.id = new.alert_id AND alerts.generation = new.generation
                    WHERE alerts.status = 1
                    ORDER BY alerts.id
                    FOR NO KEY UPDATE OF alerts
                ), fired AS (
                    UPDATE alerts SET status = 3, triggered_at = now(), version = version + 1,
                        changed_xid = pg_current_xact_id()
                    FROM locked WHERE alerts.id = locked.id
                    RETURNING alerts.id, alerts.generation, alerts.user_id, alerts.symbol,
                        alerts.condition, alerts.target_price, locked.price, locked.trade_time,
                        locked.partition, locked.record_offset, locked.record_index,
                        locked.received_at
                ), stored AS (
                    INSERT INTO firings (
                        alert_id, generation, user_id, symbol, condition, target_price, price,
                        trade_time, log_id, partition, record_offset, record_index
                    )
                    SELECT id, generation, user_id, symbol, condition, target_price, price,
                        trade_time, $8, partition, record_offset, record_index
                    FROM fired ORDER BY partition, record_offset, record_index, id
                    RETURNING id, alert_id
                ), boxed AS (
                    INSERT INTO outbox (firing_id, received_at)
                    SELECT stored.id, fired.received_at
                    FROM stored JOIN fired ON fired.id = stored.alert_id
                )
                SELECT alert_id FROM stored",
                &ids,
                &generations,
                &prices,
                &times,
                &partitions,
                &offsets,
                &indexes,
                log.id,
                &received
            )
            .fetch_all(session.connection()),
        );
        let admitted = admitted.await;
        let admitted = session.settle(admitted)?;
        if !admitted.is_empty() {
            self.news.announce();
        }
        Ok(admitted)
    }
}
