use std::time::Duration;

use market::AnotherLog;
use sqlx::Acquire;
use uuid::Uuid;

use crate::metrics::Call;
use crate::session::{unbounded, within, within_period};
use crate::{Store, StoreError};

/// Every active alert's row is written, and a person waits for it.
const REBUILD_PATIENCE: Duration = Duration::from_secs(3_600);

/// The log that PostgreSQL follows: one life of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A UUIDv7: a later life sorts after.
    pub id: Uuid,
    pub topic: String,
    pub partitions: i32,
}

/// Where active alerts are armed when a new log begins.
#[derive(Clone, Copy, Debug)]
pub struct Rearm<P, O> {
    /// The partition of a symbol.
    pub partition: P,
    /// By partition: where on the new log an alert begins to see trades. 0 where the topic was
    /// made anew, its end where it is the same topic.
    pub offset: O,
}

impl Store {
    /// Which log is followed; none yet: this topic, under a new id.
    ///
    /// # Errors
    /// [`StoreError::AnotherLog`] where the number of partitions has changed;
    /// [`StoreError::Unavailable`].
    pub async fn follow(&self, topic: &str, partitions: i32) -> Result<Log, StoreError> {
        let fresh = Uuid::now_v7();
        let mut session = self.session(Call::Log).await?;
        let outcome = within(follow(session.connection(), topic, fresh, partitions)).await;
        let (id, stored) = session.settle(outcome)?;
        if id == fresh {
            tracing::info!(topic, log = %fresh, "PostgreSQL begins to follow the topic");
        }
        if stored != partitions {
            let reason = format!("it had {stored} partitions and has {partitions} now");
            return Err(another(topic, reason).into());
        }
        Ok(Log { id, topic: topic.to_owned(), partitions })
    }

    /// Follows the topic anew under a new log id: checkpoints are forgotten, and every active
    /// alert is armed on the new log, in a new generation. Whoever still runs under the old id is
    /// refused from then on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was done, or all of it.
    pub async fn rebuild(
        &self,
        topic: &str,
        partitions: i32,
        rearm: Rearm<impl Fn(&str) -> i32 + Send, impl Fn(i32) -> i64 + Send>,
    ) -> Result<Log, StoreError> {
        let mut session = self.session(Call::Log).await?;
        let work = rebuild(session.connection(), topic, partitions, rearm);
        let outcome = within_period(REBUILD_PATIENCE, work);
        let outcome = outcome.await;
        let id = session.settle(outcome)?;
        self.news.announce();
        Ok(Log { id, topic: topic.to_owned(), partitions })
    }
}

/// The id and the number of partitions that are stored. The row is looked at before it is written:
/// creates and checkpoints hold a shared lock on it nearly all the time.
async fn follow(
    connection: &mut sqlx::PgConnection,
    topic: &str,
    fresh: Uuid,
    partitions: i32,
) -> sqlx::Result<(Uuid, i32)> {
    loop {
        let stored = sqlx::query!("SELECT log_id, partitions FROM logs WHERE topic = $1", topic);
        if let Some(stored) = stored.fetch_optional(&mut *connection).await? {
            return Ok((stored.log_id, stored.partitions));
        }
        // Of two programs that start at once the second one waits for the first, and finds its row.
        sqlx::query!(
            "INSERT INTO logs (topic, log_id, partitions) VALUES ($1, $2, $3)
            ON CONFLICT (topic) DO NOTHING",
            topic,
            fresh,
            partitions
        )
        .execute(&mut *connection)
        .await?;
    }
}

async fn rebuild(
    connection: &mut sqlx::PgConnection,
    topic: &str,
    partitions: i32,
    rearm: Rearm<impl Fn(&str) -> i32 + Send, impl Fn(i32) -> i64 + Send>,
) -> sqlx::Result<Uuid> {
    let mut transaction = connection.begin().await?;
    unbounded(&mut transaction).await?;
    // The row is locked from here on: creates and checkpoints wait, and then find another id.
    let before = sqlx::query_scalar!("SELECT log_id FROM logs WHERE topic = $1 FOR UPDATE", topic)
        .fetch_optional(&mut *transaction)
        .await?;
    let id = mint(before);
    sqlx::query!(
        "INSERT INTO logs (topic, log_id, partitions) VALUES ($1, $2, $3)
        ON CONFLICT (topic) DO UPDATE
        SET log_id = excluded.log_id, partitions = excluded.partitions",
        topic,
        id,
        partitions
    )
    .execute(&mut *transaction)
    .await?;
    if let Some(before) = before {
        sqlx::query!("DELETE FROM checkpoints WHERE log_id = $1", before)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("DELETE FROM snapshots WHERE log_id = $1", before)
            .execute(&mut *transaction)
            .await?;
        let symbols = sqlx::query_scalar!(
            "SELECT DISTINCT symbol FROM alerts WHERE armed_log = $1 AND status IN (1, 2)",
            before
        )
        .fetch_all(&mut *transaction)
        .await?;
        let places: Vec<i32> = symbols.iter().map(|symbol| (rearm.partition)(symbol)).collect();
        let offsets: Vec<i64> = places.iter().map(|place| (rearm.offset)(*place)).collect();
        sqlx::query!(
            "UPDATE alerts SET
                armed_log = $1, armed_offset = new.armed_offset, armed_index = 0,
                partition = new.partition, latched = false, asleep_until = NULL,
                reference_price = NULL, revision = least(revision + 1, 8388607),
                generation = generation + 1, version = version + 1,
                changed_xid = pg_current_xact_id(), changed_at = now()
            FROM unnest($3::text[], $4::integer[], $5::bigint[])
                AS new (symbol, partition, armed_offset)
            WHERE alerts.symbol = new.symbol AND armed_log = $2 AND status IN (1, 2)",
            id,
            before,
            &symbols,
            &places,
            &offsets
        )
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(id)
}

/// A new id, later than the one before even where the clock went back.
fn mint(before: Option<Uuid>) -> Uuid {
    let fresh = Uuid::now_v7();
    match before {
        Some(before) if fresh <= before => Uuid::from_u128(before.as_u128().saturating_add(1)),
        _ => fresh,
    }
}

pub(crate) fn another(topic: &str, reason: impl Into<String>) -> AnotherLog {
    AnotherLog {
        store: "PostgreSQL",
        topic: topic.to_owned(),
        reason: reason.into(),
        remedy: "alert rebuild",
    }
}

/// What a write under an id that is no longer followed is told.
pub(crate) fn abandoned(log: &Log) -> StoreError {
    another(&log.topic, "it was told to follow another one meanwhile").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_mints_a_later_id_all_the_same() {
        let old = mint(None);
        assert!(mint(Some(old)) > old);
        let future = Uuid::from_u128(u128::MAX - 1);
        assert!(mint(Some(future)) > future);
    }
}
