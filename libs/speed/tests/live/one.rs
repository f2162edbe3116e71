//! What follows a log and writes it, as a processor does, and how Redis was asked.

use speed::{Packed, Sent};

use super::undisputed::calls;
use super::*;

/// Symbols: more than go into one call or transaction.
pub(super) const MANY: usize = 700;

pub(super) fn names() -> Vec<String> {
    (0..MANY).map(|number| format!("SYMBOL:{number}")).collect()
}

/// The symbol of a record. Some symbols are in nearly every batch, and most are not.
pub(super) fn symbol_of(offset: i64) -> usize {
    let offset = offset as usize;
    if offset.is_multiple_of(3) { offset % 7 } else { (offset * 31) % MANY }
}

/// After so many records nobody trades for ten minutes. Of a symbol whose candles were not all loaded,
/// any may expire then that were stored before: which those are takes the function to find.
pub(super) const LEAP: i64 = 10_000;

pub(super) fn record(offset: i64) -> (Sequence, Trade) {
    let timestamp = BEGIN + offset * 10 + offset / LEAP * 600_000;
    (Sequence::of_record(offset), Trade { timestamp, ..trade(offset) })
}

/// Something that reads the log from a place and writes what it reads, as a processor does.
pub(super) struct One {
    pub(super) writer: Writer,
    pub(super) states: Vec<Option<Tracked>>,
    pub(super) names: Vec<String>,
    pub(super) next: i64,
    pub(super) refused: usize,
}

impl One {
    /// Begins where Redis is.
    pub(super) async fn begin(redis: &str) -> Self {
        let mut writer = Writer::connect(redis, settings(1_000_000)).await.expect("connected");
        let places = writer.places().await.expect("places");
        let next = places.get(&0).map_or(0, |place| place.offset + 1);
        writer.told(places);
        Self { writer, states: vec![None; MANY], names: names(), next, refused: 0 }
    }

    /// The next so many records, in one batch.
    pub(super) async fn write(&mut self, records: i64) {
        let (sent, written) = self.send(records).await;
        self.settle(sent, &written).await;
    }

    /// Two batches, the second of which is prepared while the first is on its way. Returns how many
    /// symbols of each were refused.
    pub(super) async fn write_ahead(&mut self, first: i64, second: i64) -> [usize; 2] {
        let (sent, written) = self.send(first).await;
        let from = self.next;
        let mut changed = vec![false; MANY];
        self.read(second, &mut changed).await;
        let (writer, mut writes, _) = self.writes(&changed);
        let packed = writer.pack();
        writer.prepare(&mut writes);
        let refused = self.settle(sent, &written).await;
        refused.iter().for_each(|number| changed[*number] = false);
        // Those that were refused. (The processor loads them likewise, once it has the answer.)
        self.fold(from, &mut changed).await;
        let (sent, written) = self.send_packed(packed, &changed).await;
        [refused.len(), self.settle(sent, &written).await.len()]
    }

    /// Also which symbols were sent, in their order.
    pub(super) async fn send(&mut self, records: i64) -> (Sent, Vec<usize>) {
        let mut changed = vec![false; MANY];
        self.read(records, &mut changed).await;
        let packed = self.writer.pack();
        self.send_packed(packed, &changed).await
    }

    pub(super) async fn read(&mut self, records: i64, changed: &mut [bool]) {
        let from = self.next;
        self.next += records;
        self.fold(from, changed).await;
        self.writer.begin_streams([0]).await.expect("known");
        for offset in from..self.next {
            let (number, (sequence, trade)) = (symbol_of(offset), record(offset));
            self.writer.append(0, number as u32, &self.names[number], sequence, &trade);
        }
    }

    /// Counts the records from there on, where they are not counted yet.
    pub(super) async fn fold(&mut self, from: i64, changed: &mut [bool]) {
        let mut missing: Vec<usize> = (from..self.next).map(symbol_of).collect();
        missing.retain(|number| self.states[*number].is_none());
        missing.sort_unstable();
        missing.dedup();
        let symbols: Vec<&str> = missing.iter().map(|number| &*self.names[*number]).collect();
        let loaded = self.writer.load(&symbols, false).await.expect("loaded");
        for (number, tracked) in missing.into_iter().zip(loaded) {
            self.states[number] = Some(tracked);
        }
        for offset in from..self.next {
            let (number, (sequence, trade)) = (symbol_of(offset), record(offset));
            let tracked = self.states[number].as_mut().expect("loaded");
            changed[number] |= tracked.state.apply(&trade, sequence);
        }
    }

    pub(super) fn writes(
        &mut self,
        changed: &[bool],
    ) -> (&mut Writer, Vec<SymbolWrite<'_>>, Vec<usize>) {
        let Self { writer, states, names, .. } = self;
        let states = states.iter_mut().enumerate().filter(|(number, _)| changed[*number]);
        let (writes, numbers) = states
            .map(|(number, tracked)| {
                let tracked = tracked.as_mut().expect("loaded");
                (SymbolWrite { symbol: &names[number], partition: 0, tracked }, number)
            })
            .unzip();
        (writer, writes, numbers)
    }

    pub(super) async fn send_packed(
        &mut self,
        packed: Packed,
        changed: &[bool],
    ) -> (Sent, Vec<usize>) {
        let place = Place { offset: self.next - 1, fingerprint: 7 };
        let (writer, mut writes, numbers) = self.writes(changed);
        let sent = writer.send(&mut writes, packed, &[(0, place)]).await.expect("sent");
        (sent, numbers)
    }

    /// Returns what was refused.
    pub(super) async fn settle(&mut self, sent: Sent, written: &[usize]) -> Vec<usize> {
        let done = self.writer.settle(sent).await.expect("written");
        self.refused += done.refused.len();
        let refused: Vec<usize> = done.refused.iter().map(|index| written[*index]).collect();
        refused.iter().for_each(|number| self.states[*number] = None);
        refused
    }
}

/// Compares what Redis has with the log up to its place: the stream, and symbol by symbol.
pub(super) async fn check(redis: &str) {
    let reader = Reader::new(redis, PATIENCE).expect("an address");
    let one = One::begin(redis).await;
    let mut whole: Vec<_> = (0..MANY).map(|_| market::SymbolState::new(&spec())).collect();
    for offset in 0..one.next {
        let (sequence, trade) = record(offset);
        whole[symbol_of(offset)].apply(&trade, sequence);
    }
    for (name, expected) in one.names.iter().zip(&whole) {
        let stored = reader.state(&symbol(name), &spec()).await.expect("an answer");
        let stored = stored.map(|snapshot| snapshot.state);
        let (stored_as_of, latest) =
            stored.as_ref().map_or((None, None), |state| (state.as_of, state.latest));
        assert_eq!((stored_as_of, latest), (expected.as_of, expected.latest), "{name}");
        for candles in &expected.candles {
            let all = CandleRange { from: None, to: None, limit: usize::MAX };
            let interval = candles.spec().interval;
            let found = match stored {
                Some(_) => reader.candles(&symbol(name), interval, all).await.expect("candles"),
                None => Vec::new(),
            };
            let candles: Vec<_> = candles.iter().map(|(start, it)| (start, *it)).collect();
            assert!(found == candles, "the candles of {name}, {interval}");
        }
        let recent: Vec<_> = expected.recent.iter().copied().collect();
        let stored = reader.recent(&symbol(name)).await.expect("an answer");
        assert_eq!(stored.unwrap_or_default(), recent, "{name}");
    }
    let log = reader.ends(TOPIC).await.expect("an answer").expect("a log").log;
    let mut tail = reader.tail(TOPIC, &log, &[None, None]);
    let entries = tailed(&mut tail, 0, one.next as usize).await;
    let offsets: Vec<i64> =
        flattened(&entries).iter().map(|(_, sequence, _)| sequence.offset).collect();
    assert!(offsets.iter().copied().eq(0..one.next), "the stream: {offsets:?}");
}

/// Transactions and calls.
pub(super) fn ways(person: &mut Person) -> (u64, u64) {
    (calls(person, "exec"), calls(person, "fcall"))
}
