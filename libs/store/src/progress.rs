use std::collections::BTreeMap;

use market::Price;
use triggers::{AlertId, Progress, Version};

use crate::metrics::Call;
use crate::session::within;
use crate::{Store, StoreError};

/// Rows in one statement at most: others wait for their locks.
const ROWS: usize = 5_000;

impl Store {
    /// Moves alerts that have not fired on to how they stand at a later trade. Changes nothing of
    /// what they do, so nobody hears of it. To be stored before a checkpoint past that trade.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some may have been moved; that does no harm.
    pub async fn advance(&self, progress: &[Progress]) -> Result<(), StoreError> {
        // Of one alert the latest holds; rows are locked in the order of their ids, as everywhere.
        let mut last: BTreeMap<AlertId, &Progress> = BTreeMap::new();
        let moment = |progress: &Progress| (progress.version, progress.armed_at);
        for new in progress {
            let known = last.entry(new.id).or_insert(new);
            if moment(new) >= moment(known) {
                *known = new;
            }
        }
        let last: Vec<&Progress> = last.into_values().collect();
        for some in last.chunks(ROWS) {
            self.advance_some(some).await?;
        }
        Ok(())
    }

    async fn advance_some(&self, progress: &[&Progress]) -> Result<(), StoreError> {
        let ids: Vec<i64> = progress.iter().map(|progress| progress.id.0).collect();
        let versions: Vec<Version> = progress.iter().map(|progress| progress.version).collect();
        let revisions: Vec<i32> =
            versions.iter().map(|version| version.revision.cast_signed()).collect();
        let generations: Vec<i32> = versions.iter().map(|version| version.generation).collect();
        let offsets: Vec<i64> = progress.iter().map(|progress| progress.armed_at.offset).collect();
        let indexes: Vec<i64> =
            progress.iter().map(|progress| i64::from(progress.armed_at.index)).collect();
        let latched: Vec<bool> = progress.iter().map(|progress| progress.latched).collect();
        let references: Vec<Option<f64>> =
            progress.iter().map(|progress| progress.reference.map(Price::get)).collect();
        let mut session = self.session(Call::Advance).await?;
        let done = within(
            sqlx::query!(
                "WITH locked AS MATERIALIZED (
                    SELECT alerts.id, new.armed_offset, new.armed_index, new.latched,
                        new.reference_price
                    FROM alerts JOIN unnest(
                        $1::bigint[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[],
                        $6::boolean[], $7::double precision[]
                    ) AS new (
                        id, revision, generation, armed_offset, armed_index, latched,
                        reference_price
                    ) ON alerts.id = new.id AND alerts.revision = new.revision
                        AND alerts.generation = new.generation
                    WHERE alerts.status = 1
                        AND (alerts.armed_offset, alerts.armed_index)
                            <= (new.armed_offset, new.armed_index)
                    ORDER BY alerts.id
                    FOR NO KEY UPDATE OF alerts
                )
                UPDATE alerts SET armed_offset = locked.armed_offset,
                    armed_index = locked.armed_index, latched = locked.latched,
                    reference_price = locked.reference_price
                FROM locked WHERE alerts.id = locked.id",
                &ids,
                &revisions,
                &generations,
                &offsets,
                &indexes,
                &latched,
                &references as &[Option<f64>]
            )
            .execute(session.connection()),
        );
        let done = done.await;
        session.settle(done).map(drop)
    }
}
