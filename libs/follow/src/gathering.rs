use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::{DeadLetter, Record};
use market::{Place, Sequence, Trade};
use tokio::sync::Notify;
use wire::tick::{TickError, TickRecord};

use crate::symbols::{Known, Symbols};

/// A hostile topic could name a new symbol in every record. Past this many all are forgotten and
/// those that still trade are loaded again.
const MAX_SYMBOLS: usize = 500_000;

/// What was read and not yet written.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of the log, within each partition.
    pub trades: Vec<Gathered>,
    /// The last record read of each partition.
    pub places: BTreeMap<i32, Place>,
    pub dead: Vec<(DeadLetter, &'static str)>,
    pub records: usize,
    /// How many trades had been read by when (Unix nanoseconds), once a burst.
    pub bursts: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Gathered {
    pub symbol: u32,
    pub sequence: Sequence,
    pub trade: Trade,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn clear(&mut self) {
        self.trades.clear();
        self.places.clear();
        self.dead.clear();
        self.bursts.clear();
        self.records = 0;
    }
}

/// What the polling thread tells beside records.
#[derive(Debug)]
pub(crate) enum Event {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
    Lost(Vec<i32>),
    /// The broker's log is not the one that Redis follows.
    AnotherLog(String),
    /// The polling thread has ended: nothing more will come.
    Finished,
}

/// The batch that grows, shared by the polling thread and whoever writes it.
pub(crate) struct Gathering {
    shared: Mutex<Shared>,
    /// For the writer: there is something to take.
    arrived: Notify,
    /// For the writer: the polling thread stands still.
    parked: Notify,
    /// For the polling thread: the batch was taken, or it may go on.
    changed: Condvar,
    bound: usize,
}

struct Shared {
    batch: Batch,
    symbols: Symbols,
    events: VecDeque<Event>,
    /// The next offset expected of each partition, since it was started.
    next: BTreeMap<i32, i64>,
    /// Records that must be found again, as Redis remembers them.
    remembered: BTreeMap<i32, Place>,
    park: bool,
    is_parked: bool,
    finished: bool,
    /// Nobody takes any more.
    closed: bool,
}

impl Gathering {
    pub(crate) fn new(bound: usize, partitions: i32) -> Self {
        let shared = Shared {
            batch: Batch::default(),
            symbols: Symbols::new(partitions),
            events: VecDeque::new(),
            next: BTreeMap::new(),
            remembered: BTreeMap::new(),
            park: false,
            is_parked: false,
            finished: false,
            closed: false,
        };
        Self {
            shared: Mutex::new(shared),
            arrived: Notify::new(),
            parked: Notify::new(),
            changed: Condvar::new(),
            bound,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The polling thread's side.

    /// Adds a record, or why it is none.
    #[inline]
    pub(crate) fn push(&self, record: &Record<'_>, tick: Result<TickRecord<'_>, TickError>) {
        let mut shared = self.lock();
        let place = Place { offset: record.offset(), fingerprint: record.fingerprint() };
        if let Some(reason) = shared.strange(record.partition(), place) {
            shared.events.push_back(Event::AnotherLog(reason));
            return;
        }
        shared.batch.records += 1;
        shared.batch.places.insert(record.partition(), place);
        match tick {
            Ok(tick) => shared.add(record, &tick),
            Err(error) => shared.bury(record, error.to_string(), error.as_str()),
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut shared = self.lock();
        shared.finished |= matches!(event, Event::Finished);
        shared.events.push_back(event);
        drop(shared);
        self.arrived.notify_one();
        self.parked.notify_one();
    }

    /// After a burst of records that ended `now` (Unix nanoseconds): wakes the writer, then waits
    /// while the batch is full and while the writer asks for a standstill.
    pub(crate) fn rest(&self, now: u64) {
        const STEP: Duration = Duration::from_millis(100);
        let mut shared = self.lock();
        let read = shared.batch.trades.len();
        if read > shared.batch.bursts.last().map_or(0, |(read, _)| *read) {
            shared.batch.bursts.push((read, now));
        }
        if !shared.batch.is_empty() || !shared.events.is_empty() {
            self.arrived.notify_one();
        }
        while !shared.closed && (shared.park || shared.batch.trades.len() >= self.bound) {
            if shared.park && !shared.is_parked {
                shared.is_parked = true;
                self.parked.notify_one();
            }
            let waited = self.changed.wait_timeout(shared, STEP);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        shared.is_parked = false;
    }

    // The writer's side.

    /// Returns when something may have arrived.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn event(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    /// Puts what has gathered in `batch`, which is empty, and tells of symbols that are new.
    /// Returns whether the symbols were numbered anew: all of `known` are then forgotten.
    pub(crate) fn take(&self, batch: &mut Batch, mut known: impl FnMut(bool, &[Known])) {
        let mut shared = self.lock();
        let anew = shared.symbols.known().len() > MAX_SYMBOLS && shared.batch.is_empty();
        if anew {
            shared.symbols.clear();
        }
        std::mem::swap(&mut shared.batch, batch);
        known(anew, shared.symbols.known());
        drop(shared);
        self.changed.notify_all();
    }

    /// Waits until the polling thread stands still with nothing in its hands, drops what has
    /// gathered, and keeps it so until `resume`.
    pub(crate) async fn park(&self) {
        loop {
            {
                let mut shared = self.lock();
                shared.park = true;
                shared.batch.clear();
                if shared.is_parked || shared.finished {
                    return;
                }
            }
            self.changed.notify_all();
            self.parked.notified().await;
        }
    }

    pub(crate) fn resume(&self) {
        self.lock().park = false;
        self.changed.notify_all();
    }

    /// Nobody takes any more: what gathers from here on is read again by the next life.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Partitions are about to be read (again), and what must be found there.
    pub(crate) fn expect(&self, partitions: &[i32], remembered: &[(i32, Place)]) {
        let mut shared = self.lock();
        for partition in partitions {
            shared.next.remove(partition);
            shared.remembered.remove(partition);
        }
        shared.remembered.extend(remembered.iter().copied());
    }
}

impl Shared {
    /// Why this record shows that the log is another one.
    #[inline]
    fn strange(&mut self, partition: i32, place: Place) -> Option<String> {
        let next = self.next.insert(partition, place.offset + 1);
        if let Some(next) = next
            && place.offset < next
        {
            let offset = place.offset;
            return Some(format!("partition {partition} went back from {next} to {offset}"));
        }
        if let Some(remembered) = self.remembered.get(&partition)
            && place.offset >= remembered.offset
        {
            let same = *remembered == place;
            let passed = place.offset > remembered.offset;
            let offset = remembered.offset;
            self.remembered.remove(&partition);
            if !same && !passed {
                return Some(format!("another record stands at {offset} of partition {partition}"));
            }
        }
        None
    }

    #[inline]
    fn add(&mut self, record: &Record<'_>, tick: &TickRecord<'_>) {
        let symbol = self.symbols.number(tick.symbol());
        let expected = self.symbols.partition(symbol);
        if record.partition() != expected {
            // Its order among the symbol's other trades is unknown.
            let (name, partition) = (tick.symbol(), record.partition());
            let reason = format!("{name} belongs on partition {expected}, not {partition}");
            self.bury(record, reason, "partition");
            return;
        }
        let offset = record.offset();
        self.batch.trades.extend((0..).zip(tick.trades()).map(|(index, trade)| Gathered {
            symbol,
            sequence: Sequence { offset, index },
            trade,
        }));
    }

    #[cold]
    fn bury(&mut self, record: &Record<'_>, reason: String, label: &'static str) {
        let letter = DeadLetter {
            partition: record.partition(),
            offset: record.offset(),
            key: record.key().to_vec(),
            value: record.value().to_vec(),
            reason,
        };
        self.batch.dead.push((letter, label));
    }
}
