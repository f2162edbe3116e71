use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use follow::{Batch, Effect, Known, Places};
use market::{AnotherLog, Place, Symbol};
use service::catalogue;
use store::{Cursor, Log, NewFiring, News, Reader, Store, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use triggers::{Firing, Partition, SymbolKey};

use crate::another_log;
use crate::behind::{Rewound, Stretch, read_again};
use crate::meters::Meters;
use crate::owned::{Late, Owned, Rewinding};

/// What a crash costs at most: so much of the log is evaluated again.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Every trade against the alerts of its symbol; what fires, to PostgreSQL.
pub(crate) struct AlertEffect {
    store: Store,
    log: Log,
    brokers: String,
    /// Whether PostgreSQL answers, for whoever asks after our health.
    answers: watch::Sender<bool>,
    /// Tells the outbox.
    fired: Arc<Notify>,
    news: News,
    /// `None` until connected.
    reader: Option<Reader>,
    /// Changes of alerts were heeded up to here, by this reader.
    cursor: Option<Cursor>,
    owned: BTreeMap<i32, Owned>,
    /// By symbol number.
    symbols: Vec<Known>,
    /// By symbol number: its key in its partition, in that partition's life.
    keys: Vec<Option<(u64, SymbolKey)>>,
    lives: u64,
    rewinds: UnboundedSender<Rewound>,
    rewound: UnboundedReceiver<Rewound>,
    arrived: Vec<Rewound>,
    checkpoint_due: Instant,
    meters: Meters,
}

/// A firing that was found, and where.
struct Found {
    partition: i32,
    firing: Firing,
}

impl AlertEffect {
    pub(crate) fn new(
        store: Store,
        log: Log,
        brokers: String,
        answers: watch::Sender<bool>,
        fired: Arc<Notify>,
    ) -> Self {
        let (rewinds, rewound) = unbounded_channel();
        Self {
            news: store.news(),
            store,
            log,
            brokers,
            answers,
            fired,
            reader: None,
            cursor: None,
            owned: BTreeMap::new(),
            symbols: Vec::new(),
            keys: Vec::new(),
            lives: 0,
            rewinds,
            rewound,
            arrived: Vec::new(),
            checkpoint_due: Instant::now() + CHECKPOINT_EVERY,
            meters: Meters::new(),
        }
    }

    /// Evaluates the trades of a batch, in the order of the log.
    fn evaluate(&mut self, batch: &Batch) -> Vec<Found> {
        let (mut found, mut fired) = (Vec::new(), Vec::new());
        for gathered in &batch.trades {
            let number = gathered.symbol as usize;
            let Known { symbol, partition } = &self.symbols[number];
            // Given back meanwhile: whoever has it evaluates it.
            let Some(owned) = self.owned.get_mut(partition) else { continue };
            let key = match self.keys[number] {
                Some((life, key)) if life == owned.life => key,
                _ => key_of(symbol, owned, &mut self.keys[number]),
            };
            owned.partition.evaluate(key, &gathered.trade, gathered.sequence, &mut fired);
            found.extend(fired.drain(..).map(|firing| Found { partition: *partition, firing }));
        }
        for (partition, place) in &batch.places {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.partition.advance(place.offset + 1);
                // A group that was set back brings records from before.
                if owned.place.is_none_or(|at| at.offset < place.offset) {
                    owned.place = Some(*place);
                }
            }
        }
        found
    }

    /// Once it returns, the firings are in PostgreSQL, each once.
    async fn fire(&self, found: &[Found]) -> anyhow::Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let firings: Vec<NewFiring> = found
            .iter()
            .map(|Found { partition, firing }| NewFiring {
                alert_id: firing.id.0,
                generation: firing.generation,
                price: firing.price,
                trade_time: firing.timestamp,
                partition: *partition,
                sequence: firing.sequence,
                received_at: firing.received_at,
            })
            .collect();
        let began = Instant::now();
        let admitted = self.store.fire(&self.log, &firings).await.map_err(trouble)?;
        self.fired.notify_one();
        self.meters.commit_seconds.record(began.elapsed().as_secs_f64());
        self.meters.admitted.increment(admitted.len() as u64);
        self.meters.refused.increment((firings.len() - admitted.len()) as u64);
        self.meters.count_fired(found.iter().map(|found| found.firing.received_at));
        Ok(())
    }

    /// Heeds what has changed of the alerts since the last time.
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<i32> = self.owned.keys().copied().collect();
        let Some(cursor) = self.cursor.clone().filter(|_| !partitions.is_empty()) else {
            return Ok(());
        };
        let (owned, mut found, mut fired) = (&mut self.owned, Vec::new(), Vec::new());
        let heed = |row: store::AlertState| {
            if let Some(owned) = owned.get_mut(&row.partition) {
                owned.heed(&row, &mut fired);
                found.extend(
                    fired.drain(..).map(|firing| Found { partition: row.partition, firing }),
                );
            }
        };
        let reader = self.reader.as_mut().context("not connected to PostgreSQL")?;
        let next = reader.changes(&self.log, &partitions, &cursor, heed).await;
        let next = next.map_err(trouble)?;
        self.fire(&found).await?;
        self.owned.values_mut().for_each(|owned| owned.told(&next));
        self.cursor = Some(next);
        self.rewind().await
    }

    /// Begins to read the log again where alerts came too late for the recent trades.
    async fn rewind(&mut self) -> anyhow::Result<()> {
        let (mut begun, mut found, mut fired) = (Vec::new(), Vec::new(), Vec::new());
        for (number, owned) in &mut self.owned {
            if let Some((back, Late(alerts))) = owned.rewind(&mut fired) {
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
            found.extend(fired.drain(..).map(|firing| Found { partition: *number, firing }));
        }
        for (number, back, stop) in begun {
            self.read_again(number, back, stop);
        }
        self.fire(&found).await
    }

    fn read_again(&self, number: i32, back: Partition, stop: CancellationToken) {
        let Some(owned) = self.owned.get(&number) else { return };
        let stretch = Stretch {
            brokers: self.brokers.clone(),
            topic: self.log.topic.clone(),
            partitions: self.log.partitions,
            partition: number,
            to: owned.partition.next_offset().unwrap_or(0),
            life: owned.life,
        };
        read_again(stretch, back, stop, self.rewinds.clone());
    }

    /// Takes over what was found in the past.
    async fn absorb(&mut self, rewound: Rewound) -> anyhow::Result<()> {
        let Rewound { partition, life, outcome } = rewound;
        let Some(owned) = self.owned.get_mut(&partition).filter(|owned| owned.life == life) else {
            return Ok(());
        };
        let (mut back, mut fired) = outcome?;
        let stop = owned.rewinding.as_ref().map(|rewinding| rewinding.stop.clone());
        let caught_up = owned.absorb(&mut back, &mut fired);
        let found: Vec<Found> =
            fired.into_iter().map(|firing| Found { partition, firing }).collect();
        if let Some(stop) = stop.filter(|_| !caught_up) {
            self.read_again(partition, back, stop);
        }
        self.fire(&found).await
    }

    /// Stores how far these partitions were evaluated; returns that.
    async fn checkpoint(&mut self, partitions: &[i32]) -> anyhow::Result<Places> {
        let ours = |(number, _): &(&i32, &Owned)| partitions.contains(number);
        let due: Vec<_> = self
            .owned
            .iter()
            .filter(ours)
            .filter_map(|(number, owned)| owned.checkpoint(*number))
            .collect();
        if due.is_empty() {
            return Ok(Places::new());
        }
        self.store.checkpoint(&self.log, &due).await.map_err(trouble)?;
        self.meters.checkpoints.increment(1);
        let places: Places = due.iter().map(|due| (due.partition, due.place)).collect();
        for (number, place) in &places {
            if let Some(owned) = self.owned.get_mut(number) {
                owned.stored(*place);
            }
        }
        Ok(places)
    }

    async fn checkpoint_if_due(&mut self) -> anyhow::Result<Places> {
        if Instant::now() < self.checkpoint_due {
            return Ok(Places::new());
        }
        let all: Vec<i32> = self.owned.keys().copied().collect();
        let places = self.checkpoint(&all).await?;
        self.checkpoint_due = Instant::now() + CHECKPOINT_EVERY;
        let partitions = self.owned.values().map(|owned| &owned.partition);
        let (armed, bytes) = partitions.fold((0, 0), |(armed, bytes), partition| {
            (armed + partition.armed(), bytes + partition.bytes())
        });
        self.meters.armed.set(armed as f64);
        self.meters.bytes.set(bytes as f64);
        Ok(places)
    }
}

#[cold]
fn key_of(
    symbol: &Symbol,
    owned: &mut Owned,
    remembered: &mut Option<(u64, SymbolKey)>,
) -> SymbolKey {
    let key = owned.partition.intern(symbol.as_str());
    *remembered = Some((owned.life, key));
    key
}

/// The follower looks for [`AnotherLog`] itself.
fn trouble(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::AnotherLog(error) => error.into(),
        error => error.into(),
    }
}

impl Effect for AlertEffect {
    const NAME: &'static str = "postgresql";

    async fn connect(&mut self) -> anyhow::Result<()> {
        let Log { topic, partitions, .. } = &self.log;
        let log = self.store.follow(topic, *partitions).await.map_err(trouble)?;
        if log.id != self.log.id {
            let reason = "it was told to follow it anew; start again".to_owned();
            return Err(another_log(topic, reason).into());
        }
        self.reader = Some(self.store.reader().await.map_err(trouble)?);
        self.answers.send_replace(true);
        Ok(())
    }

    async fn begin(&mut self, partitions: &[i32]) -> anyhow::Result<HashMap<i32, Place>> {
        let stored = self.store.checkpoints(&self.log, partitions).await.map_err(trouble)?;
        let mut stored: HashMap<i32, _> =
            stored.into_iter().map(|checkpoint| (checkpoint.partition, checkpoint)).collect();
        let mut begun = BTreeMap::new();
        for number in partitions {
            self.lives += 1;
            begun.insert(*number, Owned::new(*number, stored.remove(number), self.lives));
        }
        let began = Instant::now();
        let (mut alerts, mut fired) = (0_u64, Vec::new());
        let heed = |row: store::AlertState| {
            if let Some(owned) = begun.get_mut(&row.partition) {
                owned.heed(&row, &mut fired);
                alerts += 1;
            }
        };
        let reader = self.reader.as_mut().context("not connected to PostgreSQL")?;
        let cursor = reader.armed(&self.log, partitions, heed).await.map_err(trouble)?;
        if !fired.is_empty() {
            bail!("an alert fired before a trade was read");
        }
        tracing::info!(alerts, seconds = began.elapsed().as_secs_f64(), "loaded");
        begun.values_mut().for_each(|owned| owned.told(&cursor));
        // Where others are ours already, their older cursor serves all.
        self.cursor.get_or_insert(cursor);
        let places =
            begun.iter().filter_map(|(number, owned)| Some((*number, owned.place?))).collect();
        self.owned.extend(begun);
        self.rewind().await?;
        Ok(places)
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
    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Places> {
        let found = self.evaluate(batch);
        self.meters.count(batch);
        self.fire(&found).await?;
        self.checkpoint_if_due().await
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.news.next() => {}
            Some(rewound) = self.rewound.recv() => self.arrived.push(rewound),
        }
    }

    async fn work(&mut self) -> anyhow::Result<Places> {
        for rewound in std::mem::take(&mut self.arrived) {
            self.absorb(rewound).await?;
        }
        self.reconcile().await?;
        self.checkpoint_if_due().await
    }

    async fn end(&mut self, partitions: &[i32]) -> anyhow::Result<Places> {
        self.checkpoint(partitions).await
    }

    fn forget(&mut self, partitions: Option<&[i32]>) {
        match partitions {
            Some(partitions) => {
                self.owned.retain(|number, _| !partitions.contains(number));
            }
            None => self.owned.clear(),
        }
        if self.owned.is_empty() {
            self.cursor = None;
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
        another_log(&self.log.topic, reason)
    }
}
