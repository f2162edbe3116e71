//! What is done beside the log: news of alerts, the past read again, checkpoints, snapshots, expiry.

use std::time::{SystemTime, UNIX_EPOCH};

use follow::Places;
use market::Place;
use store::{Checkpoint, Cursor, Expiring, Status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use triggers::Partition;
use uuid::Uuid;

use super::{AlertEffect, CHECKPOINT_EVERY, Found};
use crate::behind::{Rewound, Stretch, read_again};
use crate::owned::Rewinding;
use crate::snapshots::Of;
use crate::tasks::{self, Done, SnapshotJob};

impl AlertEffect {
    /// A task has ended. What it has made possible may have to wait until what was found is stored.
    pub(super) fn arrived(&mut self, done: anyhow::Result<Done>) {
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
    pub(super) fn heed(&mut self, done: Done) {
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
    pub(super) fn reconcile_if_due(&mut self) {
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
    pub(super) fn rewind(&mut self) {
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
    pub(super) fn checkpoint_if_due(&mut self) {
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
    pub(super) fn checkpoint(
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

    pub(super) fn checkpointed(&mut self, places: Places) {
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

    pub(super) fn snapshot(
        &self,
        partition: i32,
        place: Place,
        cursor: Cursor,
    ) -> Option<Box<SnapshotJob>> {
        Some(Box::new(SnapshotJob {
            store: self.store().clone(),
            snapshots: self.loader.snapshots.clone()?,
            of: Of { id: Uuid::now_v7(), log: self.log().id, partition, place, cursor },
            snapshot: self.owned.get(&partition)?.partition.snapshot(),
        }))
    }

    pub(super) fn look_for_expired_if_due(&mut self) {
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
