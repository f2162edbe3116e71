//! The owner of a partition, the tables behind it, and what a crash takes of both.

use std::collections::{BTreeMap, BTreeSet};

use market::Sequence;
use triggers::{AlertId, Armed, Arming, Firing, Partition, Progress, Version};

use crate::row::{self, Row};
use crate::verdict::firings;
use crate::{Record, SYMBOLS, Step};

/// A row as it was created or changed last, and what has become of it since.
#[derive(Clone, Debug)]
struct Told {
    symbol: usize,
    base: Row,
    now: Row,
    is_deleted: bool,
}

/// The tables behind an owner.
#[derive(Clone, Default)]
struct Tables {
    rows: BTreeMap<AlertId, Told>,
    /// Each alert fires once a version: a firing that comes twice must be the same one.
    firings: BTreeMap<(AlertId, Version), Firing>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Clone)]
struct Checkpoint {
    history: Vec<u8>,
    snapshot: Vec<u8>,
    read: i64,
    /// The versions that the owner had heard of.
    known: BTreeSet<(AlertId, Version)>,
}

/// The owner of a partition and the tables behind it.
pub(crate) struct World<'a> {
    log: &'a [Record],
    ring: usize,
    partition: Partition,
    read: usize,
    tables: Tables,
    /// What a crash cannot undo.
    durable: Tables,
    /// The versions that the partition knows of; whatever they have to fire on so far, they have.
    known: BTreeSet<(AlertId, Version)>,
    behind: BTreeMap<AlertId, Armed>,
    rewound: Option<Rewound>,
}

struct Rewound {
    partition: Partition,
    read: usize,
    alerts: Vec<(AlertId, Version)>,
}

pub(crate) fn read_records(
    partition: &mut Partition,
    log: &[Record],
    from: usize,
    count: usize,
) -> Vec<Firing> {
    let mut fired = Vec::new();
    for (offset, record) in (0..).zip(log).skip(from).take(count) {
        let symbol = partition.intern(SYMBOLS[record.symbol]).expect("few symbols");
        for (index, trade) in (0..).zip(&record.trades) {
            partition.evaluate(symbol, trade, Sequence { offset, index }, &mut fired);
        }
    }
    fired
}

impl Tables {
    /// Stores a firing: what it does to the row, if it is the row's.
    fn fire(&mut self, firing: &Firing) {
        if let Some(told) = self.rows.get_mut(&firing.id).filter(|told| !told.is_deleted)
            && told.now.version == firing.version
        {
            told.now.admit(firing);
            self.firings.insert((firing.id, firing.version), *firing);
        }
    }

    fn advance(&mut self, progress: &Progress) {
        if let Some(told) = self.rows.get_mut(&progress.id).filter(|told| !told.is_deleted) {
            told.now.advance(progress);
        }
    }
}

impl<'a> World<'a> {
    pub(crate) fn new(log: &'a [Record], ring: usize) -> Self {
        Self {
            log,
            ring,
            partition: Partition::new(ring),
            read: 0,
            tables: Tables::default(),
            durable: Tables::default(),
            known: BTreeSet::new(),
            behind: BTreeMap::new(),
            rewound: None,
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Read { count, advance, part } => {
                self.read(count, advance);
                self.read_part(part);
            }
            Step::Create { symbol, terms, ahead, told } => {
                let id = self.tables.rows.len() as i64;
                let base = Row::new(id, terms, self.armed_at(ahead));
                self.write(AlertId(id), Told { symbol, base, now: base, is_deleted: false });
                if told {
                    self.tell(AlertId(id));
                }
            }
            Step::Change { which, terms, ahead } => {
                let Some(id) = self.pick(which) else { return };
                let mut told = self.tables.rows[&id].clone();
                // What is changed is what everybody sees: it is stored with what fired before.
                self.durable = self.tables.clone();
                let Version { revision, generation } = told.now.version;
                told.base = Row::new(id.0, terms, self.armed_at(ahead));
                told.base.version = Version { revision: revision + 1, generation: generation + 1 };
                told.now = told.base;
                self.write(id, told);
                self.tell(id);
            }
            Step::Tell { which } => {
                if let Some(id) = self.pick(which) {
                    self.tell(id);
                }
            }
            Step::Delete { which } => self.delete(which),
            Step::CatchUp { count } => self.catch_up(count),
            Step::Checkpoint { news } => self.store(news),
            Step::Crash { stored, ring, from_snapshot } => self.crash(stored, ring, from_snapshot),
        }
        self.check();
    }

    fn armed_at(&self, ahead: i64) -> Sequence {
        Sequence::of_record((self.read as i64 + ahead).max(0))
    }

    fn write(&mut self, id: AlertId, told: Told) {
        self.durable.rows.insert(id, told.clone());
        self.tables.rows.insert(id, told);
    }

    fn pick(&self, which: usize) -> Option<AlertId> {
        let alive: Vec<AlertId> = self
            .tables
            .rows
            .iter()
            .filter(|(_, told)| !told.is_deleted)
            .map(|(id, _)| *id)
            .collect();
        alive.get(which % alive.len().max(1)).copied()
    }

    fn read(&mut self, count: usize, advance: bool) {
        let fired = read_records(&mut self.partition, self.log, self.read, count);
        self.read = self.log.len().min(self.read + count);
        if advance {
            self.partition.advance(self.read as i64);
        }
        self.note(&fired);
    }

    /// The record is handed over once more with the next ones.
    fn read_part(&mut self, trades: usize) {
        let Some(mut record) = self.log.get(self.read).cloned() else { return };
        record.trades.truncate(trades);
        let before = Record { symbol: 0, trades: Vec::new() };
        let log = [vec![before; self.read], vec![record]].concat();
        let fired = read_records(&mut self.partition, &log, self.read, 1);
        self.note(&fired);
    }

    /// As the row is now.
    fn tell(&mut self, id: AlertId) {
        let told = &self.tables.rows[&id];
        let version = told.now.version;
        match told.now.armed() {
            Some(armed) => self.arm(id, armed),
            None => {
                self.partition.disarm(id, version);
                if let Some(rewound) = &mut self.rewound {
                    rewound.partition.disarm(id, version);
                }
                self.known.insert((id, version));
            }
        }
    }

    fn arm(&mut self, id: AlertId, armed: Armed) {
        let mut fired = Vec::new();
        let symbol = SYMBOLS[self.tables.rows[&id].symbol];
        match self.partition.arm(symbol, armed, &mut fired) {
            Arming::Armed => {}
            Arming::Fired => {
                let is_stored = self.tables.firings.contains_key(&(id, armed.version));
                assert!(!fired.is_empty() || is_stored, "{armed:?} was fired by nothing");
            }
            Arming::Behind => {
                assert!(fired.is_empty());
                let is_read = self
                    .rewound
                    .as_ref()
                    .is_some_and(|rewound| rewound.alerts.contains(&(id, armed.version)));
                if !is_read {
                    self.behind.insert(id, armed);
                }
                return;
            }
            Arming::TooManySymbols => panic!("three symbols are too many"),
        }
        self.known.insert((id, armed.version));
        self.note(&fired);
    }

    fn delete(&mut self, which: usize) {
        let Some(id) = self.pick(which) else { return };
        self.durable = self.tables.clone();
        let mut told = self.tables.rows[&id].clone();
        told.is_deleted = true;
        let Version { revision, generation } = told.now.version;
        let version = Version { revision: revision + 1, generation: generation + 1 };
        told.now.version = version;
        self.write(id, told);
        self.partition.disarm(id, version);
        self.behind.remove(&id);
        if let Some(rewound) = &mut self.rewound {
            rewound.partition.disarm(id, version);
        }
    }

    fn catch_up(&mut self, count: usize) {
        if self.rewound.is_none() && !self.behind.is_empty() {
            let behind = std::mem::take(&mut self.behind);
            let first = behind.values().map(|armed| armed.judged_to.offset).min().unwrap_or(0);
            let mut partition = self.partition.rewind(first);
            assert!(partition.next_offset().unwrap_or(0) <= first);
            for (id, armed) in &behind {
                let mut fired = Vec::new();
                let symbol = SYMBOLS[self.tables.rows[id].symbol];
                let arming = partition.arm(symbol, *armed, &mut fired);
                assert_eq!((arming, fired), (Arming::Armed, Vec::new()));
            }
            let read = partition.next_offset().unwrap_or(0) as usize;
            let alerts = behind.iter().map(|(id, armed)| (*id, armed.version)).collect();
            self.rewound = Some(Rewound { partition, read, alerts });
        }
        let Some(mut rewound) = self.rewound.take() else { return };
        self.partition.advance(self.read as i64);
        let count = count.min(self.read - rewound.read);
        let mut fired = read_records(&mut rewound.partition, self.log, rewound.read, count);
        rewound.read += count;
        rewound.partition.advance(rewound.read as i64);
        if self.partition.absorb(&mut rewound.partition, &mut fired) {
            self.note(&fired);
            // One that was changed meanwhile, or told once more, is known as what it is now.
            self.known.extend(rewound.alerts);
        } else {
            // The ring begins at the next record where part of that was read.
            assert!(rewound.read <= self.read);
            self.rewound = Some(rewound);
            self.note(&fired);
        }
    }

    /// The store refuses what comes twice; nothing may come that the log does not say.
    fn note(&mut self, fired: &[Firing]) {
        for firing in fired {
            let told = &self.tables.rows[&firing.id];
            assert!(!told.is_deleted, "fired after it was deleted: {told:?}");
            if firing.version.revision == told.base.version.revision {
                let expected = firings(self.log, told.symbol, &told.base);
                assert!(expected.contains(firing), "{firing:?} of {told:?}\nnot in {expected:?}");
            }
            self.tables.fire(firing);
        }
    }

    fn store(&mut self, news: bool) {
        // Between records.
        self.read(1, true);
        if news {
            for id in self.tables.rows.keys().copied().collect::<Vec<_>>() {
                if !self.tables.rows[&id].is_deleted {
                    self.tell(id);
                }
            }
        }
        // Of one alert the last of a batch holds.
        let batch = self.partition.take_progress();
        let last: BTreeMap<AlertId, &Progress> = batch.iter().map(|it| (it.id, it)).collect();
        last.into_values().for_each(|progress| self.tables.advance(progress));
        self.tables.checkpoint = Some(Checkpoint {
            history: self.partition.history(),
            snapshot: self.partition.snapshot().encode("ours"),
            read: self.read as i64,
            known: self.known.clone(),
        });
        self.durable = self.tables.clone();
    }

    fn crash(&mut self, stored: bool, ring: usize, from_snapshot: bool) {
        if stored {
            self.durable = self.tables.clone();
        }
        self.tables = self.durable.clone();
        (self.known, self.behind, self.rewound) = (BTreeSet::new(), BTreeMap::new(), None);
        self.ring = ring;
        let checkpoint = self.tables.checkpoint.clone();
        let Some(checkpoint) = checkpoint else {
            (self.partition, self.read) = (Partition::new(ring), 0);
            return self.begin(None);
        };
        self.read = checkpoint.read as usize;
        if from_snapshot {
            let bytes = row::aligned(&checkpoint.snapshot);
            let restored = Partition::from_snapshot(&bytes, ring, |label| label == "ours");
            self.partition = restored.expect("a snapshot").expect("ours");
            // All that it holds was heard of before; the changes since are told.
            self.known = checkpoint.known;
            self.begin(None);
        } else {
            self.partition = Partition::restore(&checkpoint.history, ring).expect("a history");
            self.begin(Some(&checkpoint));
        }
        assert_eq!(self.partition.next_offset().unwrap_or(0), checkpoint.read);
    }

    /// Hears of every row, those that the checkpoint knows as of there.
    fn begin(&mut self, checkpoint: Option<&Checkpoint>) {
        for (id, told) in self.tables.rows.clone() {
            if told.is_deleted {
                self.partition.disarm(id, told.now.version);
                continue;
            }
            let Some(mut armed) = told.now.armed() else {
                self.tell(id);
                continue;
            };
            let is_judged =
                |checkpoint: &&Checkpoint| checkpoint.known.contains(&(id, armed.version));
            if let Some(checkpoint) = checkpoint.filter(is_judged) {
                let end = Sequence::of_record(checkpoint.read);
                armed.judged_to = armed.judged_to.max(end);
            }
            self.arm(id, armed);
        }
        self.partition.settle();
    }

    /// What is known has fired where the log, as far as it was read, says so, and only then.
    fn check(&self) {
        let read = &self.log[..self.read];
        for (id, told) in self.tables.rows.iter().filter(|(_, told)| !told.is_deleted) {
            if self.known.contains(&(*id, told.base.version)) {
                let expected = firings(read, told.symbol, &told.base);
                for firing in expected {
                    let stored = self.tables.firings.get(&(*id, firing.version));
                    assert_eq!(stored, Some(&firing), "not fired: {told:?}");
                }
            }
        }
    }

    /// Everything is told and read to the end.
    pub(crate) fn finish(&mut self) {
        for id in self.tables.rows.keys().copied().collect::<Vec<_>>() {
            if !self.tables.rows[&id].is_deleted {
                self.tell(id);
            }
        }
        self.read(self.log.len(), true);
        while self.rewound.is_some() || !self.behind.is_empty() {
            self.catch_up(7);
        }
        self.check();
        for (id, told) in self.tables.rows.iter().filter(|(_, told)| !told.is_deleted) {
            let revision = told.base.version.revision;
            let of_row = self.tables.firings.range((*id, Version { revision: 0, generation: 0 })..);
            let of_row = of_row.take_while(|((other, _), _)| other == id);
            let found: Vec<Firing> = of_row
                .filter(|((_, version), _)| version.revision == revision)
                .map(|(_, firing)| *firing)
                .collect();
            assert_eq!(found, firings(self.log, told.symbol, &told.base), "{told:?}");
        }
    }
}
