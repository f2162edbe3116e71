//! Looking up what is stored of partitions, beside everything else.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use broker::Consumer;
use tokio::task::JoinSet;

/// What was looked up of partitions.
#[derive(Debug)]
pub(crate) struct Found<L> {
    pub(crate) partitions: Vec<i32>,
    /// What the effect's store has of them.
    pub(crate) loaded: L,
    /// How many the topic has.
    pub(crate) of: i32,
    /// The group's offset, and the log's bounds.
    pub(crate) known: Vec<(i32, Option<i64>, (i64, i64))>,
}

/// Look-ups under way. A partition that was given back meanwhile waits for none any more, even if
/// it has come again.
#[derive(Debug)]
pub(crate) struct Loads<L> {
    tasks: JoinSet<(u64, anyhow::Result<Found<L>>)>,
    /// By partition, the number of the look-up that it waits for.
    waits: BTreeMap<i32, u64>,
    last: u64,
}

impl<L: Send + 'static> Loads<L> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), waits: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn begin(
        &mut self,
        partitions: Vec<i32>,
        consumer: &Arc<Consumer>,
        load: impl Future<Output = anyhow::Result<L>> + Send + 'static,
    ) {
        self.last += 1;
        let number = self.last;
        self.waits.extend(partitions.iter().map(|partition| (*partition, number)));
        let looking = look_up(partitions, Arc::clone(consumer), load);
        self.tasks.spawn(async move { (number, looking.await) });
    }

    /// These partitions are not to be begun any more.
    pub(crate) fn forget(&mut self, partitions: &[i32]) {
        self.waits.retain(|partition, _| !partitions.contains(partition));
    }

    pub(crate) fn forget_all(&mut self) {
        self.tasks = JoinSet::new();
        self.waits.clear();
    }

    /// The next look-up that has ended, and which of its partitions still wait for it. Pending
    /// while there is none; may be dropped and called again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(Found<L>, Vec<i32>)> {
        loop {
            let Some(ended) = self.tasks.join_next().await else {
                return std::future::pending().await;
            };
            let (number, found) = ended.context("a look-up panicked")?;
            let waiting: Vec<i32> = self
                .waits
                .extract_if(.., |_, waits_for| *waits_for == number)
                .map(|(partition, _)| partition)
                .collect();
            if !waiting.is_empty() {
                return Ok((found?, waiting));
            }
        }
    }
}

pub(crate) async fn look_up<L>(
    partitions: Vec<i32>,
    consumer: Arc<Consumer>,
    load: impl Future<Output = anyhow::Result<L>>,
) -> anyhow::Result<Found<L>> {
    let loaded = load.await?;
    // These look-ups block.
    let looking = move || {
        let of = consumer.partitions()?;
        let committed = consumer.committed(&partitions)?;
        let bounds = |(partition, committed): (i32, Option<i64>)| {
            Ok((partition, committed, consumer.bounds(partition)?))
        };
        let known = committed.into_iter().map(bounds).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::Ok((partitions, of, known))
    };
    let looked = tokio::task::spawn_blocking(looking);
    let (partitions, of, known) = looked.await.context("a look-up panicked")??;
    Ok(Found { partitions, loaded, of, known })
}
