use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{ConnectOptions, SqlSafeStr};
use tokio::time::timeout;

use crate::{Store, StoreError};

/// Version, description, text. One that was released is never edited: PostgreSQL has its checksum.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "alerts", include_str!("../migrations/0001_alerts.sql")),
    (2, "received_at", include_str!("../migrations/0002_received_at.sql")),
    (3, "conditions", include_str!("../migrations/0003_conditions.sql")),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_stands_in_the_list() {
        // Not by CARGO_MANIFEST_DIR, which the build script sets to another folder.
        let folder = std::path::Path::new(file!()).parent().expect("src").join("../migrations");
        let folder = if folder.exists() { folder } else { "migrations".into() };
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the migrations")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|(version, description, _)| format!("{version:04}_{description}.sql"))
            .collect();
        assert_eq!(files, listed);
    }
}
