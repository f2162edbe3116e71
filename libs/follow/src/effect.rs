use std::collections::HashMap;

use market::{AnotherLog, Place};

use crate::{Batch, Known};

/// By partition, the last record of some stretch of the log.
pub type Places = Vec<(i32, Place)>;

/// How far partitions have come by what an effect did.
#[derive(Debug, Default)]
pub struct Progress {
    /// The last record of each up to which everything has had its effect.
    pub effected: Places,
    /// The same, for good: it is found again from what was stored. That may be behind. The group's
    /// offsets follow it.
    pub stored: Places,
}

/// What is done with the trades of the log: the processor writes Redis, the alert service fires.
///
/// Whatever an effect holds in memory can be dropped at any moment (`forget`) and is found again
/// from what it has stored. An error other than [`AnotherLog`] makes the follower do just that,
/// as often as it takes.
pub trait Effect: Send + 'static {
    /// What `/readyz` calls it: the server that it needs.
    const NAME: &'static str;

    /// What is stored of partitions that are to be begun.
    type Loaded: Send + 'static;

    /// Connects (again); everything held in memory was forgotten. May be dropped and called again
    /// at any time.
    fn connect(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Looks up what is stored of partitions, however long that takes: the others go on meanwhile,
    /// also where it fails and is tried again. May be dropped at any time.
    fn load(
        &self,
        partitions: &[i32],
    ) -> impl Future<Output = anyhow::Result<Self::Loaded>> + Send + 'static;

    /// How far each partition was followed; one that never was is absent. The record at each such
    /// place is looked at before anything of the log has an effect.
    fn places(loaded: &Self::Loaded) -> HashMap<i32, Place>;

    /// Makes these partitions its own with what was loaded since it connected. Afterwards `apply`
    /// is given their records from their places on. What was loaded of others is of no use: they
    /// were given back meanwhile, and may have been begun with a later load.
    fn begin(&mut self, loaded: Self::Loaded, partitions: &[i32]) -> anyhow::Result<()>;

    /// Symbols that were numbered since the last batch. With `anew` all numbers have a new
    /// meaning.
    fn know(&mut self, anew: bool, known: &[Known]);

    /// Has a batch take effect, or be about to: that goes on by itself then, and is told by a later
    /// `apply`, `work` or `end`.
    ///
    /// `None` where that takes long and goes on: it is called again with the same batch. Between
    /// two calls partitions may be begun, ended and forgotten, but nothing waits and works. Of what
    /// was forgotten meanwhile the batch names no place any more, and its trades are not to count.
    fn apply(
        &mut self,
        batch: &Batch,
    ) -> impl Future<Output = anyhow::Result<Option<Progress>>> + Send;

    /// Whether a small batch had better grow, since the last one is still about to have its effect. A
    /// large one may be given meanwhile.
    fn is_busy(&self) -> bool {
        false
    }

    /// Returns when the effect has something of its own to do, and at least once a second or so
    /// unless it is busy.
    /// May be dropped and called again at any time.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;

    /// Does what `wait` returned for.
    fn work(&mut self) -> impl Future<Output = anyhow::Result<Progress>> + Send;

    /// Before partitions are given back in good order: ends what is about to have its effect, and
    /// stores what would be missed.
    fn end(&mut self, partitions: &[i32]) -> impl Future<Output = anyhow::Result<Progress>> + Send;

    /// After the group has been left in good order: what may take a little longer.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Drops what is held of these partitions, or of all.
    fn forget(&mut self, partitions: Option<&[i32]>);

    /// Counts that everything had to be forgotten, by what made it so.
    fn count_failure(&self, trouble: &anyhow::Error);

    /// The log is not the one that the effect's store follows.
    fn another_log(&self, reason: String) -> AnotherLog;
}
