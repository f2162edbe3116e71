use market::AnotherLog;
use sqlx::migrate::MigrateError;

/// Why the store did not do what it was asked. Cloned for every call that a batch served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL did not answer, or not in time, or refused for now. Whether a write took place
    /// is unknown; every write may be tried again.
    #[error("PostgreSQL at {address}: {reason}")]
    Unavailable { address: String, reason: String },

    /// The topic that is followed is not the one that these alerts were armed on.
    #[error(transparent)]
    AnotherLog(#[from] AnotherLog),

    /// The tables are not this program's.
    #[error("PostgreSQL at {address}: {reason}")]
    Schema { address: String, reason: String },

    /// PostgreSQL refused, and would again: a mistake in the program, or a missing right.
    #[error("PostgreSQL at {address} refused: {reason}")]
    Refused { address: String, reason: String },
}

impl StoreError {
    pub(crate) fn new(address: &str, error: &sqlx::Error) -> Self {
        let reason = match error {
            // The pool tries again and again, and keeps to itself why that failed.
            sqlx::Error::PoolTimedOut => "no connection: it is down, or too busy".to_owned(),
            error => error.to_string(),
        };
        let address = address.to_owned();
        match error {
            sqlx::Error::Database(error) if !is_passing(error.code().as_deref()) => {
                Self::Refused { address, reason }
            }
            sqlx::Error::Database(_)
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable { address, reason },
            _ => Self::Refused { address, reason },
        }
    }

    pub(crate) fn migrating(address: &str, error: &MigrateError) -> Self {
        let reason = match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                return Self::new(address, error);
            }
            MigrateError::VersionMissing(version) => format!(
                "a newer GoStocks has migrated it (migration {version} is unknown here); run that \
                 one"
            ),
            other => other.to_string(),
        };
        Self::Schema { address: address.to_owned(), reason }
    }

    pub(crate) fn slow(address: &str, patience: std::time::Duration) -> Self {
        let reason = format!("no answer within {patience:?}");
        Self::Unavailable { address: address.to_owned(), reason }
    }

    /// A row that this version cannot read.
    pub(crate) fn foreign(address: &str, reason: String) -> Self {
        Self::Schema { address: address.to_owned(), reason }
    }
}

/// Whether the same statement may succeed later. Classes of PostgreSQL's Appendix A.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    // 08 connection, 25006 a standby, 28 and 3D not yet set up, 40 rolled back, 53 resources,
    // 55P03 locked, 57 operator intervention (stopping, starting, killed), 58 system.
    matches!(code.get(..2), Some("08" | "28" | "3D" | "40" | "53" | "57" | "58"))
        || matches!(code, "25006" | "55P03")
}
