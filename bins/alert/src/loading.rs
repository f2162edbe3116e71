//! What an owner needs of its partitions: from PostgreSQL, and from snapshots where they are good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use broker::TopicReader;
use store::{AlertState, Checkpoint, Cursor, Log, Store};

use crate::owned::Owned;
use crate::snapshots::{Kept, Snapshots};

/// What it takes to load.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) topic: Arc<TopicReader>,
    pub(crate) snapshots: Option<Snapshots>,
}

/// Partitions, each with its alerts.
pub(crate) struct Loaded {
    pub(crate) owned: BTreeMap<i32, Owned>,
    /// What of their alerts changes from here on is still to be heeded.
    pub(crate) cursor: Cursor,
}

impl Loader {
    pub(crate) async fn load(self, partitions: Vec<i32>) -> anyhow::Result<Loaded> {
        let began = Instant::now();
        let mut reader = self.store.reader().await.map_err(crate::trouble)?;
        let mut loading = reader.load(&self.log, &partitions).await.map_err(crate::trouble)?;
        let checkpoints: BTreeMap<i32, Checkpoint> = std::mem::take(&mut loading.checkpoints)
            .into_iter()
            .map(|checkpoint| (checkpoint.partition, checkpoint))
            .collect();
        let remembered = std::mem::take(&mut loading.snapshots);
        let kept = self.kept(checkpoints.clone(), remembered).await?;

        let mut owned: BTreeMap<i32, Owned> = BTreeMap::new();
        let mut cursors = Vec::new();
        for (number, Kept { partition, place, cursor }) in kept {
            cursors.push((number, cursor.clone()));
            owned.insert(number, Owned::kept(partition, place, cursor));
        }
        let (mut alerts, mut fired) = (0_u64, Vec::new());
        let others: Vec<i32> =
            partitions.iter().copied().filter(|number| !owned.contains_key(number)).collect();
        for number in &others {
            owned.insert(*number, Owned::restored(*number, checkpoints.get(number)));
        }
        let heed = |row: AlertState<&str>| {
            if let Some(owned) = owned.get_mut(&row.partition) {
                owned.heed(&row, &mut fired);
                alerts += 1;
            }
        };
        loading.armed(&others, heed).await.map_err(crate::trouble)?;
        for (number, cursor) in cursors {
            let heed = |row: AlertState| {
                if let Some(owned) = owned.get_mut(&row.partition) {
                    owned.heed(&row, &mut fired);
                    alerts += 1;
                }
            };
            loading.changes(&[number], &cursor, heed).await.map_err(crate::trouble)?;
        }
        let cursor = loading.finish().await.map_err(crate::trouble)?;
        if !fired.is_empty() {
            bail!("an alert fired before a trade was read");
        }
        for owned in owned.values_mut() {
            owned.partition.settle();
            owned.told(&cursor);
        }
        let armed: usize = owned.values().map(|owned| owned.partition.armed()).sum();
        let seconds = began.elapsed().as_secs_f64();
        let from_snapshots = partitions.len() - others.len();
        tracing::info!(?partitions, armed, rows = alerts, from_snapshots, seconds, "loaded");
        Ok(Loaded { owned, cursor })
    }

    /// By partition: what its snapshot holds.
    async fn kept(
        &self,
        checkpoints: BTreeMap<i32, Checkpoint>,
        remembered: Vec<(i32, uuid::Uuid)>,
    ) -> anyhow::Result<Vec<(i32, Kept)>> {
        let Some(snapshots) = self.snapshots.clone() else { return Ok(Vec::new()) };
        let (log, topic) = (self.log.clone(), Arc::clone(&self.topic));
        let opening = move || {
            let mut kept = Vec::new();
            for (number, checkpoint) in checkpoints {
                let (low, _) = topic.bounds(number)?;
                let opened = snapshots.open(&log, number, &checkpoint, &remembered, low);
                kept.extend(opened.map(|opened| (number, opened)));
            }
            Ok(kept)
        };
        tokio::task::spawn_blocking(opening).await.context("opening snapshots panicked")?
    }
}
