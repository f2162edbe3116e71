use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::{NewAlert, Wish};

const LOOK_UP_PATIENCE: Duration = Duration::from_secs(10);

/// Where each partition of the log ends now.
pub trait EndOffsets: Send + Sync + 'static {
    /// The end of each of these partitions, read from the broker after this was called. May be
    /// called again before it has answered.
    fn end_offsets(
        &self,
        partitions: &BTreeSet<i32>,
    ) -> impl Future<Output = anyhow::Result<BTreeMap<i32, i64>>> + Send;
}

type LookUp =
    dyn Fn(BTreeSet<i32>) -> BoxFuture<'static, anyhow::Result<BTreeMap<i32, i64>>> + Send + Sync;

/// Says where new alerts begin to see trades. Cheap to clone.
#[derive(Clone)]
pub struct LogEnds(Arc<LookUp>);

impl fmt::Debug for LogEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogEnds")
    }
}

/// Why it is not known where the log ends.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot read where the log ends: {0}")]
pub struct EndUnknown(String);

impl LogEnds {
    pub fn new(ends: impl EndOffsets) -> Self {
        let ends = Arc::new(ends);
        Self(Arc::new(move |partitions| {
            let ends = Arc::clone(&ends);
            async move { ends.end_offsets(&partitions).await }.boxed()
        }))
    }

    /// Where one partition ends.
    ///
    /// # Errors
    /// [`EndUnknown`].
    pub async fn of(&self, partition: i32) -> Result<i64, EndUnknown> {
        let ends = self.look_up(BTreeSet::from([partition])).await?;
        of(&ends, partition)
    }

    /// Alerts as they are wished for, armed where their partitions end now.
    ///
    /// # Errors
    /// [`EndUnknown`].
    pub async fn arm<'a>(
        &self,
        wishes: impl Iterator<Item = &'a Wish> + Clone,
    ) -> Result<Vec<NewAlert>, EndUnknown> {
        let ends = self.look_up(wishes.clone().map(|wish| wish.partition).collect()).await?;
        let arm = |wish: &Wish| {
            let armed_offset = of(&ends, wish.partition)?;
            Ok(NewAlert { wish: wish.clone(), armed_offset })
        };
        wishes.map(arm).collect()
    }

    async fn look_up(&self, partitions: BTreeSet<i32>) -> Result<BTreeMap<i32, i64>, EndUnknown> {
        match timeout(LOOK_UP_PATIENCE, (self.0)(partitions)).await {
            Ok(ends) => ends.map_err(|error| EndUnknown(format!("{error:#}"))),
            Err(_) => Err(EndUnknown(format!("not within {LOOK_UP_PATIENCE:?}"))),
        }
    }
}

fn of(ends: &BTreeMap<i32, i64>, partition: i32) -> Result<i64, EndUnknown> {
    let end = ends.get(&partition).copied();
    end.ok_or_else(|| EndUnknown(format!("partition {partition} was left out")))
}
