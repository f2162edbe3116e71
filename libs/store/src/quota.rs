use std::collections::BTreeMap;

use sqlx::{Acquire, PgConnection};

use crate::metrics::Call;
use crate::session::{unbounded, within_period};
use crate::{Store, StoreError, UserId};

/// Every alert there is may have to be counted.
const COUNT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// How many alerts a user may have, in whatever state, until they are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(i64);

impl Quota {
    pub fn new(alerts: u32) -> Self {
        Self(i64::from(alerts))
    }

    /// Counts alerts in, those of each user in their order, for as long as there is room: which
    /// of them there is room for. The counts are locked until the transaction ends, always in the
    /// same order.
    pub(crate) async fn admit(
        self,
        connection: &mut PgConnection,
        users: &[UserId],
    ) -> sqlx::Result<Vec<bool>> {
        let mut wanted: BTreeMap<i64, i64> = BTreeMap::new();
        for user in users {
            *wanted.entry(user.get()).or_default() += 1;
        }
        let ids: Vec<i64> = wanted.keys().copied().collect();
        let counts: Vec<i64> = wanted.values().copied().collect();
        sqlx::query!(
            "INSERT INTO quotas (user_id, alerts) SELECT user_id, 0
            FROM unnest($1::bigint[]) AS new (user_id) ORDER BY user_id ON CONFLICT DO NOTHING",
            &ids
        )
        .execute(&mut *connection)
        .await?;
        let rooms = sqlx::query!(
            r#"WITH locked AS MATERIALIZED (
                SELECT user_id, alerts FROM quotas WHERE user_id = ANY ($1)
                ORDER BY user_id FOR UPDATE
            ), wanted AS MATERIALIZED (
                SELECT user_id, greatest(0, least(count, $3 - alerts)) AS room
                FROM locked JOIN unnest($1::bigint[], $2::bigint[]) AS new (user_id, count)
                    USING (user_id)
            ), counted AS (
                UPDATE quotas SET alerts = alerts + room FROM wanted
                WHERE quotas.user_id = wanted.user_id
            )
            SELECT user_id AS "user_id!", room AS "room!" FROM wanted"#,
            &ids,
            &counts,
            self.0
        )
        .fetch_all(connection)
        .await?;
        let mut rooms: BTreeMap<i64, i64> =
            rooms.into_iter().map(|row| (row.user_id, row.room)).collect();
        let mut admit = |user: &UserId| match rooms.get_mut(&user.get()) {
            Some(room) if *room > 0 => {
                *room -= 1;
                true
            }
            _ => false,
        };
        Ok(users.iter().map(&mut admit).collect())
    }

    /// Counts an alert out.
    pub(crate) async fn release(connection: &mut PgConnection, user: i64) -> sqlx::Result<()> {
        sqlx::query!(
            "UPDATE quotas SET alerts = alerts - 1 WHERE user_id = $1 AND alerts > 0",
            user
        )
        .execute(connection)
        .await
        .map(drop)
    }
}

impl Store {
    /// From here on no user may have more alerts than that; `None`: as many as they like. Every
    /// instance must have a quota, or none: the first one with it counts what there is, and the
    /// first one without it forgets the counts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn limit(&mut self, quota: Option<Quota>) -> Result<(), StoreError> {
        let mut session = self.session(Call::Quota).await?;
        let work = count(session.connection(), quota.is_some());
        let counted = within_period(COUNT_PATIENCE, work).await;
        session.settle(counted)?;
        drop(session);
        self.quota = quota;
        Ok(())
    }
}

/// Whose row says that alerts are counted.
const NOBODY: i64 = 0;

async fn count(connection: &mut PgConnection, is_wanted: bool) -> sqlx::Result<()> {
    let counts = || {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM quotas WHERE user_id = $1) AS "counts!""#,
            NOBODY
        )
    };
    if counts().fetch_one(&mut *connection).await? == is_wanted {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    unbounded(&mut transaction).await?;
    // Creations under a quota wait.
    sqlx::query!("LOCK TABLE quotas IN EXCLUSIVE MODE").execute(&mut *transaction).await?;
    if counts().fetch_one(&mut *transaction).await? != is_wanted {
        sqlx::query!("DELETE FROM quotas").execute(&mut *transaction).await?;
        if is_wanted {
            sqlx::query!(
                "INSERT INTO quotas (user_id, alerts)
                SELECT user_id, count(*) FROM alerts WHERE status <> 5 GROUP BY user_id
                UNION ALL SELECT $1::bigint, 0",
                NOBODY
            )
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await
}
