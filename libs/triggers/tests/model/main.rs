//! A partition under random logs, alerts and crashes, against what the log says by itself.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use market::{Sequence, Trade};
use proptest::prelude::*;
use triggers::{AlertId, Armed, Arming, Condition, Firing, Partition};

const SYMBOLS: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];

/// A record: trades of one symbol; none where it could not be decoded. Its offset is its index.
#[derive(Clone, Debug)]
struct Record {
    symbol: usize,
    trades: Vec<Trade>,
}

/// An alert's row. A change of it is another row with the same id and a higher generation.
#[derive(Clone, Copy, Debug)]
struct Row {
    symbol: usize,
    armed: Armed,
}

impl Row {
    fn key(&self) -> (AlertId, i32) {
        (self.armed.id, self.armed.generation)
    }
}

/// What the log says of a row, read from its beginning.
fn verdict(log: &[Record], row: &Row) -> Option<Firing> {
    let Armed { id, generation, condition, armed_at } = row.armed;
    let mut newest = i64::MIN;
    for (offset, record) in (0..).zip(log) {
        for (index, trade) in (0..).zip(&record.trades) {
            if record.symbol != row.symbol || trade.timestamp < newest {
                continue;
            }
            newest = trade.timestamp;
            let holds = match condition {
                Condition::Above(target) => trade.price >= target,
                Condition::Below(target) => trade.price <= target,
            };
            if holds && offset >= armed_at {
                let sequence = Sequence { offset, index };
                let Trade { price, timestamp, received_at, .. } = *trade;
                return Some(Firing { id, generation, price, timestamp, sequence, received_at });
            }
        }
    }
    None
}

#[derive(Clone, Debug)]
enum Step {
    /// So many records are read, and it is said that they are done with, or not; then some trades
    /// of the next one.
    Read {
        count: usize,
        advance: bool,
        part: usize,
    },
    /// A row is created, armed so far from where the log was read to, and told or held back.
    Create {
        symbol: usize,
        condition: Condition,
        ahead: i64,
        told: bool,
    },
    /// A row is changed.
    Change {
        which: usize,
        condition: Condition,
        ahead: i64,
    },
    /// A row is told (again).
    Tell {
        which: usize,
    },
    Delete {
        which: usize,
    },
    /// The log is read again for those that are behind.
    CatchUp {
        count: usize,
    },
    Checkpoint,
    /// The owner dies; what it had fired since its last checkpoint was stored, or not.
    Crash {
        stored: bool,
        ring: usize,
    },
}

/// The owner of a partition and the tables behind it.
struct World<'a> {
    log: &'a [Record],
    partition: Partition,
    read: usize,
    rows: Vec<Row>,
    /// The rows that were replaced or deleted.
    gone: BTreeSet<(AlertId, i32)>,
    deleted: BTreeSet<AlertId>,
    /// The rows that the partition knows; whatever they have to fire on so far, they have.
    known: BTreeSet<(AlertId, i32)>,
    behind: Vec<Row>,
    rewound: Option<(Partition, usize, Vec<Row>)>,
    /// The store's unique key: a firing that comes twice must be the same one.
    firings: BTreeMap<(AlertId, i32), Firing>,
    /// The firings that a crash cannot undo.
    stored: BTreeSet<(AlertId, i32)>,
    /// The rows that the owner found as TRIGGERED when it began.
    triggered: BTreeSet<(AlertId, i32)>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Clone)]
struct Checkpoint {
    history: Vec<u8>,
    read: usize,
    known: BTreeSet<(AlertId, i32)>,
}

fn read_records(
    partition: &mut Partition,
    log: &[Record],
    from: usize,
    count: usize,
) -> Vec<Firing> {
    let mut fired = Vec::new();
    for (offset, record) in (0..).zip(log).skip(from).take(count) {
        let symbol = partition.intern(SYMBOLS[record.symbol]);
        for (index, trade) in (0..).zip(&record.trades) {
            partition.evaluate(symbol, trade, Sequence { offset, index }, &mut fired);
        }
    }
    fired
}

impl<'a> World<'a> {
    fn new(log: &'a [Record], ring: usize) -> Self {
        Self {
            log,
            partition: Partition::new(ring),
            read: 0,
            rows: Vec::new(),
            gone: BTreeSet::new(),
            deleted: BTreeSet::new(),
            known: BTreeSet::new(),
            behind: Vec::new(),
            rewound: None,
            firings: BTreeMap::new(),
            stored: BTreeSet::new(),
            triggered: BTreeSet::new(),
            checkpoint: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read { count, advance, part } => {
                self.read(count, advance);
                self.read_part(part);
            }
            Step::Create { symbol, condition, ahead, told } => {
                let id = AlertId(self.rows.len() as i64);
                let armed_at = (self.read as i64 + ahead).max(0);
                let armed = Armed { id, generation: 1, condition, armed_at };
                self.rows.push(Row { symbol, armed });
                if told {
                    self.tell(Row { symbol, armed });
                }
            }
            Step::Change { which, condition, ahead } => {
                let Some(mut row) = self.pick(which) else { return };
                self.gone.insert(row.key());
                row.armed.generation += 1;
                row.armed.condition = condition;
                row.armed.armed_at = (self.read as i64 + ahead).max(0);
                self.rows.push(row);
                self.tell(row);
            }
            Step::Tell { which } => {
                if let Some(row) = self.pick(which) {
                    self.tell(row);
                }
            }
            Step::Delete { which } => self.delete(which),
            Step::CatchUp { count } => self.catch_up(count),
            Step::Checkpoint => self.store(),
            Step::Crash { stored, ring } => self.crash(stored, ring),
        }
        self.check();
    }

    fn pick(&self, which: usize) -> Option<Row> {
        let alive: Vec<_> =
            self.rows.iter().filter(|row| !self.gone.contains(&row.key())).collect();
        alive.get(which % alive.len().max(1)).copied().copied()
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

    fn tell(&mut self, row: Row) {
        if self.triggered.contains(&row.key()) {
            return;
        }
        let mut fired = Vec::new();
        match self.partition.arm(SYMBOLS[row.symbol], row.armed, &mut fired) {
            Arming::Armed => assert!(!self.firings.contains_key(&row.key()) && fired.is_empty()),
            Arming::Fired => assert!(fired.len() == 1 || self.firings.contains_key(&row.key())),
            Arming::Behind { from } => {
                assert!(from <= row.armed.armed_at && fired.is_empty());
                self.known.remove(&row.key());
                let waits = |rows: &[Row]| rows.iter().any(|other| other.key() == row.key());
                if !waits(&self.behind) && !self.rewound.as_ref().is_some_and(|r| waits(&r.2)) {
                    self.behind.push(row);
                }
                return;
            }
        }
        self.known.insert(row.key());
        self.note(&fired);
    }

    fn delete(&mut self, which: usize) {
        let Some(row) = self.pick(which) else { return };
        let (id, generation) = row.key();
        self.partition.disarm(id, generation);
        self.behind.retain(|other| other.armed.id != id);
        if let Some((rewound, ..)) = &mut self.rewound {
            rewound.disarm(id, generation);
        }
        self.gone.insert(row.key());
        self.deleted.insert(id);
    }

    fn catch_up(&mut self, count: usize) {
        if self.rewound.is_none() && !self.behind.is_empty() {
            let rows = std::mem::take(&mut self.behind);
            let first = rows.iter().map(|row| row.armed.armed_at).min().unwrap_or(0);
            let mut rewound = self.partition.rewind(first);
            for row in &rows {
                let mut fired = Vec::new();
                let arming = rewound.arm(SYMBOLS[row.symbol], row.armed, &mut fired);
                assert_eq!((arming, fired), (Arming::Armed, Vec::new()));
            }
            let from = rewound.next_offset().unwrap_or(0) as usize;
            self.rewound = Some((rewound, from, rows));
        }
        let Some((mut rewound, from, rows)) = self.rewound.take() else { return };
        let mut fired = read_records(&mut rewound, self.log, from, count);
        let read = self.log.len().min(from + count);
        rewound.advance(read as i64);
        if self.partition.absorb(&mut rewound, &mut fired) {
            // One that was changed meanwhile, or told once more, is known as what it is now.
            self.known.extend(rows.iter().map(Row::key));
        } else {
            assert!(read <= self.read, "read as far as the partition, and still behind");
            self.rewound = Some((rewound, read, rows));
        }
        self.note(&fired);
    }

    /// The store refuses what comes twice; nothing may come that the log does not say.
    fn note(&mut self, fired: &[Firing]) {
        for firing in fired {
            let key = (firing.id, firing.generation);
            let row = self.rows.iter().find(|row| row.key() == key).expect("a row");
            assert!(!self.deleted.contains(&firing.id), "fired after it was deleted: {row:?}");
            assert_eq!(verdict(self.log, row), Some(*firing), "{row:?}");
            self.firings.insert(key, *firing);
        }
    }

    fn store(&mut self) {
        // Between records.
        self.read(1, true);
        self.stored.extend(self.firings.keys());
        let (history, known) = (self.partition.history(), self.known.clone());
        self.checkpoint = Some(Checkpoint { history, read: self.read, known });
    }

    fn crash(&mut self, stored: bool, ring: usize) {
        if stored {
            self.stored.extend(self.firings.keys());
        }
        self.firings.retain(|key, _| self.stored.contains(key));
        self.triggered = self.stored.clone();
        let (known, read) = match self.checkpoint.clone() {
            Some(checkpoint) => {
                self.partition = Partition::restore(&checkpoint.history, ring).expect("a history");
                assert_eq!(self.partition.next_offset().unwrap_or(0), checkpoint.read as i64);
                (checkpoint.known, checkpoint.read)
            }
            None => {
                self.partition = Partition::new(ring);
                (BTreeSet::new(), 0)
            }
        };
        self.read = read;
        (self.known, self.behind, self.rewound) = (BTreeSet::new(), Vec::new(), None);
        for row in self.rows.clone() {
            if self.gone.contains(&row.key()) {
                continue;
            }
            let mut judged = row;
            if known.contains(&row.key()) {
                judged.armed.armed_at = row.armed.armed_at.max(read as i64);
            }
            self.tell(judged);
        }
    }

    /// What is known has fired where the log, as far as it was read, says so, and only then.
    fn check(&self) {
        let read = &self.log[..self.read];
        let mut armed = 0;
        for row in self.rows.iter().filter(|row| !self.gone.contains(&row.key())) {
            if self.known.contains(&row.key()) {
                // The rewound partition may have read further, and have fired it there.
                let has_fired = self.firings.contains_key(&row.key());
                armed += usize::from(!has_fired);
                assert!(has_fired || verdict(read, row).is_none(), "not fired: {row:?}");
            }
        }
        assert!(self.partition.armed() >= armed);
    }

    /// Everything is told and read to the end.
    fn finish(&mut self) {
        for row in self.rows.clone() {
            let is_settled = self.known.contains(&row.key()) || self.gone.contains(&row.key());
            if !is_settled && !self.firings.contains_key(&row.key()) {
                self.tell(row);
            }
        }
        self.read(self.log.len(), true);
        while self.rewound.is_some() || !self.behind.is_empty() {
            self.catch_up(7);
        }
        self.check();
        for row in self.rows.iter().filter(|row| !self.gone.contains(&row.key())) {
            let found = self.firings.get(&row.key()).copied();
            assert_eq!(found, verdict(self.log, row), "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn what_fires_is_a_function_of_the_row_and_the_log(
        log in random::log(), steps in random::steps(), ring in 1usize..12,
    ) {
        let mut world = World::new(&log, ring);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
