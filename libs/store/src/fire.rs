use market::{Price, Sequence};
use triggers::Version;

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
    pub version: Version,
    pub price: Price,
    /// What a percent was counted from.
    pub reference: Option<Price>,
    /// Event time, Unix milliseconds.
    pub trade_time: i64,
    pub partition: i32,
    pub sequence: Sequence,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

impl Store {
    /// Fires alerts: each that is active and of this version is triggered, or moved to its next
    /// generation, and its firing and its place in the outbox stored, in one transaction. Of an
    /// alert that fires again and again several may be given, each with the generation after the
    /// one before. Returns the alerts and generations that were admitted; the others had fired or
    /// were changed before, or expired before the trade.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some may have fired. Fire all of them again; those are then
    /// not admitted a second time.
    pub async fn fire(
        &self,
        log: &Log,
        firings: &[NewFiring],
    ) -> Result<Vec<(i64, i32)>, StoreError> {
        let mut admitted = Vec::with_capacity(firings.len());
        for firings in firings.chunks(FIRINGS_A_TRANSACTION) {
            admitted.extend(self.fire_some(log, firings).await?);
        }
        Ok(admitted)
    }

    async fn fire_some(
        &self,
        log: &Log,
        firings: &[NewFiring],
    ) -> Result<Vec<(i64, i32)>, StoreError> {
        let ids: Vec<i64> = firings.iter().map(|firing| firing.alert_id).collect();
        let revisions: Vec<i32> =
            firings.iter().map(|firing| firing.version.revision.cast_signed()).collect();
        let generations: Vec<i32> =
            firings.iter().map(|firing| firing.version.generation).collect();
        let prices: Vec<f64> = firings.iter().map(|firing| firing.price.get()).collect();
        let references: Vec<Option<f64>> =
            firings.iter().map(|firing| firing.reference.map(Price::get)).collect();
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
        //
        // What an owner fires of one alert is a chain of generations. Another owner may have
        // stored the first of it: the rest is the same alert's for as long as the revision is the
        // same. Time does not go back along a chain, so its last part is what came after the
        // expiry.
        let admitted = within(
            sqlx::query!(
                r#"WITH new AS MATERIALIZED (
                    SELECT *, min(generation) OVER (PARTITION BY alert_id) AS first
                    FROM unnest(
                        $1::bigint[], $2::integer[], $3::integer[], $4::double precision[],
                        $5::double precision[], $6::bigint[], $7::integer[], $8::bigint[],
                        $9::bigint[], $10::bigint[]
                    ) AS new (
                        alert_id, revision, generation, price, reference_price, trade_time,
                        partition, record_offset, record_index, received_at
                    )
                ), due AS MATERIALIZED (
                    SELECT new.*, user_id, symbol, condition, target_price, lower_price,
                        upper_price, percent, cooldown_ms, coalesce(
                            trade_time >= (extract(epoch FROM expires_at) * 1000)::bigint, false
                        ) AS is_past
                    FROM alerts JOIN new ON alerts.id = new.alert_id
                        AND alerts.revision = new.revision
                        AND alerts.generation BETWEEN new.first AND new.generation
                    WHERE status = 1
                        AND (alerts.generation = new.generation OR cooldown_ms IS NOT NULL)
                    ORDER BY alerts.id
                    FOR NO KEY UPDATE OF alerts
                ), last AS MATERIALIZED (
                    SELECT DISTINCT ON (alert_id) *,
                        bool_or(is_past) OVER (PARTITION BY alert_id) AS expires
                    FROM due ORDER BY alert_id, is_past, generation DESC
                ), fired AS (
                    UPDATE alerts SET
                        status = CASE
                            WHEN expires THEN 4 WHEN last.cooldown_ms IS NULL THEN 3 ELSE 1
                        END,
                        revision = alerts.revision + expires::integer,
                        generation = CASE
                            WHEN is_past OR last.cooldown_ms IS NULL THEN alerts.generation
                            ELSE last.generation + 1
                        END + expires::integer,
                        armed_offset = record_offset, armed_index = record_index + 1,
                        latched = last.cooldown_ms IS NOT NULL AND last.condition <= 7,
                        asleep_until = trade_time + nullif(last.cooldown_ms, 0),
                        reference_price = NULL,
                        triggered_at = CASE WHEN is_past THEN triggered_at ELSE now() END,
                        version = version + 1, changed_xid = pg_current_xact_id(),
                        changed_at = now()
                    FROM last WHERE alerts.id = last.alert_id
                ), stored AS (
                    INSERT INTO firings (
                        alert_id, generation, user_id, symbol, condition, target_price,
                        lower_price, upper_price, percent, price, reference_price, trade_time,
                        log_id, partition, record_offset, record_index, received_at
                    )
                    SELECT alert_id, generation, user_id, symbol, condition, target_price,
                        lower_price, upper_price, percent, price, reference_price, trade_time,
                        $11, partition, record_offset, record_index, received_at
                    FROM due WHERE NOT is_past
                    ORDER BY partition, record_offset, record_index, alert_id
                    RETURNING id, alert_id, generation
                ), boxed AS (
                    INSERT INTO outbox (firing_id) SELECT id FROM stored
                )
                SELECT alert_id, generation FROM stored"#,
                &ids,
                &revisions,
                &generations,
                &prices,
                &references as &[Option<f64>],
                &times,
                &partitions,
                &offsets,
                &indexes,
                &received,
                log.id
            )
            .fetch_all(session.connection()),
        );
        let admitted = admitted.await;
        let admitted = session.settle(admitted)?;
        self.news.announce();
        Ok(admitted.into_iter().map(|row| (row.alert_id, row.generation)).collect())
    }
}
