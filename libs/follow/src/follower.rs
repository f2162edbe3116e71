use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Consumer, Start};
use market::{AnotherLog, Place};
use metrics::Gauge;
use service::{ReadyFlag, catalogue};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::gathering::{Batch, Event, Gathering};
use crate::lag::Lag;
use crate::loads::{Ended, Found, FoundLog, Loads, LookUp};
use crate::start::start_of;
use crate::{Effect, FollowSettings, Known, Places, Progress, batch_span, now};

const BACKOFF: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_secs(5);

/// While the effect is busy with the last batch, the next one is worth beginning with so many
/// trades: fewer had better become more.
const WORTH_BEGINNING: usize = 8_192;

/// Until a load that failed is begun again.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

/// Takes what has gathered and has it take effect; decides where each partition is read from.
///
/// Where the effect's store is away or has lost something, everything in memory is dropped and the
/// log is read again from what the store has: one way back from every trouble.
pub(crate) struct Follower<E: Effect> {
    effect: E,
    brokers: String,
    topic: String,
    gathering: Arc<Gathering>,
    lag: Arc<Lag>,
    ready: ReadyFlag,
    /// What the group has given us.
    assigned: BTreeSet<i32>,
    /// What of it is being read; the rest waits for what is stored of it.
    started: BTreeSet<i32>,
    loads: Loads<Found<E::Loaded>>,
    batch: Batch,
    /// The batch's, while it has begun to take effect and that goes on.
    under_way: Option<Span>,
    /// Trades that had gathered when the last batch was taken.
    gathered: Gauge,
    /// Something had its effect since the last trouble.
    applied: bool,
    partitions: i32,
}

/// Why the reading of the log ends.
enum End {
    /// The polling thread has finished, and what it read has had its effect.
    Finished,
    /// Drop everything and begin again from what the store has.
    Again(anyhow::Error),
}

/// What there is to do next.
enum Next<L> {
    /// Something has arrived, or the batch goes on.
    Batch,
    Loaded(anyhow::Result<Ended<Found<L>>>),
    Own,
}

impl<E: Effect> Follower<E> {
    pub(crate) fn new(
        effect: E,
        settings: &FollowSettings,
        gathering: Arc<Gathering>,
        lag: Arc<Lag>,
        ready: ReadyFlag,
    ) -> Self {
        Self {
            effect,
            brokers: settings.consumer.brokers.clone(),
            topic: settings.consumer.topic.clone(),
            gathering,
            lag,
            ready,
            assigned: BTreeSet::new(),
            started: BTreeSet::new(),
            loads: Loads::new(),
            batch: Batch::default(),
            under_way: None,
            gathered: catalogue::QUEUE.with("queue", "batch").gauge(),
            applied: false,
            partitions: settings.partitions,
        }
    }

    /// Connects the effect, with patience. False where it was told to stop meanwhile.
    pub(crate) async fn connect(&mut self, stopping: &CancellationToken) -> anyhow::Result<bool> {
        let mut wait = BACKOFF.start;
        loop {
            let connected = tokio::select! {
                () = stopping.cancelled() => return Ok(false),
                connected = self.effect.connect() => connected,
            };
            if self.is_connected(connected)? {
                return Ok(true);
            }
            tokio::select! {
                () = stopping.cancelled() => return Ok(false),
                () = sleep(wait) => {}
            }
            wait = (wait * 2).min(BACKOFF.end);
        }
    }

    fn is_connected(&self, connected: anyhow::Result<()>) -> anyhow::Result<bool> {
        match connected {
            Ok(()) => {
                self.ready.set();
                Ok(true)
            }
            Err(error) if error.is::<AnotherLog>() => Err(error),
            Err(error) => {
                tracing::warn!("{error:#}");
                self.ready.clear(format!("{error:#}"));
                Ok(false)
            }
        }
    }

    /// Has what arrives take effect until the polling thread has finished.
    pub(crate) async fn run(
        mut self,
        consumer: Arc<Consumer>,
        stopping: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut wait = BACKOFF.start;
        loop {
            self.applied = false;
            let trouble = match self.follow(&consumer).await? {
                End::Finished => break,
                End::Again(trouble) => trouble,
            };
            // The store may answer and yet fail each time: that must not become a busy loop.
            wait = if self.applied { BACKOFF.start } else { (wait * 2).min(BACKOFF.end) };
            self.effect.count_failure(&trouble);
            tracing::warn!("reading the log again from what is stored: {trouble:#}");
            self.ready.clear(format!("{trouble:#}"));
            self.forget_all(&consumer).await?;
            // Told to stop meanwhile: what was read is left to be read again.
            if !self.reconnect(&consumer, wait, &stopping).await? {
                return Ok(());
            }
        }
        self.close(consumer).await
    }

    /// Nothing is fetched from here on until it is started anew; the polls go on, so that the group
    /// keeps us.
    async fn forget_all(&mut self, consumer: &Consumer) -> anyhow::Result<()> {
        let started: Vec<i32> = std::mem::take(&mut self.started).into_iter().collect();
        self.gathering.park().await;
        consumer.stop(&started)?;
        self.gathering.let_go(&started);
        self.gathering.resume();
        self.batch.clear();
        self.under_way = None;
        self.loads.forget_all();
        self.effect.forget(None);
        Ok(())
    }

    /// After `wait` connects the effect again, with patience, and begins to load all that is ours.
    /// False where it was told to stop meanwhile.
    ///
    /// What the group decides is heeded at once: until then it lets no member go on.
    async fn reconnect(
        &mut self,
        consumer: &Arc<Consumer>,
        mut wait: Duration,
        stopping: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let mut due = Instant::now() + wait;
        loop {
            while let Some(event) = self.gathering.event() {
                self.heed_apart(event, consumer)?;
            }
            let effect = &mut self.effect;
            let connecting = async {
                sleep_until(due).await;
                effect.connect().await
            };
            let connected = tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(false),
                () = self.gathering.arrived() => continue,
                connected = connecting => connected,
            };
            if self.is_connected(connected)? {
                self.load(self.assigned.iter().copied().collect(), Duration::ZERO, consumer);
                return Ok(true);
            }
            due = Instant::now() + wait;
            wait = (wait * 2).min(BACKOFF.end);
        }
    }

    /// Heeds an event while the effect is away and holds nothing.
    fn heed_apart(&mut self, event: Event, consumer: &Consumer) -> anyhow::Result<()> {
        match event {
            Event::Assigned(partitions) => {
                tracing::info!(?partitions, "assigned");
                self.assigned.extend(partitions);
                Ok(())
            }
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                tracing::info!(?partitions, "given back");
                self.give_back(&partitions, consumer)
            }
            Event::AnotherLog(reason) => Err(self.effect.another_log(reason).into()),
            Event::Silent(_) | Event::Finished => Ok(()),
        }
    }

    async fn follow(&mut self, consumer: &Arc<Consumer>) -> anyhow::Result<End> {
        loop {
            let next = tokio::select! {
                biased;
                // Records may arrive faster than they take effect: a load comes first, but for
                // what the group has decided of its partitions.
                ended = self.loads.next(), if !self.gathering.has_events() => Next::Loaded(ended),
                () = self.gathering.arrived(), if self.under_way.is_none() => Next::Batch,
                () = ready(()), if self.under_way.is_some() => Next::Batch,
                () = self.effect.wait() => Next::Own,
            };
            let done = match next {
                Next::Batch => Ok(()),
                Next::Loaded(ended) => ended.and_then(|ended| self.loaded(ended, consumer)),
                Next::Own => self.effect.work().await.map(|done| self.note(consumer, &done)),
            };
            if let Err(error) = done {
                return recoverable(error);
            }
            loop {
                let event = self.gathering.event();
                let finished = matches!(event, Some(Event::Finished));
                // Whatever was read before the event comes first, or has begun to.
                let mut applied = self.apply(consumer, event.is_some()).await;
                while finished && matches!(applied, Ok(true)) {
                    applied = self.apply(consumer, true).await;
                }
                if let Err(error) = applied {
                    if let Some(event) = event {
                        self.gathering.put_back(event);
                    }
                    return recoverable(error);
                }
                let Some(event) = event else { break };
                if finished {
                    let ended = self.end(consumer).await;
                    return ended.map(|()| End::Finished).or_else(|error| {
                        self.gathering.put_back(event);
                        recoverable(error)
                    });
                }
                if let Err(error) = self.heed(event, consumer).await {
                    return recoverable(error);
                }
            }
        }
    }

    /// Has what has gathered take effect, or begins to; what has begun comes first. False where
    /// there was nothing, or nothing that may not wait for the effect to be less busy.
    async fn apply(&mut self, consumer: &Consumer, at_once: bool) -> anyhow::Result<bool> {
        let span = match self.under_way.take() {
            Some(span) => span,
            None if !at_once && !self.is_wanted() => return Ok(false),
            None => match self.take() {
                Some(span) => span,
                None => return Ok(false),
            },
        };
        let done = self.effect.apply(&self.batch).instrument(span.clone()).await;
        let done = done.inspect_err(|error| batch_span::fail(&span, error))?;
        let Some(done) = done else {
            self.applied = true;
            self.under_way = Some(span);
            return Ok(true);
        };
        self.note(consumer, &done);
        let has_effect = |(partition, at): (&i32, &Place)| {
            done.effected.iter().any(|(of, to)| of == partition && to.offset >= at.offset)
        };
        if !self.batch.places.iter().all(has_effect) {
            self.lag.under_way(&self.batch.received);
        }
        self.batch.clear();
        Ok(true)
    }

    /// Whether there is something that is worth taking now. If not, it is waited for.
    fn is_wanted(&self) -> bool {
        self.gathering.want(if self.effect.is_busy() { WORTH_BEGINNING } else { 0 })
    }

    /// Takes what has gathered, if anything has. Returns the span of its way.
    fn take(&mut self) -> Option<Span> {
        let effect = &mut self.effect;
        let known = |anew, known: &[Known]| effect.know(anew, known);
        self.gathering.take(&mut self.batch, now(), known);
        self.gathered.set(self.batch.trades.len() as f64);
        if self.batch.is_empty() {
            return None;
        }
        self.lag.under_way(&self.batch.received);
        Some(batch_span::of(&self.batch, &self.topic))
    }

    /// Notes how far the effect has come, and how far the group's offsets may go.
    fn note(&mut self, consumer: &Consumer, progress: &Progress) {
        self.applied |= !progress.effected.is_empty();
        let ours = |(partition, at): &(i32, Place)| {
            self.started.contains(partition).then_some((*partition, at.offset + 1))
        };
        for (partition, next) in progress.effected.iter().filter_map(ours) {
            self.lag.applied(partition, next);
        }
        if let Err(error) = consumer.effected(progress.stored.iter().filter_map(ours)) {
            // The group took a partition away this moment: whoever has it reads it again.
            tracing::info!("{error:#}");
        }
    }

    async fn heed(&mut self, event: Event, consumer: &Arc<Consumer>) -> anyhow::Result<()> {
        match event {
            Event::Assigned(partitions) => {
                tracing::info!(?partitions, "assigned");
                self.assigned.extend(&partitions);
                self.load(partitions, Duration::ZERO, consumer);
                Ok(())
            }
            Event::Revoked(partitions) => {
                tracing::info!(?partitions, "given back");
                let ended = self.effect.end(&partitions).await;
                if let Ok(done) = &ended {
                    self.note(consumer, done);
                }
                self.give_back(&partitions, consumer)?;
                ended.map(drop)
            }
            Event::Lost(partitions) => {
                tracing::warn!(?partitions, "lost: the group went on without this member");
                self.give_back(&partitions, consumer)
            }
            Event::AnotherLog(reason) => Err(self.effect.another_log(reason).into()),
            Event::Silent(partitions) => {
                Err(anyhow!("partitions {partitions:?} bring nothing, though their log has more"))
            }
            Event::Finished => Ok(()),
        }
    }

    fn give_back(&mut self, partitions: &[i32], consumer: &Consumer) -> anyhow::Result<()> {
        self.effect.forget(Some(partitions));
        self.loads.forget(partitions);
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.started.retain(|partition| !partitions.contains(partition));
        self.batch.places.retain(|partition, _| !partitions.contains(partition));
        self.gathering.let_go(partitions);
        consumer.release(partitions)?;
        partitions.iter().for_each(|partition| self.lag.given_back(*partition));
        Ok(())
    }

    /// Begins to look up, after a pause, what is stored of partitions.
    fn load(&mut self, partitions: Vec<i32>, pause: Duration, consumer: &Arc<Consumer>) {
        // A rebalance may bring nothing.
        if partitions.is_empty() {
            return;
        }
        let look_up = LookUp {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            consumer: Arc::clone(consumer),
            partitions: partitions.clone(),
        };
        let looking = look_up.run::<E>(self.effect.load(&partitions));
        self.loads.begin(&partitions, async move {
            sleep(pause).await;
            looking.await
        });
    }

    /// Starts partitions with what was found of them. Where that failed it is tried again for them
    /// alone, if there are others that go on.
    fn loaded(
        &mut self,
        ended: Ended<Found<E::Loaded>>,
        consumer: &Arc<Consumer>,
    ) -> anyhow::Result<()> {
        let Ended { waiting, found } = ended;
        match found {
            Ok(found) => self.start(found, &waiting, consumer),
            Err(error) if error.is::<AnotherLog>() || self.started.is_empty() => Err(error),
            Err(error) => {
                tracing::warn!(partitions = ?waiting, "loading again: {error:#}");
                self.load(waiting, LOAD_AGAIN, consumer);
                Ok(())
            }
        }
    }

    fn start(
        &mut self,
        found: Found<E::Loaded>,
        waiting: &[i32],
        consumer: &Consumer,
    ) -> anyhow::Result<()> {
        let (starts, remembered) = self.begin(found, waiting)?;
        self.gathering.expect(waiting, &remembered);
        self.started.extend(waiting);
        consumer.start(&starts)
    }

    /// Where partitions are to be read from, and what must be found there.
    fn begin(
        &mut self,
        found: Found<E::Loaded>,
        wanted: &[i32],
    ) -> anyhow::Result<(Vec<(i32, Start)>, Places)> {
        let Found { loaded, places, log: FoundLog { of, known, another } } = found;
        if of != self.partitions {
            // Which partition a symbol is on follows from their number.
            let reason = format!("it had {} partitions and has {of} now", self.partitions);
            return Err(self.effect.another_log(reason).into());
        }
        if let Some(reason) = another {
            return Err(self.effect.another_log(reason).into());
        }
        self.effect.begin(loaded, wanted)?;
        let (mut starts, mut remembered) = (Vec::new(), Vec::new());
        let wanted = known.into_iter().filter(|(partition, ..)| wanted.contains(partition));
        for (partition, committed, bounds) in wanted {
            let place = places.get(&partition).copied();
            let start = start_of(partition, place, committed, bounds)
                .map_err(|reason| self.effect.another_log(reason))?;
            tracing::info!(topic = self.topic, partition, ?start, ?committed, "reading");
            self.lag.applied(partition, place.map_or(bounds.0, |place| place.offset + 1));
            starts.push((partition, start));
            remembered.extend(place.map(|place| (partition, place)));
        }
        Ok((starts, remembered))
    }

    /// Has what was read have its effect for good.
    async fn end(&mut self, consumer: &Consumer) -> anyhow::Result<()> {
        let started: Vec<i32> = self.started.iter().copied().collect();
        let done = self.effect.end(&started).await?;
        self.note(consumer, &done);
        Ok(())
    }

    /// Commits, and leaves the group, so that others need not wait for the session to end.
    async fn close(&mut self, consumer: Arc<Consumer>) -> anyhow::Result<()> {
        let assigned: Vec<i32> = self.assigned.iter().copied().collect();
        let closing = move || {
            consumer.commit()?;
            consumer.release(&assigned)
        };
        tokio::task::spawn_blocking(closing).await.context("closing panicked")??;
        self.effect.close().await;
        Ok(())
    }
}

impl<E: Effect> Drop for Follower<E> {
    fn drop(&mut self) {
        self.gathering.close();
    }
}

/// Another log is for a person to decide; anything else is tried again.
fn recoverable(error: anyhow::Error) -> anyhow::Result<End> {
    if error.is::<AnotherLog>() { Err(error) } else { Ok(End::Again(error)) }
}
