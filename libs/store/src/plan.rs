//! When PostgreSQL plans the owners' statements.
//!
//! One that takes arrays is planned anew each time (by the rule of
//! <https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES>): for a single firing,
//! as nearly all are, that takes three times as long as to do it. A plan that is kept reads a table
//! whole, again and again, where the table was tiny when it was made, until statistics are gathered
//! the next time.

use sqlx::PgConnection;

/// From so many on an alert is found by its id, whatever is planned.
const MANY: f32 = 100_000.0;

/// Has this connection's statements planned once each, where alerts are many already.
pub(crate) async fn once_where_alerts_are_many(connection: &mut PgConnection) -> sqlx::Result<()> {
    // Before the migrations there is no such table.
    sqlx::query!(
        "SELECT set_config('plan_cache_mode', 'force_generic_plan', false) FROM pg_class
        WHERE oid = to_regclass('alerts') AND reltuples >= $1",
        MANY
    )
    .fetch_optional(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use crate::{DatabaseUrl, Store, StoreMetrics};

    /// Of a connection of the owners that is new.
    async fn mode(store: &Store) -> String {
        let mut connection = store.owners.acquire().await.expect("a connection");
        let mode = sqlx::query_scalar("SHOW plan_cache_mode").fetch_one(&mut *connection).await;
        connection.close().await.expect("closed");
        mode.expect("a mode")
    }

    #[tokio::test]
    async fn plans_are_kept_from_when_alerts_are_many() {
        let url = testkit::postgresql().database();
        let parsed = DatabaseUrl::parse(&url).expect("a URL");
        let store = Store::new(&parsed, "plans", StoreMetrics::noop());
        assert_eq!(mode(&store).await, "auto", "no table yet");
        store.migrate().await.expect("migrated");
        assert_eq!(mode(&store).await, "auto", "no alert yet");
        for (alerts, expected) in [(99_000, "auto"), (100_000, "force_generic_plan")] {
            // As VACUUM and ANALYZE write it.
            let counted =
                format!("UPDATE pg_class SET reltuples = {alerts} WHERE oid = 'alerts'::regclass");
            testkit::postgresql().execute(&url, &counted);
            assert_eq!(mode(&store).await, expected, "{alerts} alerts");
        }
    }
}
