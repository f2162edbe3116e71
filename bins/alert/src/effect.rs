use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use follow::{Batch, Effect, Known, Places};
use market::{AnotherLog, Place, Symbol};
use service::catalogue;
use store::{
    Checkpoint, Cursor, Expiring, Log, NewFiring, News, Reader, Status, Store, StoreError,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use triggers::{Firing, Partition, SymbolKey};
use uuid::Uuid;

use crate::behind::{Rewound, Stretch, read_again};
use crate::expiry::Expiry;
use crate::loading::{Loaded, Loader};
use crate::meters::Meters;
use crate::owned::{Owned, Rewinding};
use crate::snapshots::Of;
use crate::tasks::{self, Done, SnapshotJob};
use crate::{another_log, trouble};

/// What a crash costs at most: so much of the log is evaluated again, what was evaluated while the
/// checkpoint was being stored, and the batch under way.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

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
    tasks: JoinSet<anyhow::Result<Done>>,
    arrived: VecDeque<anyhow::Result<Done>>,
    /// Stored, and not told of.
    stored: Places,
    checkpoint_due: Instant,
    is_checkpointing: bool,
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
            tasks: JoinSet::new(),
            arrived: VecDeque::new(),
            stored: Places::new(),
            checkpoint_due: now + CHECKPOINT_EVERY,
            is_checkpointing: false,
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

    /// Whether everything that was evaluated has had its effect, of whole batches: only then is it
    /// stored how far that was.
    fn is_settled(&self) -> bool {
        self.found.is_empty() && !self.is_under_way
    }

    /// Once it returns, the first of what was found are in PostgreSQL, each once: so many that
    /// whoever waits need not wait long.
    async fn fire(&mut self) -> anyhow::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let step = self.found.len().min(FIRINGS_A_STEP);
        let firings: Vec<NewFiring> = self
            .found
            .iter()
            .take(step)
            .map(|Found { partition, firing }| NewFiring {
                alert_id: firing.id.0,
                version: firing.version,
                price: firing.price,
                reference: firing.reference,
                trade_time: firing.timestamp,
                partition: *partition,
                sequence: firing.sequence,
                received_at: firing.received_at,
            })
            .collect();
        let began = Instant::now();
        let admitted = self.store().fire(self.log(), &firings).await.map_err(trouble)?;
        self.fired.notify_one();
        self.meters.commit_seconds.record(began.elapsed().as_secs_f64());
        self.meters.admitted.increment(admitted.len() as u64);
        self.meters.refused.increment((firings.len() - admitted.len()) as u64);
        self.meters.count_fired(self.found.drain(..step).map(|found| found.firing.received_at));
        Ok(())
    }

    /// A task has ended. What it has made possible may have to wait until what was found is stored.
    fn arrived(&mut self, done: anyhow::Result<Done>) {
        match done {
            Ok(Done::Checkpointed(places, job)) => {
                self.checkpointed(places);
                if let Some(job) = job {
                    self.is_snapshotting = true;
                    self.tasks.spawn(job.run());
                }
            }
            done => self.arrived.push_back(done),
        }
    }

    /// Does what a task has made possible.
    fn heed(&mut self, done: Done) {
        match done {
            Done::Reconciled(news) => self.heed_news(*news),
            Done::Checkpointed(places, _) => self.checkpointed(places),
            Done::Snapshotted => self.is_snapshotting = false,
            Done::Expiring(expiring) => self.expire(expiring),
            Done::Rewound(rewound) => self.absorb(*rewound),
            Done::Expired => self.expiry.end(),
            Done::Nothing => {}
        }
    }

    /// Asks what has changed of the alerts since the last time.
    fn reconcile_if_due(&mut self) {
        let ours = |(number, life): &(i32, u64)| {
            self.owned.get(number).is_some_and(|owned| owned.life == *life)
        };
        self.heeded.retain_mut(|(_, of)| {
            of.retain(ours);
            !of.is_empty()
        });
        if !self.is_news || self.heeded.is_empty() {
            return;
        }
        if let Some(reader) = self.reader.take() {
            self.is_news = false;
            let asked = std::mem::take(&mut self.heeded);
            self.tasks.spawn(tasks::reconcile(reader, self.log().clone(), asked));
        }
    }

    fn heed_news(&mut self, news: tasks::News) {
        let tasks::News { reader, of, rows, cursor } = news;
        self.reader = Some(reader);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let mut fired = Vec::new();
        for row in rows {
            let number = row.partition;
            let life = of.iter().find(|(asked, _)| *asked == number).map(|(_, life)| *life);
            let Some(owned) = self.owned.get_mut(&number).filter(|owned| life == Some(owned.life))
            else {
                continue;
            };
            owned.heed(&row, &mut fired);
            let found = fired.drain(..).map(|firing| Found { partition: number, firing });
            self.found.extend(found);
            if row.status == Status::Active {
                self.meters.heard.record((now - row.changed_at).max(0) as f64 / 1e6);
            }
        }
        for (number, life) in &of {
            if let Some(owned) = self.owned.get_mut(number).filter(|owned| owned.life == *life) {
                owned.told(&cursor);
            }
        }
        self.heeded.push((cursor, of));
        self.rewind();
    }

    /// Begins to read the log again where alerts came too late for the recent trades.
    fn rewind(&mut self) {
        let mut begun = Vec::new();
        for (number, owned) in &mut self.owned {
            if let Some((back, alerts)) = owned.rewind() {
                self.meters.rewound.increment(alerts.len() as u64);
                let stop = CancellationToken::new();
                let guard = stop.clone().drop_guard();
                owned.rewinding = Some(Rewinding {
                    alerts,
                    disarmed: Vec::new(),
                    stop: stop.clone(),
                    _guard: guard,
                });
                begun.push((*number, back, stop));
            }
        }
        for (number, back, stop) in begun {
            self.read_again(number, back, stop);
        }
    }

    fn read_again(&mut self, number: i32, back: Partition, stop: CancellationToken) {
        let Some(owned) = self.owned.get(&number) else { return };
        let stretch = Stretch {
            brokers: self.brokers.clone(),
            topic: self.log().topic.clone(),
            partitions: self.log().partitions,
            partition: number,
            to: owned.partition.next_offset().unwrap_or(0),
            life: owned.life,
        };
        self.tasks.spawn_blocking(move || {
            let rewound = read_again(&stretch, back, &stop);
            Ok(rewound.map_or(Done::Nothing, |rewound| Done::Rewound(Box::new(rewound))))
        });
    }

    /// Takes over what was found in the past.
    fn absorb(&mut self, rewound: Rewound) {
        let Rewound { partition, life, mut back, mut fired } = rewound;
        let Some(owned) = self.owned.get_mut(&partition).filter(|owned| owned.life == life) else {
            return;
        };
        let stop = owned.rewinding.as_ref().map(|rewinding| rewinding.stop.clone());
        let caught_up = owned.absorb(&mut back, &mut fired);
        self.found.extend(fired.into_iter().map(|firing| Found { partition, firing }));
        if let Some(stop) = stop.filter(|_| !caught_up) {
            self.read_again(partition, back, stop);
        }
    }

    /// Begins to store how far everything was evaluated.
    fn checkpoint_if_due(&mut self) {
        if self.is_checkpointing || Instant::now() < self.checkpoint_due {
            return;
        }
        self.checkpoint_due = Instant::now() + CHECKPOINT_EVERY;
        self.tell_size();
        let all: Vec<i32> = self.owned.keys().copied().collect();
        if let Some(checkpoint) = self.checkpoint(&all) {
            self.is_checkpointing = true;
            self.tasks.spawn(checkpoint);
        }
    }

    /// Stores how far partitions were evaluated. `None` where that is stored already.
    fn checkpoint(
        &mut self,
        partitions: &[i32],
    ) -> Option<impl Future<Output = anyhow::Result<Done>> + Send + 'static> {
        let (mut due, mut progress) = (Vec::new(), Vec::new());
        for (number, owned) in &mut self.owned {
            if partitions.contains(number) {
                progress.extend(owned.partition.take_progress());
                due.extend(owned.checkpoint(*number));
            }
        }
        let job = self.snapshot_if_due(&due);
        let is_due = !due.is_empty() || !progress.is_empty();
        let (store, log) = (self.store().clone(), self.log().clone());
        is_due.then(|| tasks::checkpoint(store, log, progress, due, job))
    }

    fn checkpointed(&mut self, places: Places) {
        self.is_checkpointing = false;
        self.meters.checkpoints.increment(1);
        for (number, place) in &places {
            if let Some(owned) = self.owned.get_mut(number) {
                owned.stored(*place);
            }
        }
        self.stored.extend(places);
    }

    fn tell_size(&self) {
        let partitions = self.owned.values().map(|owned| &owned.partition);
        let (armed, bytes) = partitions.fold((0, 0), |(armed, bytes), partition| {
            (armed + partition.armed(), bytes + partition.bytes())
        });
        self.meters.armed.set(armed as f64);
        self.meters.bytes.set(bytes as f64);
    }

    /// A snapshot of one of the partitions of which a checkpoint is about to be stored: each has
    /// its turn once in the period.
    fn snapshot_if_due(&mut self, checkpoints: &[Checkpoint]) -> Option<Box<SnapshotJob>> {
        if self.is_snapshotting || Instant::now() < self.snapshot_due {
            return None;
        }
        let after = |checkpoint: &&Checkpoint| checkpoint.partition > self.snapshotted;
        let next = checkpoints.iter().find(after).or(checkpoints.first())?;
        let partitions = u32::try_from(self.owned.len()).unwrap_or(u32::MAX).max(1);
        self.snapshot_due = Instant::now() + self.snapshot_every / partitions;
        self.snapshotted = next.partition;
        self.snapshot(next.partition, next.place, next.seen.clone()?)
    }

    fn snapshot(&self, partition: i32, place: Place, cursor: Cursor) -> Option<Box<SnapshotJob>> {
        Some(Box::new(SnapshotJob {
            store: self.store().clone(),
            snapshots: self.loader.snapshots.clone()?,
            of: Of { id: Uuid::now_v7(), log: self.log().id, partition, place, cursor },
            snapshot: self.owned.get(&partition)?.partition.snapshot(),
        }))
    }

    fn look_for_expired_if_due(&mut self) {
        if self.owned.is_empty() {
            return;
        }
        if let Some(from) = self.expiry.begin() {
            let all = self.owned.keys().copied().collect();
            let (store, log) = (self.store().clone(), self.log().clone());
            self.tasks.spawn(tasks::look_for_expired(store, log, all, from));
        }
    }

    /// Of alerts past their expiry by the clock, ends those that no trade can fire any more.
    fn expire(&mut self, mut expired: Vec<Expiring>) {
        self.expiry.looked_at(&expired);
        expired.retain(|alert| {
            self.owned.get(&alert.partition).is_some_and(|owned| owned.has_expired(alert))
        });
        if expired.is_empty() {
            self.expiry.end();
        } else {
            self.tasks.spawn(tasks::expire(self.store().clone(), expired));
        }
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
    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Option<Places>> {
        if !std::mem::replace(&mut self.is_under_way, true) || self.evaluated < batch.trades.len() {
            self.evaluate(batch);
            if self.evaluated == batch.trades.len() {
                self.meters.count(batch);
            }
        }
        self.fire().await?;
        if self.evaluated < batch.trades.len() || !self.found.is_empty() {
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
        if !self.found.is_empty() || !self.arrived.is_empty() {
            return;
        }
        tokio::select! {
            () = self.news.next(), if self.reader.is_some() => self.is_news = true,
            Some(done) = self.tasks.join_next() => {
                self.arrived(done.context("a task panicked").flatten());
            }
            () = sleep_until(self.checkpoint_due), if !self.is_checkpointing => {}
        }
    }

    async fn work(&mut self) -> anyhow::Result<Places> {
        self.fire().await?;
        if self.is_settled() {
            self.checkpoint_if_due();
        }
        // What they do is right once all that was found is stored.
        while self.found.is_empty()
            && let Some(done) = self.arrived.pop_front()
        {
            self.heed(done?);
            self.fire().await?;
        }
        self.is_news |= self.news.is_due();
        self.reconcile_if_due();
        if self.is_settled() {
            self.look_for_expired_if_due();
        }
        Ok(std::mem::take(&mut self.stored))
    }

    async fn end(&mut self, partitions: &[i32]) -> anyhow::Result<Places> {
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
        Ok(std::mem::take(&mut self.stored))
    }

    async fn close(&mut self) {
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
                self.given_back.clear();
                self.evaluated = 0;
                self.is_under_way = false;
                self.stored.clear();
                self.reader = None;
                (self.is_checkpointing, self.is_snapshotting) = (false, false);
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
mod tests {
    use broker::TopicReader;
    use follow::Gathered;
    use market::{Price, Sequence, Trade, Volume};
    use store::{DatabaseUrl, StoreMetrics};
    use triggers::{AlertId, Version};

    use super::*;

    /// On a Kafka and a PostgreSQL that it never asks.
    fn effect() -> AlertEffect {
        let url = DatabaseUrl::parse("postgres://nobody@127.0.0.1:1/none").expect("a URL");
        let topic = TopicReader::new("127.0.0.1:1", "none").expect("a reader");
        let loader = Loader {
            store: Store::new(&url, "test", StoreMetrics::noop()),
            log: Log { id: Uuid::now_v7(), topic: "none".into(), partitions: 2 },
            topic: Arc::new(topic),
            snapshots: None,
        };
        let every = Duration::from_secs(60);
        AlertEffect::new(loader, String::new(), every, watch::Sender::new(true), Arc::default())
    }

    fn loaded(partitions: &[i32]) -> Loaded {
        let owned = partitions.iter().map(|number| (*number, Owned::restored(*number, None)));
        Loaded { owned: owned.collect(), cursor: Cursor::parse("1:1:").expect("a cursor") }
    }

    #[tokio::test]
    async fn a_load_that_was_superseded_leaves_what_is_owned_alone() {
        let mut effect = effect();
        effect.begin(loaded(&[0]), &[0]).expect("begun");
        let life = effect.owned[&0].life;
        effect.begin(loaded(&[0, 1]), &[1]).expect("begun");
        assert_eq!(effect.owned.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(effect.owned[&0].life, life, "the later load's");
    }

    #[tokio::test]
    async fn what_comes_again_in_the_middle_of_a_batch_is_not_shown_the_rest_of_it() {
        let mut effect = effect();
        effect.begin(loaded(&[0, 1]), &[0, 1]).expect("begun");
        let symbol = |name, partition| Known { symbol: Symbol::new(name).expect("one"), partition };
        effect.know(true, &[symbol("A", 0), symbol("B", 1)]);
        let price = Price::new(1.0).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 1 };
        let mut batch = Batch::default();
        for symbol in [0, 1] {
            batch.trades.push(Gathered { symbol, sequence: Sequence::of_record(7), trade });
        }
        // What an earlier batch's tasks have found is still to be fired: none is evaluated yet.
        let firing = Firing {
            id: AlertId(1),
            version: Version { revision: 0, generation: 0 },
            price,
            reference: None,
            timestamp: 1,
            sequence: Sequence::default(),
            received_at: 1,
        };
        let found = |_| Found { partition: 1, firing };
        effect.found.extend((0..FIRINGS_A_STEP).map(found));
        effect.is_under_way = true;
        effect.evaluate(&batch);
        effect.forget(Some(&[0]));
        effect.begin(loaded(&[0]), &[0]).expect("begun");
        effect.found.clear();
        effect.evaluate(&batch);
        let newest = |effect: &AlertEffect, name| {
            effect.owned[&i32::from(name == "B")].partition.newest(name)
        };
        assert_eq!((newest(&effect, "A"), newest(&effect, "B")), (None, Some(1)));
        effect.advance(&batch);
        // What is read from its place on counts again.
        effect.is_under_way = true;
        effect.evaluate(&batch);
        assert_eq!(newest(&effect, "A"), Some(1));
    }
}
