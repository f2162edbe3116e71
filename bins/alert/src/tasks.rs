//! What the engine has done beside the evaluation: a trade waits for PostgreSQL only where more
//! fires than is stored meanwhile, and where a checkpoint, or what a task has done, has waited long
//! enough for that to end.

use market::Place;
use store::{AlertState, Checkpoint, Cursor, Expiring, Log, Reader, Store, StoreError};
use triggers::{Progress, Snapshot};

use crate::behind::Rewound;
use crate::snapshots::{Of, Snapshots};
use crate::trouble;

/// Alerts past their expiry that are looked at in one go.
const EXPIRING: u32 = 1_000;

/// What came of a task.
pub(crate) enum Done {
    Reconciled(Box<News>),
    /// And a snapshot that was taken with one of the checkpoints.
    Checkpointed(Vec<(i32, Place)>, Option<Box<SnapshotJob>>),
    Snapshotted,
    /// Those whose expiry is past, by the clock.
    Expiring(Vec<Expiring>),
    Expired,
    Rewound(Box<Rewound>),
    /// It was called off.
    Nothing,
}

/// What has changed of the alerts of some partitions.
pub(crate) struct News {
    pub(crate) reader: Reader,
    /// The partitions, each with the life in which they were asked about.
    pub(crate) of: Vec<(i32, u64)>,
    pub(crate) rows: Vec<AlertState>,
    pub(crate) cursor: Cursor,
}

/// Asks what has changed of partitions, of each since a cursor of its own.
pub(crate) async fn reconcile(
    mut reader: Reader,
    log: Log,
    asked: Vec<(Cursor, Vec<(i32, u64)>)>,
) -> anyhow::Result<Done> {
    let (mut of, mut rows, mut last) = (Vec::new(), Vec::new(), None);
    for (cursor, partitions) in asked {
        let numbers: Vec<i32> = partitions.iter().map(|(number, _)| *number).collect();
        let next = reader.changes(&log, &numbers, &cursor, |row| rows.push(row)).await;
        let next = next.map_err(trouble)?;
        // The first answer's cursor holds for all: later ones have seen more.
        last.get_or_insert(next);
        of.extend(partitions);
    }
    Ok(match last {
        Some(cursor) => Done::Reconciled(Box::new(News { reader, of, rows, cursor })),
        None => Done::Nothing,
    })
}

/// Stores checkpoints, once their alerts' rows say what the checkpoints rely on.
pub(crate) async fn checkpoint(
    store: Store,
    log: Log,
    progress: Vec<Progress>,
    checkpoints: Vec<Checkpoint>,
    job: Option<Box<SnapshotJob>>,
) -> anyhow::Result<Done> {
    store.advance(&progress).await.map_err(trouble)?;
    store.checkpoint(&log, &checkpoints).await.map_err(trouble)?;
    let places = checkpoints.iter().map(|checkpoint| (checkpoint.partition, checkpoint.place));
    Ok(Done::Checkpointed(places.collect(), job))
}

/// A snapshot that is to be written, once the checkpoint that it was taken with is stored.
pub(crate) struct SnapshotJob {
    pub(crate) store: Store,
    pub(crate) snapshots: Snapshots,
    pub(crate) of: Of,
    pub(crate) snapshot: Snapshot,
}

impl SnapshotJob {
    /// A disk that is full is no trouble.
    pub(crate) async fn run(self: Box<Self>) -> anyhow::Result<Done> {
        let Self { store, snapshots, of, snapshot } = *self;
        let (log, partition) = (of.log, of.partition);
        store.remember_snapshot(log, partition, of.id).await.map_err(trouble)?;
        let written = tokio::task::spawn_blocking(move || {
            let alerts = snapshot.alerts();
            snapshots.write(&of, snapshot).map(|()| alerts)
        });
        match written.await? {
            Ok(alerts) => tracing::debug!(partition, alerts, "snapshot"),
            Err(error) => tracing::warn!(partition, "no snapshot: {error:#}"),
        }
        Ok(Done::Snapshotted)
    }
}

pub(crate) async fn look_for_expired(
    store: Store,
    log: Log,
    partitions: Vec<i32>,
    after: (i64, i64),
) -> anyhow::Result<Done> {
    let expiring = store.expiring(&log, &partitions, after, EXPIRING).await;
    passing(expiring.map(Done::Expiring))
}

pub(crate) async fn expire(store: Store, expired: Vec<Expiring>) -> anyhow::Result<Done> {
    passing(store.expire(&expired).await.map(|_| Done::Expired))
}

/// Nothing depends on when alerts are found to have expired: it is tried again later.
fn passing(outcome: Result<Done, StoreError>) -> anyhow::Result<Done> {
    match outcome {
        Err(StoreError::Unavailable { .. }) => Ok(Done::Expired),
        outcome => outcome.map_err(trouble),
    }
}

impl Done {
    /// Whether all of those that were found were looked at.
    pub(crate) fn is_last(expiring: &[Expiring]) -> bool {
        expiring.len() < EXPIRING as usize
    }
}
