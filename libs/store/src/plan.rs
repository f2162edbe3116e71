//! When PostgreSQL plans the owners' statements.
//!
//! One that takes arrays is planned anew each time where they are short (by the rule of
//! <https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES>): for a single firing,
//! as nearly all are, that takes three times as long as to do it. A plan that is kept reads a table
//! whole, again and again, where the table was tiny when it was made, until statistics are gathered
//! the next time. So plans are kept where alerts are many; a connection that keeps none is used for a
//! minute, in case they have become many.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

/// From so many armed ones on an alert is found by its id, whatever is planned.
const MANY: f32 = 100_000.0;
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How the owners' connections plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    /// Since when new connections have kept their plans.
    kept_since: Arc<OnceLock<Instant>>,
}

impl Plans {
    /// Has this connection, which is new, plan its statements once each, where alerts are many
    /// already.
    pub(crate) async fn keep_where_alerts_are_many(
        self,
        connection: &mut PgConnection,
    ) -> sqlx::Result<()> {
        let began = Instant::now();
        // Of the index of those that are armed: before the migrations there is none.
        let kept = sqlx::query!(
            "SELECT set_config('plan_cache_mode', 'force_generic_plan', false) FROM pg_class
            WHERE oid = to_regclass('alerts_active') AND reltuples >= $1",
            MANY
        );
        match kept.fetch_optional(connection).await {
            Ok(Some(_)) => {
                self.kept_since.get_or_init(|| began);
                Ok(())
            }
            // A server that does not tell does everything else.
            Ok(None) | Err(sqlx::Error::Database(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a connection of that age plans as it would if it were new.
    pub(crate) fn are_as_they_should(&self, age: Duration) -> bool {
        match self.kept_since.get() {
            None => age < LOOK_EVERY,
            Some(since) => age <= since.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;
    use crate::{DatabaseUrl, Store, StoreMetrics};

    /// Of a connection of the pool that is new.
    async fn mode(pool: &PgPool) -> String {
        let mut connection = pool.acquire().await.expect("a connection");
        let mode = sqlx::query_scalar("SHOW plan_cache_mode").fetch_one(&mut *connection).await;
        connection.close().await.expect("closed");
        mode.expect("a mode")
    }

    #[tokio::test]
    async fn plans_are_kept_from_when_alerts_are_many() {
        let url = testkit::postgresql().database();
        let parsed = DatabaseUrl::parse(&url).expect("a URL");
        let store = Store::new(&parsed, "plans", StoreMetrics::noop());
        assert_eq!(mode(&store.owners).await, "auto", "no table yet");
        store.migrate().await.expect("migrated");
        assert_eq!(mode(&store.owners).await, "auto", "no alert yet");
        let early = store.owners.acquire().await.expect("a connection");
        for (alerts, expected) in [(99_000, "auto"), (100_000, "force_generic_plan")] {
            // As VACUUM and ANALYZE write it.
            let counted = format!(
                "UPDATE pg_class SET reltuples = {alerts} WHERE oid = 'alerts_active'::regclass"
            );
            testkit::postgresql().execute(&url, &counted);
            assert_eq!(mode(&store.owners).await, expected, "{alerts} alerts");
        }
        drop(early);
        while store.owners.num_idle() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mode(&store.owners).await, "force_generic_plan", "one from before was there");
        assert_eq!(mode(&store.calls).await, "auto", "not an owner's");
    }

    #[test]
    fn a_connection_is_used_while_a_new_one_would_plan_as_it_does() {
        let plans = Plans::default();
        assert!(plans.are_as_they_should(Duration::ZERO));
        assert!(plans.are_as_they_should(LOOK_EVERY - Duration::from_millis(1)));
        assert!(!plans.are_as_they_should(LOOK_EVERY));
        plans.kept_since.get_or_init(Instant::now);
        assert!(plans.are_as_they_should(Duration::ZERO));
        assert!(!plans.are_as_they_should(Duration::from_secs(10)), "it is from before");
    }
}
