//! Looking up what is stored of partitions, beside everything else.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use broker::{Consumer, fingerprints};
use market::Place;
use tokio::task::{AbortHandle, JoinSet};

use crate::Effect;

/// What was looked up of partitions.
#[derive(Debug)]
pub(crate) struct Found<L> {
    /// What the effect's store has of them.
    pub(crate) loaded: L,
    /// How far they were followed.
    pub(crate) places: HashMap<i32, Place>,
    pub(crate) log: FoundLog,
}

/// What the broker has of partitions.
#[derive(Debug)]
pub(crate) struct FoundLog {
    /// How many the topic has.
    pub(crate) of: i32,
    /// The group's offset, and the log's bounds.
    pub(crate) known: Vec<(i32, Option<i64>, (i64, i64))>,
    /// Why the log cannot be the one that they were followed on.
    pub(crate) another: Option<String>,
}

/// A look-up that has ended.
#[derive(Debug)]
pub(crate) struct Ended<F> {
    /// Those of its partitions that wait for it.
    pub(crate) waiting: Vec<i32>,
    pub(crate) found: anyhow::Result<F>,
}

/// Look-ups under way. A partition that was given back meanwhile waits for none any more, even if
/// it has come again; a look-up that nobody waits for is called off.
#[derive(Debug)]
pub(crate) struct Loads<F> {
    tasks: JoinSet<(u64, anyhow::Result<F>)>,
    /// By number.
    under_way: BTreeMap<u64, AbortHandle>,
    /// By partition, the number of the look-up that it waits for.
    waits: BTreeMap<i32, u64>,
    last: u64,
}

impl<F: Send + 'static> Loads<F> {
    pub(crate) fn new() -> Self {
        let (under_way, waits) = (BTreeMap::new(), BTreeMap::new());
        Self { tasks: JoinSet::new(), under_way, waits, last: 0 }
    }

    pub(crate) fn begin(
        &mut self,
        partitions: &[i32],
        looking: impl Future<Output = anyhow::Result<F>> + Send + 'static,
    ) {
        self.last += 1;
        let number = self.last;
        self.waits.extend(partitions.iter().map(|partition| (*partition, number)));
        let task = self.tasks.spawn(async move { (number, looking.await) });
        self.under_way.insert(number, task);
        self.call_off();
    }

    /// These partitions are not to be begun any more.
    pub(crate) fn forget(&mut self, partitions: &[i32]) {
        self.waits.retain(|partition, _| !partitions.contains(partition));
        self.call_off();
    }

    fn call_off(&mut self) {
        let waits = &self.waits;
        self.under_way.retain(|number, task| {
            let is_wanted = waits.values().any(|waits_for| waits_for == number);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
    }

    pub(crate) fn forget_all(&mut self) {
        self.tasks = JoinSet::new();
        self.under_way.clear();
        self.waits.clear();
    }

    /// The next look-up that has ended. Pending while there is none; may be dropped and called
    /// again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Ended<F>> {
        loop {
            let (number, found) = match self.tasks.join_next().await {
                None => return std::future::pending().await,
                Some(Err(error)) if error.is_cancelled() => continue,
                Some(ended) => ended.context("a look-up panicked")?,
            };
            self.under_way.remove(&number);
            let waiting: Vec<i32> = self
                .waits
                .extract_if(.., |_, waits_for| *waits_for == number)
                .map(|(partition, _)| partition)
                .collect();
            if !waiting.is_empty() {
                return Ok(Ended { waiting, found });
            }
        }
    }
}

/// Of which partitions, and whom to ask.
#[derive(Debug)]
pub(crate) struct LookUp {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) partitions: Vec<i32>,
}

impl LookUp {
    pub(crate) async fn run<E: Effect>(
        self,
        load: impl Future<Output = anyhow::Result<E::Loaded>>,
    ) -> anyhow::Result<Found<E::Loaded>> {
        let loaded = load.await?;
        let places = E::places(&loaded);
        let (looking, at) = (self, places.clone());
        // These look-ups block.
        let looking = tokio::task::spawn_blocking(move || looking.look(&at));
        let log = looking.await.context("a look-up panicked")??;
        Ok(Found { loaded, places, log })
    }

    fn look(&self, places: &HashMap<i32, Place>) -> anyhow::Result<FoundLog> {
        let of = self.consumer.partitions()?;
        let committed = self.consumer.committed(&self.partitions)?;
        let bounds = |(partition, committed): (i32, Option<i64>)| {
            Ok((partition, committed, self.consumer.bounds(partition)?))
        };
        let known = committed.into_iter().map(bounds).collect::<anyhow::Result<Vec<_>>>()?;
        let kept = |(partition, _, (low, high)): &(i32, Option<i64>, (i64, i64))| {
            let place = places.get(partition)?;
            (*low..*high).contains(&place.offset).then_some((*partition, *place))
        };
        let another = self.compare(&known.iter().filter_map(kept).collect())?;
        Ok(FoundLog { of, known, another })
    }

    /// Why the log is not the one that was followed to these places, if another record stands at
    /// one of them.
    fn compare(&self, places: &BTreeMap<i32, Place>) -> anyhow::Result<Option<String>> {
        if places.is_empty() {
            return Ok(None);
        }
        let offsets = places.iter().map(|(partition, place)| (*partition, place.offset));
        let found = fingerprints(&self.brokers, &self.topic, offsets.collect())?;
        let differs = |(partition, place): &(&i32, &Place)| {
            found.get(partition).is_some_and(|fingerprint| *fingerprint != place.fingerprint)
        };
        let another = places.iter().find(differs);
        Ok(another.map(|(partition, place)| another_record(*partition, place.offset)))
    }
}

pub(crate) fn another_record(partition: i32, offset: i64) -> String {
    format!("another record stands at {offset} of partition {partition}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;
    use tokio::sync::oneshot;

    use super::*;

    /// A look-up that ends when it is told.
    fn begin(loads: &mut Loads<&'static str>, partitions: &[i32]) -> oneshot::Sender<&'static str> {
        let (tell, told) = oneshot::channel();
        loads.begin(partitions, async { told.await.map_err(|_| anyhow!("it failed")) });
        tell
    }

    async fn next(loads: &mut Loads<&'static str>) -> (Vec<i32>, Option<&'static str>) {
        let Ended { waiting, found } = loads.next().await.expect("no panic");
        (waiting, found.ok())
    }

    #[tokio::test]
    async fn a_partition_that_came_again_waits_for_its_latest_load_alone() {
        let mut loads = Loads::new();
        let first = begin(&mut loads, &[0, 1]);
        loads.forget(&[0]);
        let second = begin(&mut loads, &[0]);
        second.send("second").expect("it is under way");
        assert_eq!(next(&mut loads).await, (vec![0], Some("second")));
        first.send("first").expect("it is under way");
        assert_eq!(next(&mut loads).await, (vec![1], Some("first")), "0 goes on with the second");
    }

    #[tokio::test]
    async fn a_load_that_nobody_waits_for_is_called_off() {
        let mut loads = Loads::new();
        let mut first = begin(&mut loads, &[0, 1]);
        loads.forget(&[0]);
        let second = begin(&mut loads, &[2]);
        loads.forget(&[1]);
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::join!(next(&mut loads), async {
                first.closed().await;
                second.send("second").expect("it is under way");
            })
        });
        let (ended, ()) = ended.await.expect("the first one ends");
        assert_eq!(ended, (vec![2], Some("second")));
    }

    #[tokio::test]
    async fn a_load_that_failed_says_for_whom() {
        let mut loads = Loads::new();
        let first = begin(&mut loads, &[0, 1]);
        loads.forget(&[0]);
        drop(first);
        assert_eq!(next(&mut loads).await, (vec![1], None));
    }
}
