mod firing;
mod upkeep;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use follow::{Batch, Effect, Known, Places, Progress};
use market::{AnotherLog, Place, Symbol};
use service::catalogue;
use store::{Cursor, Log, News, Reader, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use triggers::{Firing, SymbolKey};

use self::firing::{UnderWay, ended};
use crate::expiry::Expiry;
use crate::loading::{Loaded, Loader};
use crate::meters::Meters;
use crate::owned::Owned;
use crate::tasks::Done;
use crate::{another_log, trouble};

/// What a crash costs at most: so much of the log is evaluated again, what was evaluated while the
/// checkpoint waited for firings ([`SETTLE_WITHIN`], and a transaction or two) and was being stored,
/// and the batch under way.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What waits for all that was found to be stored waits for so long while trades are evaluated; then
/// they wait for it. Mostly PostgreSQL has answered before, and nothing more was found.
const SETTLE_WITHIN: Duration = Duration::from_millis(100);

/// Firings that are stored at a time, and so many that evaluation does not run far ahead of them.
/// The group is heard between two times: what a dead instance had is taken over also while there is
/// more to fire than PostgreSQL takes.
const FIRINGS_A_STEP: usize = 5_000;

/// Every trade against the alerts of its symbol; what fires, to PostgreSQL.
pub(crate) struct AlertEffect {
    loader: Loader,
    brokers: String,
    /// Whether PostgreSQL answers, for whoever asks after our health.
    answers: watch::Sender<bool>,
    /// Tells the outbox.
    fired: Arc<Notify>,
    news: News,
    /// There is news that was not asked about.
    is_news: bool,
    /// `None` until connected, and while a task has it.
    reader: Option<Reader>,
    /// Changes of alerts were heeded up to a cursor, by partition and life.
    heeded: Vec<(Cursor, Vec<(i32, u64)>)>,
    owned: BTreeMap<i32, Owned>,
    lives: u64,
    /// By symbol number.
    symbols: Vec<Known>,
    /// By symbol number: its key in its partition, in that partition's life.
    keys: Vec<Option<(u64, SymbolKey)>>,
    /// A batch has begun to take effect, and that goes on.
    is_under_way: bool,
    /// How many of its trades were evaluated.
    evaluated: usize,
    /// Which partitions were given back since it began: their trades in it do not count, even
    /// where they have come again.
    given_back: Vec<i32>,
    /// What is to be fired, in the order of the log within each partition.
    found: VecDeque<Found>,
    /// What was found before it, on its way to PostgreSQL.
    firing: Option<UnderWay>,
    /// How far batches were evaluated, where what was found up to there is not known to be stored.
    reached: BTreeMap<i32, Place>,
    /// How far everything has had its effect, and that is not told of.
    effected: Places,
    tasks: JoinSet<anyhow::Result<Done>>,
    arrived: VecDeque<anyhow::Result<Done>>,
    /// Stored, and not told of.
    stored: Places,
    checkpoint_due: Instant,
    is_checkpointing: bool,
    /// Since when something waits for all that was found to be stored.
    settling_since: Option<Instant>,
    snapshot_every: Duration,
    /// The next snapshot, and of which partition the last one was.
    snapshot_due: Instant,
    snapshotted: i32,
    is_snapshotting: bool,
    expiry: Expiry,
    meters: Meters,
}

/// A firing that was found, and where.
struct Found {
    partition: i32,
    firing: Firing,
}

impl AlertEffect {
    pub(crate) fn new(
        loader: Loader,
        brokers: String,
        snapshot_every: Duration,
        answers: watch::Sender<bool>,
        fired: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            news: loader.store.news(),
            loader,
            brokers,
            answers,
            fired,
            is_news: false,
            reader: None,
            heeded: Vec::new(),
            owned: BTreeMap::new(),
            lives: 0,
            symbols: Vec::new(),
            keys: Vec::new(),
            is_under_way: false,
            evaluated: 0,
            given_back: Vec::new(),
            found: VecDeque::new(),
            firing: None,
            reached: BTreeMap::new(),
            effected: Places::new(),
            tasks: JoinSet::new(),
            arrived: VecDeque::new(),
            stored: Places::new(),
            checkpoint_due: now + CHECKPOINT_EVERY,
            is_checkpointing: false,
            settling_since: None,
            snapshot_every,
            snapshot_due: now + snapshot_every,
            snapshotted: -1,
            is_snapshotting: false,
            expiry: Expiry::new(now),
            meters: Meters::new(),
        }
    }

    fn store(&self) -> &Store {
        &self.loader.store
    }

    fn log(&self) -> &Log {
        &self.loader.log
    }

    /// Evaluates trades of a batch, in the order of the log: from where it was left, until enough
    /// is to be fired.
    fn evaluate(&mut self, batch: &Batch) {
        let mut fired = Vec::new();
        for gathered in &batch.trades[self.evaluated..] {
            if self.found.len() >= FIRINGS_A_STEP {
                return;
            }
            self.evaluated += 1;
            let number = gathered.symbol as usize;
            let Known { symbol, partition } = &self.symbols[number];
            // Given back meanwhile: whoever has it evaluates it, if that is us from its start.
            if self.given_back.contains(partition) {
                continue;
            }
            let Some(owned) = self.owned.get_mut(partition) else { continue };
            let key = match self.keys[number] {
                Some((life, key)) if life == owned.life => key,
                _ => match key_of(symbol, owned, &mut self.keys[number]) {
                    Some(key) => key,
                    None => continue,
                },
            };
            owned.partition.evaluate(key, &gathered.trade, gathered.sequence, &mut fired);
            let partition = *partition;
            self.found.extend(fired.drain(..).map(|firing| Found { partition, firing }));
        }
    }

    /// All of a batch was evaluated.
    fn advance(&mut self, batch: &Batch) {
        self.reached.extend(batch.places.iter().map(|(partition, place)| (*partition, *place)));
        for (partition, place) in &batch.places {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.partition.advance(place.offset + 1);
                // A group that was set back brings records from before.
                if owned.place.is_none_or(|at| at.offset < place.offset) {
                    owned.place = Some(*place);
                }
            }
        }
        self.is_under_way = false;
        self.evaluated = 0;
        self.given_back.clear();
    }

    /// What has had its effect or was stored, and was not told of.
    fn take_progress(&mut self) -> Progress {
        if self.is_stored() {
            self.effected.extend(std::mem::take(&mut self.reached));
        }
        let (effected, stored) = (&mut self.effected, &mut self.stored);
        Progress { effected: std::mem::take(effected), stored: std::mem::take(stored) }
    }

    /// Whether everything that was evaluated has had its effect, of whole batches: only then is it
    /// stored how far that was.
    fn is_settled(&self) -> bool {
        self.is_stored() && !self.is_under_way
    }

    /// Whether everything that was found is in PostgreSQL.
    fn is_stored(&self) -> bool {
        self.found.is_empty() && self.firing.is_none()
    }

    /// Does what waits for everything that was found to be stored, as far as it is.
    async fn do_what_is_due(&mut self) -> anyhow::Result<()> {
        if self.is_settled() {
            self.checkpoint_if_due();
        }
        while self.is_stored()
            && let Some(done) = self.arrived.pop_front()
        {
            self.heed(done?);
            self.go_on_firing().await?;
        }
        if !self.is_due() {
            self.settling_since = None;
        }
        Ok(())
    }

    /// Whether something waits for everything that was found to be stored.
    fn is_due(&self) -> bool {
        let checkpoint_is_due = !self.is_checkpointing && Instant::now() >= self.checkpoint_due;
        !self.arrived.is_empty() || checkpoint_is_due
    }

    /// Whether it has waited long enough.
    fn is_overdue(&mut self) -> bool {
        if !self.is_due() {
            self.settling_since = None;
            return false;
        }
        let now = Instant::now();
        now - *self.settling_since.get_or_insert(now) >= SETTLE_WITHIN
    }
}

#[cold]
fn key_of(
    symbol: &Symbol,
    owned: &mut Owned,
    remembered: &mut Option<(u64, SymbolKey)>,
) -> Option<SymbolKey> {
    let key = owned.partition.intern(symbol.as_str())?;
    *remembered = Some((owned.life, key));
    Some(key)
}

impl Effect for AlertEffect {
    const NAME: &'static str = "postgresql";

    type Loaded = Loaded;

    async fn connect(&mut self) -> anyhow::Result<()> {
        let Log { topic, partitions, .. } = self.log();
        let log = self.store().follow(topic, *partitions).await.map_err(trouble)?;
        if log.id != self.log().id {
            let reason = "it was told to follow it anew; start again".to_owned();
            return Err(another_log(topic, reason).into());
        }
        self.reader = Some(self.store().reader().await.map_err(trouble)?);
        self.answers.send_replace(true);
        Ok(())
    }

    fn load(
        &self,
        partitions: &[i32],
    ) -> impl Future<Output = anyhow::Result<Loaded>> + Send + 'static {
        self.loader.clone().load(partitions.to_vec())
    }

    fn places(loaded: &Loaded) -> HashMap<i32, Place> {
        let of = |(number, owned): (&i32, &Owned)| Some((*number, owned.place?));
        loaded.owned.iter().filter_map(of).collect()
    }

    fn begin(&mut self, loaded: Loaded, partitions: &[i32]) -> anyhow::Result<()> {
        let Loaded { mut owned, cursor } = loaded;
        owned.retain(|number, _| partitions.contains(number));
        for owned in owned.values_mut() {
            self.lives += 1;
            owned.life = self.lives;
        }
        let of = owned.iter().map(|(number, owned)| (*number, owned.life)).collect();
        // What has changed since the load is asked about at once.
        self.heeded.push((cursor, of));
        self.is_news = true;
        self.owned.extend(owned);
        self.rewind();
        self.reconcile_if_due();
        Ok(())
    }

    fn know(&mut self, anew: bool, known: &[Known]) {
        if anew {
            self.symbols.clear();
            self.keys.clear();
        }
        self.symbols.extend_from_slice(&known[self.symbols.len()..]);
        self.keys.resize(self.symbols.len(), None);
    }

    /// Dead letters are the processor's to bury: here they decide nothing.
    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Option<Progress>> {
        // What was found before does not wait for this batch to be evaluated, nor does what is due
        // where all of it is stored: once more is found, it would wait for that.
        self.go_on_firing().await?;
        if !self.is_under_way {
            self.do_what_is_due().await?;
        }
        if !std::mem::replace(&mut self.is_under_way, true) || self.evaluated < batch.trades.len() {
            self.evaluate(batch);
            if self.evaluated == batch.trades.len() {
                self.meters.count(batch);
            }
        }
        if self.evaluated < batch.trades.len() || self.found.len() >= FIRINGS_A_STEP {
            self.await_firing().await?;
            self.begin_to_fire();
            return Ok(None);
        }
        self.advance(batch);
        // While batches come one after the other, nobody waits for what the tasks have done.
        while let Some(done) = self.tasks.try_join_next() {
            self.arrived(done.context("a task panicked").flatten());
        }
        self.work().await.map(Some)
    }

    async fn wait(&mut self) {
        let is_firing = self.firing.is_some();
        let is_more = !self.found.is_empty() || !self.arrived.is_empty();
        if is_more && !is_firing {
            return;
        }
        tokio::select! {
            () = ended(&mut self.firing), if is_firing => {}
            () = self.news.next(), if self.reader.is_some() => self.is_news = true,
            Some(done) = self.tasks.join_next() => {
                self.arrived(done.context("a task panicked").flatten());
            }
            () = sleep_until(self.checkpoint_due), if !self.is_checkpointing && !is_firing => {}
        }
    }

    async fn work(&mut self) -> anyhow::Result<Progress> {
        match self.is_overdue() {
            true => self.fire().await?,
            false => self.go_on_firing().await?,
        }
        self.do_what_is_due().await?;
        self.is_news |= self.news.is_due();
        self.reconcile_if_due();
        if self.is_settled() {
            self.look_for_expired_if_due();
        }
        Ok(self.take_progress())
    }

    async fn end(&mut self, partitions: &[i32]) -> anyhow::Result<Progress> {
        // A later one relies on what the one under way says of alerts.
        while self.is_checkpointing {
            match self.tasks.join_next().await.context("no task")?.context("a task panicked")?? {
                Done::Checkpointed(places, _) => self.checkpointed(places),
                done => self.arrived.push_back(Ok(done)),
            }
        }
        self.fire().await?;
        // While there is more to fire nothing is stored: whoever is next evaluates it again, and what
        // was fired is not fired a second time.
        if self.is_settled()
            && let Some(checkpoint) = self.checkpoint(partitions)
            && let Done::Checkpointed(places, _) = checkpoint.await?
        {
            self.checkpointed(places);
        }
        Ok(self.take_progress())
    }

    async fn close(&mut self) {
        // A snapshot says of what was found that it has fired.
        if !self.is_settled() {
            return;
        }
        let settled = |(number, owned): (&i32, &Owned)| Some((*number, owned.settled()?));
        let settled: Vec<_> = self.owned.iter().filter_map(settled).collect();
        for (number, (place, cursor)) in settled {
            if let Some(job) = self.snapshot(number, place, cursor)
                && let Err(error) = job.run().await
            {
                tracing::warn!("no snapshot: {error:#}");
                return;
            }
        }
    }

    fn forget(&mut self, partitions: Option<&[i32]>) {
        match partitions {
            Some(partitions) => {
                self.owned.retain(|number, _| !partitions.contains(number));
                self.found.retain(|found| !partitions.contains(&found.partition));
                self.reached.retain(|partition, _| !partitions.contains(partition));
                let under_way = self.firing.as_mut().map(|firing| &mut firing.places);
                for places in [Some(&mut self.effected), under_way].into_iter().flatten() {
                    places.retain(|(partition, _)| !partitions.contains(partition));
                }
                if self.is_under_way {
                    self.given_back.extend(partitions);
                }
            }
            None => {
                self.owned.clear();
                self.heeded.clear();
                self.tasks = JoinSet::new();
                self.arrived.clear();
                self.found.clear();
                // It may yet store what it has: that is found again, and admitted once.
                self.firing = None;
                self.reached.clear();
                self.effected.clear();
                self.given_back.clear();
                self.evaluated = 0;
                self.is_under_way = false;
                self.stored.clear();
                self.reader = None;
                (self.is_checkpointing, self.is_snapshotting) = (false, false);
                self.settling_since = None;
                self.expiry.end();
            }
        }
    }

    fn count_failure(&self, trouble: &anyhow::Error) {
        let reason = if trouble.is::<StoreError>() {
            self.answers.send_replace(false);
            "postgresql"
        } else {
            "kafka"
        };
        catalogue::RESETS.with("reason", reason).counter().increment(1);
    }

    fn another_log(&self, reason: String) -> AnotherLog {
        another_log(&self.log().topic, reason)
    }
}

#[cfg(test)]
mod tests;
