use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use broker::{DeadLetter, Record};
use market::{Place, Sequence, Trade};
use service::traces::{self, TRACEPARENT};
use tokio::sync::Notify;
use wire::tick::{TickError, TickRecord};

use crate::loads::another_record;
use crate::symbols::{Known, Symbols};

/// A hostile topic could name a new symbol in every record. Past this many all are forgotten and
/// those that still trade are loaded again.
const MAX_SYMBOLS: usize = 500_000;

/// Dead letters keep their bytes until they are buried. Full means that the polling thread waits.
const MAX_DEAD_BYTES: usize = 16 * 1_024 * 1_024;

/// Rounds of the ingestor that a batch's span links to. Those that come after are left out.
const MAX_TRACEPARENTS: usize = 32;

/// What was read and not yet written.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of the log, within each partition.
    pub trades: Vec<Gathered>,
    /// The last record read of each partition.
    pub places: BTreeMap<i32, Place>,
    pub dead: Vec<(DeadLetter, &'static str)>,
    pub records: usize,
    /// When the first trade read of each partition was received, Unix nanoseconds.
    pub(crate) received: BTreeMap<i32, u64>,
    /// How many trades had been read by when (Unix nanoseconds), once a burst; the last is of all.
    pub bursts: Vec<(usize, u64)>,
    /// Which rounds of the ingestor its records say they are of, each once; at most
    /// [`MAX_TRACEPARENTS`], and none where nothing is traced.
    pub(crate) traceparents: Vec<String>,
    /// What the dead letters take.
    dead_bytes: usize,
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

    fn is_full(&self, bound: usize) -> bool {
        self.trades.len() >= bound || self.dead_bytes >= MAX_DEAD_BYTES
    }

    /// Drops what was read of some partitions; `records` still counts it.
    fn let_go(&mut self, partitions: &[i32], symbols: &Symbols) {
        let read = self.places.len();
        self.places.retain(|partition, _| !partitions.contains(partition));
        if self.places.is_empty() {
            self.clear();
        }
        if self.places.len() == read {
            return;
        }
        let stays = |trade: &Gathered| !partitions.contains(&symbols.partition(trade.symbol));
        let (mut read, mut stayed) = (0, 0);
        for (to, _) in &mut self.bursts {
            stayed += self.trades[read..*to].iter().filter(|trade| stays(trade)).count();
            read = std::mem::replace(to, stayed);
        }
        self.trades.retain(stays);
        self.received.retain(|partition, _| !partitions.contains(partition));
        self.dead.retain(|(letter, _)| !partitions.contains(&letter.partition));
        self.dead_bytes = self.dead.iter().map(|(letter, _)| bytes_of(letter)).sum();
    }

    fn end_burst(&mut self, now: u64) {
        let read = self.trades.len();
        if read > self.bursts.last().map_or(0, |(read, _)| *read) {
            self.bursts.push((read, now));
        }
    }

    /// Few records have such a header, and those of one round have the same.
    fn trace(&mut self, record: &Record<'_>) {
        if let Some(traceparent) = record.header(TRACEPARENT)
            && self.traceparents.len() < MAX_TRACEPARENTS
            && self.traceparents.iter().all(|known| known != traceparent)
        {
            self.traceparents.push(traceparent.to_owned());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.trades.clear();
        self.places.clear();
        self.received.clear();
        self.dead.clear();
        self.bursts.clear();
        self.traceparents.clear();
        self.dead_bytes = 0;
        self.records = 0;
    }
}

fn bytes_of(letter: &DeadLetter) -> usize {
    letter.key.len() + letter.value.len()
}

/// What the polling thread tells beside records.
#[derive(Debug)]
pub(crate) enum Event {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
    Lost(Vec<i32>),
    /// The broker's log is not the one that Redis follows.
    AnotherLog(String),
    /// These are read and bring nothing, though their log has more.
    Silent(Vec<i32>),
    /// The polling thread has ended: nothing more will come.
    Finished,
}

/// The batch that grows, shared by the polling thread and whoever writes it.
///
/// Invariant: it holds records only of partitions that are expected. Whatever else is polled, such
/// as the last records of one that was given back, is dropped: whoever starts it reads it again.
pub(crate) struct Gathering {
    shared: Mutex<Shared>,
    /// For the writer: there is something to take.
    arrived: Notify,
    /// For the writer: the polling thread stands still.
    parked: Notify,
    /// For the polling thread: the batch was taken, or it may go on.
    changed: Condvar,
    bound: usize,
    /// Records may say which round of the ingestor they are of: whether anybody wants to know.
    traced: bool,
}

struct Shared {
    batch: Batch,
    symbols: Symbols,
    events: VecDeque<Event>,
    /// The writer has one of them in hand.
    heeding: bool,
    /// Something was the matter that may have kept records back, since it was asked last.
    stirred: bool,
    /// The partitions that are expected.
    next: BTreeMap<i32, Next>,
    /// Records that must be found again, as Redis remembers them.
    remembered: BTreeMap<i32, Place>,
    park: bool,
    is_parked: bool,
    finished: bool,
    /// Nobody takes any more.
    closed: bool,
    /// The log is another one: nothing of it may have an effect.
    strange: bool,
    /// The symbols are numbered anew since the last batch was taken.
    anew: bool,
    /// With so many trades the writer wants to be woken; 0 for any record.
    wanted: usize,
}

/// What comes of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    /// The first offset that may.
    offset: i64,
    /// The fingerprint of the record before that.
    last: u64,
    /// A record has, since it was begun or since that was asked.
    brought: bool,
}

impl Next {
    /// Whether it is the record that came last, once more.
    fn brought_before(&self, place: Place) -> bool {
        place.offset + 1 == self.offset && place.fingerprint == self.last
    }
}

impl Gathering {
    pub(crate) fn new(bound: usize, partitions: i32) -> Self {
        let shared = Shared {
            batch: Batch::default(),
            symbols: Symbols::new(partitions),
            events: VecDeque::new(),
            heeding: false,
            stirred: false,
            next: BTreeMap::new(),
            remembered: BTreeMap::new(),
            park: false,
            is_parked: false,
            finished: false,
            closed: false,
            strange: false,
            anew: false,
            wanted: 0,
        };
        Self {
            shared: Mutex::new(shared),
            arrived: Notify::new(),
            parked: Notify::new(),
            changed: Condvar::new(),
            bound,
            traced: traces::are_made(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The polling thread's side.

    /// Adds a record, or why it is none. False once the batch is full.
    #[inline]
    pub(crate) fn push(
        &self,
        record: &Record<'_>,
        tick: Result<TickRecord<'_>, TickError>,
    ) -> bool {
        let mut shared = self.lock();
        if shared.strange {
            return false;
        }
        let place = Place { offset: record.offset(), fingerprint: record.fingerprint() };
        let known = match shared.look(record.partition(), place) {
            None => return true,
            Some(Ok(known)) => known,
            Some(Err(reason)) => {
                shared.strange = true;
                shared.batch.clear();
                shared.events.push_back(Event::AnotherLog(reason));
                return false;
            }
        };
        shared.batch.records += 1;
        shared.batch.places.insert(record.partition(), place);
        if self.traced {
            shared.batch.trace(record);
        }
        match tick {
            Ok(tick) => shared.add(record, &tick, known),
            // A dead letter of an earlier life is on its topic already.
            Err(_) if known => {}
            Err(error) => shared.bury(record, error.to_string(), error.as_str()),
        }
        !shared.batch.is_full(self.bound)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut shared = self.lock();
        shared.finished |= matches!(event, Event::Finished);
        shared.stirred = true;
        shared.events.push_back(event);
        drop(shared);
        self.arrived.notify_one();
        self.parked.notify_one();
    }

    /// After a burst of records that ended `now` (Unix nanoseconds): wakes the writer, then waits
    /// while the writer asks for a standstill, and up to `patience` while the batch is full. Whether
    /// it still is.
    pub(crate) fn rest(&self, now: u64, patience: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(100);
        let begun = Instant::now();
        let mut shared = self.lock();
        shared.batch.end_burst(now);
        shared.stirred |= shared.batch.is_full(self.bound);
        if shared.is_wanted(self.bound) {
            self.arrived.notify_one();
        }
        while !shared.closed
            && (shared.park || shared.batch.is_full(self.bound) && begun.elapsed() < patience)
        {
            if shared.park && !shared.is_parked {
                shared.is_parked = true;
                self.parked.notify_one();
            }
            shared.stirred = true;
            let waited = self.changed.wait_timeout(shared, STEP);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        shared.is_parked = false;
        !shared.closed && shared.batch.is_full(self.bound)
    }

    /// The partitions of which something has come since they were begun, or since this was asked
    /// last.
    pub(crate) fn brought(&self) -> Vec<i32> {
        let mut shared = self.lock();
        let brought = shared.next.iter_mut().filter_map(|(partition, next)| {
            std::mem::take(&mut next.brought).then_some(*partition)
        });
        brought.collect()
    }

    // The writer's side.

    /// Returns when something may have arrived that is wanted.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The next event, and that the last one was heeded.
    pub(crate) fn event(&self) -> Option<Event> {
        let mut shared = self.lock();
        let event = shared.events.pop_front();
        shared.stirred |= shared.heeding;
        shared.heeding = event.is_some();
        event
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.lock().events.is_empty()
    }

    /// From now on `arrived` returns for an event, or so many trades; with 0 for any record. Whether
    /// they are there already.
    pub(crate) fn want(&self, trades: usize) -> bool {
        let mut shared = self.lock();
        shared.wanted = trades;
        shared.is_wanted(self.bound)
    }

    /// An event that could not be heeded now: it comes first again.
    pub(crate) fn put_back(&self, event: Event) {
        self.lock().events.push_front(event);
        self.arrived.notify_one();
    }

    /// Puts what has gathered by `now` (Unix nanoseconds) in `batch`, which is empty, and tells of the
    /// symbols. Where `known` is told that they were numbered anew, all earlier numbers are void.
    pub(crate) fn take(&self, batch: &mut Batch, now: u64, mut known: impl FnMut(bool, &[Known])) {
        let mut shared = self.lock();
        // It may be taken in the middle of a burst.
        shared.batch.end_burst(now);
        std::mem::swap(&mut shared.batch, batch);
        known(std::mem::take(&mut shared.anew), shared.symbols.known());
        if shared.symbols.known().len() > MAX_SYMBOLS {
            // Nothing that gathers carries a number now.
            shared.symbols.clear();
            shared.anew = true;
        }
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
        shared.let_go(partitions);
        shared.next.extend(partitions.iter().map(|partition| (*partition, Next::default())));
        shared.remembered.extend(remembered.iter().copied());
    }

    /// Nothing of these is expected any more.
    pub(crate) fn let_go(&self, partitions: &[i32]) {
        self.lock().let_go(partitions);
    }

    // The watch's side.

    /// Of each partition that is expected, the first offset that may come. `None` where something
    /// was the matter, since this was asked last, that may have kept records back: a full batch, or
    /// a decision of the group.
    pub(crate) fn standing(&self) -> Option<BTreeMap<i32, i64>> {
        let mut shared = self.lock();
        let in_hand = shared.heeding || !shared.events.is_empty();
        let stirred = std::mem::take(&mut shared.stirred) || in_hand;
        let standing = shared.next.iter().map(|(partition, next)| (*partition, next.offset));
        (!stirred).then(|| standing.collect())
    }
}

impl Shared {
    /// Whether the writer wants to be woken.
    fn is_wanted(&self, bound: usize) -> bool {
        let Self { batch, events, wanted, .. } = self;
        let is_enough = batch.trades.len() >= *wanted || batch.is_full(bound);
        !batch.is_empty() && is_enough || !events.is_empty()
    }

    fn let_go(&mut self, partitions: &[i32]) {
        self.stirred = true;
        for partition in partitions {
            self.next.remove(partition);
            self.remembered.remove(partition);
        }
        self.batch.let_go(partitions, &self.symbols);
    }

    /// Whether the record is one that the store remembers or an older one; an error says why it
    /// shows that the log is another one. `None` where its partition is not expected, or where it is
    /// the one that came last.
    #[inline]
    fn look(&mut self, partition: i32, place: Place) -> Option<Result<bool, String>> {
        let next = self.next.get_mut(&partition)?;
        // A rebalance may come between a poll and the note that librdkafka takes of it.
        if next.brought_before(place) {
            return None;
        }
        let now = Next { offset: place.offset + 1, last: place.fingerprint, brought: true };
        let expected = std::mem::replace(next, now);
        Some(self.compare(partition, place, expected.offset))
    }

    #[inline]
    fn compare(&mut self, partition: i32, place: Place, next: i64) -> Result<bool, String> {
        if place.offset < next {
            let offset = place.offset;
            return Err(format!("partition {partition} went back from {next} to {offset}"));
        }
        let Some(remembered) = self.remembered.get(&partition) else { return Ok(false) };
        if place.offset < remembered.offset {
            return Ok(true);
        }
        let same = *remembered == place;
        let offset = remembered.offset;
        self.remembered.remove(&partition);
        if same || place.offset > offset {
            return Ok(same);
        }
        Err(another_record(partition, offset))
    }

    #[inline]
    fn add(&mut self, record: &Record<'_>, tick: &TickRecord<'_>, known: bool) {
        let symbol = self.symbols.number(tick.symbol());
        let expected = self.symbols.partition(symbol);
        if record.partition() != expected {
            // Its order among the symbol's other trades is unknown.
            let (name, partition) = (tick.symbol(), record.partition());
            if !known {
                let reason = format!("{name} belongs on partition {expected}, not {partition}");
                self.bury(record, reason, "partition");
            }
            return;
        }
        self.batch.received.entry(expected).or_insert_with(|| tick.trade(0).received_at);
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
        self.batch.dead_bytes += bytes_of(&letter);
        self.batch.dead.push((letter, label));
    }
}

#[cfg(test)]
mod tests;
