use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{ConnectOptions, SqlSafeStr};
use tokio::time::timeout;

use crate::{Store, StoreError};

/// Version, description, text. One that was released is never edited: PostgreSQL has its checksum.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "alerts", include_str!("../migrations/0001_alerts.sql"))];

/// A large table may have to be rewritten.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3_600);

impl Store {
    /// Brings the tables up to date. Programs that start at once take turns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Schema`] where a newer version was here before.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.iter().map(|(version, description, text)| {
            let kind = MigrationType::Simple;
            Migration::new(*version, (*description).into(), kind, text.into_sql_str(), false)
        });
        let migrator = Migrator::with_migrations(migrations.collect());
        // A connection of its own: the turn is a lock that ends with it, also after an error.
        let mut connection = self.options.connect().await.map_err(|error| self.error(&error))?;
        // What `run` does; the future of `run` itself cannot be spawned.
        match timeout(PATIENCE, migrator.run_direct(None, &mut connection, false)).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::migrating(&self.address, &error)),
            Err(_) => Err(StoreError::slow(&self.address, PATIENCE)),
        }
    }
}
