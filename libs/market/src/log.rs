/// How far a partition was followed: everything up to this record had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: i64,
    /// Of the record's bytes, so that another log is noticed where its offsets look alike.
    pub fingerprint: u64,
}

/// What a store holds is of another log than the broker's. Going on would mix the two.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{store} follows another log than topic {topic}: {reason}. If the topic was made anew, run \
     `{remedy}`"
)]
pub struct AnotherLog {
    /// Redis or PostgreSQL.
    pub store: &'static str,
    pub topic: String,
    pub reason: String,
    /// The command that begins anew under a new log id.
    pub remedy: &'static str,
}
