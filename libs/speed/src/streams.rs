//! The writer's side of the partitions' streams: what is to be appended, and what is there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use market::{Sequence, Trade};
use redis::Cmd;
use wire::batch::{Packer, TickBatch};

use crate::claims::Claim;
use crate::{entry, keys};

/// What is remembered of a stream's entries, to trim it by: each of about so many parts of what is
/// retained. Retention is exact to one part.
const PARTS: u64 = 256;

/// Of an entry's text, beside its trades, about.
const BYTES_AN_ENTRY: usize = 128;

/// Those of one log.
#[derive(Debug)]
pub(crate) struct Streams {
    topic: String,
    /// How many trades each keeps.
    retain: u64,
    partitions: BTreeMap<i32, Stream>,
    /// How many streams came to be known.
    lives: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Another one each time that it came to be known.
    life: u64,
    /// The last trade that is known to be there.
    end: Option<Sequence>,
    /// Under which claim that was so.
    claim: Option<Claim>,
    /// The last trade that is counted in `parts`: before `end` where somebody else has appended
    /// what was not read here yet.
    counted: Option<Sequence>,
    /// The last trade of each part, and how many it has. Whoever appended them: a part of the log
    /// has the same trades, however it was cut.
    parts: VecDeque<(Sequence, u64)>,
    trades: u64,
    packer: Packer,
    /// What does not fit into the packer any more.
    packed: Vec<Entry>,
}

/// What is to be appended to a stream.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) partition: i32,
    life: u64,
    /// Under which it is written, once it is in a call.
    pub(crate) claim: Option<Claim>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    first: Sequence,
    last: Sequence,
    trades: u64,
    bytes: Arc<Vec<u8>>,
}

/// What is to be written of a stream.
#[derive(Debug)]
pub(crate) struct StreamText {
    /// The stream's, and of where it ends.
    pub(crate) keys: [String; 2],
    /// Where it is known to end; empty for nowhere.
    pub(crate) known: String,
    pub(crate) retain: u64,
    /// The id below which entries go; empty for none.
    pub(crate) minimum: String,
    pub(crate) entries: Vec<EntryText>,
}

#[derive(Debug)]
pub(crate) struct EntryText {
    first: String,
    pub(crate) last: String,
    pub(crate) id: String,
    pub(crate) trades: u64,
    pub(crate) bytes: Arc<Vec<u8>>,
}

impl Streams {
    pub(crate) fn new(topic: &str, retain: u64) -> Self {
        Self { topic: topic.to_owned(), retain, partitions: BTreeMap::new(), lives: 0 }
    }

    pub(crate) fn is_known(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// One that ends there: its entries up to there are to be counted, then it is known.
    pub(crate) fn ending_at(end: Option<Sequence>) -> Stream {
        Stream { end, counted: end, packer: Packer::new(), ..Stream::default() }
    }

    /// It has an entry of so many trades, the last of them there; in the order of the log.
    pub(crate) fn count(&self, stream: &mut Stream, last: Sequence, trades: u64) {
        stream.note(last, trades, self.retain);
    }

    pub(crate) fn know(&mut self, partition: i32, stream: Stream) {
        self.lives += 1;
        self.partitions.insert(partition, Stream { life: self.lives, ..stream });
    }

    pub(crate) fn forget(&mut self, partitions: Option<&[i32]>) {
        match partitions {
            None => self.partitions.clear(),
            Some(partitions) => {
                self.partitions.retain(|partition, _| !partitions.contains(partition));
            }
        }
    }

    /// Adds a trade of a stream that is known, in the order of the log. One that is there already
    /// is left out.
    #[inline]
    pub(crate) fn push(
        &mut self,
        partition: i32,
        number: u32,
        symbol: &str,
        sequence: Sequence,
        trade: &Trade,
    ) {
        let Some(stream) = self.partitions.get_mut(&partition) else { return };
        if stream.end < Some(sequence) {
            stream.push(number, symbol, sequence, trade);
        } else if stream.counted < Some(sequence) {
            stream.counted = Some(sequence);
            stream.note(sequence, 1, self.retain);
        }
    }

    /// Packs what was pushed since the last time.
    pub(crate) fn pack(&mut self) -> Vec<Append> {
        let mut appends = Vec::new();
        for (partition, stream) in &mut self.partitions {
            stream.pack();
            if !stream.packed.is_empty() {
                let entries = std::mem::take(&mut stream.packed);
                let (partition, life) = (*partition, stream.life);
                appends.push(Append { partition, life, claim: None, entries });
            }
        }
        appends
    }

    pub(crate) fn keys(&self, partition: i32) -> [String; 2] {
        [keys::stream(&self.topic, partition), keys::stream_end(&self.topic, partition)]
    }

    /// What is to be written. What was packed before it has an answer.
    pub(crate) fn text(&self, append: &Append) -> StreamText {
        let stream = &self.partitions[&append.partition];
        let entries = append.entries.iter().map(|entry| EntryText {
            first: fixed(entry.first),
            last: fixed(entry.last),
            id: entry::id(entry.last),
            trades: entry.trades,
            bytes: Arc::clone(&entry.bytes),
        });
        StreamText {
            keys: self.keys(append.partition),
            known: stream.end.map_or_else(String::new, fixed),
            retain: self.retain,
            minimum: stream.minimum(append.trades(), self.retain),
            entries: entries.collect(),
        }
    }

    /// All of it is there now.
    pub(crate) fn appended(&mut self, append: &Append) {
        let retain = self.retain;
        if let Some(stream) = self.same(append) {
            stream.claim = append.claim;
            for entry in &append.entries {
                (stream.end, stream.counted) = (Some(entry.last), Some(entry.last));
                stream.note(entry.last, entry.trades, retain);
            }
        }
    }

    /// Somebody else has appended up to there. Returns what comes after it, packed anew; nothing of
    /// a stream that was forgotten meanwhile. `None` where that is no place.
    pub(crate) fn overtaken(&mut self, mut append: Append, end: &str) -> Option<Append> {
        let end = entry::parse_id(end)?;
        let retain = self.retain;
        let entries = std::mem::take(&mut append.entries);
        let Some(stream) = self.same(&append) else { return Some(append) };
        let (mut there, mut last) = (0, stream.counted);
        let mut packer = Packer::new();
        for entry in entries {
            if entry.last <= end {
                (there, last) = (there + entry.trades, Some(entry.last));
                continue;
            }
            let batch = TickBatch::decode(&entry.bytes).ok()?;
            let names: Vec<&str> = batch.symbols().collect();
            for packed in batch.trades() {
                if packed.sequence <= end {
                    (there, last) = (there + 1, Some(packed.sequence));
                } else {
                    // Without those before it, what was near enough may be too far.
                    if !packer.has_room(packed.sequence, &packed.trade) {
                        append.entries.extend(Entry::of(&mut packer));
                    }
                    let name = names[packed.symbol];
                    packer.push(packed.symbol as u32, name, packed.sequence, &packed.trade);
                }
            }
            append.entries.extend(Entry::of(&mut packer));
        }
        (stream.end, stream.counted) = (Some(end), last);
        if let Some(last) = last.filter(|_| there > 0) {
            stream.note(last, there, retain);
        }
        Some(append)
    }

    /// Whether its stream ends where it is known to end, as long as this claim holds.
    pub(crate) fn is_under(&self, append: &Append, claim: Claim) -> bool {
        let stream = self.partitions.get(&append.partition);
        stream.is_some_and(|stream| stream.life == append.life && stream.claim == Some(claim))
    }

    /// Whether the stream that it was packed for was forgotten since.
    pub(crate) fn is_forgotten(&self, append: &Append) -> bool {
        self.partitions.get(&append.partition).is_none_or(|stream| stream.life != append.life)
    }

    /// The stream that it was packed for, unless that was forgotten since.
    fn same(&mut self, append: &Append) -> Option<&mut Stream> {
        self.partitions.get_mut(&append.partition).filter(|stream| stream.life == append.life)
    }
}

impl StreamText {
    /// About how many.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| BYTES_AN_ENTRY + entry.bytes.len()).sum()
    }

    /// What the function expects after the keys.
    pub(crate) fn arguments(&self, call: &mut Cmd) {
        let Self { known, retain, minimum, entries, .. } = self;
        call.arg(known).arg(retain).arg(minimum).arg(entries.len());
        for EntryText { first, last, id, trades, bytes } in entries {
            call.arg(first).arg(last).arg(id).arg(trades).arg(&***bytes);
        }
    }
}

impl Append {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn trades(&self) -> u64 {
        self.entries.iter().map(|entry| entry.trades).sum()
    }
}

impl Entry {
    /// What the packer holds, if anything.
    fn of(packer: &mut Packer) -> Option<Self> {
        let (first, last) = packer.span()?;
        let trades = packer.len() as u64;
        let mut bytes = Vec::new();
        packer.encode(&mut bytes);
        Some(Self { first, last, trades, bytes: Arc::new(bytes) })
    }
}

impl Stream {
    #[inline]
    fn push(&mut self, number: u32, symbol: &str, sequence: Sequence, trade: &Trade) {
        if !self.packer.has_room(sequence, trade) {
            self.pack();
        }
        self.packer.push(number, symbol, sequence, trade);
    }

    fn pack(&mut self) {
        self.packed.extend(Entry::of(&mut self.packer));
    }

    /// The stream has so many trades more, the last of them there.
    fn note(&mut self, last: Sequence, trades: u64, retain: u64) {
        self.trades += trades;
        match self.parts.back_mut() {
            Some((end, part)) if *part + trades <= retain / PARTS => {
                *end = last;
                *part += trades;
            }
            _ => self.parts.push_back((last, trades)),
        }
        while let Some((_, oldest)) = self.parts.get(1).and(self.parts.front())
            && self.trades - oldest >= retain
        {
            self.trades -= oldest;
            self.parts.pop_front();
        }
    }

    /// The least id that is retained once so many trades more are there; empty where all is.
    fn minimum(&self, more: u64, retain: u64) -> String {
        let mut trades = self.trades + more;
        let mut gone = None;
        for (last, part) in &self.parts {
            if trades - part < retain {
                break;
            }
            trades -= part;
            gone = Some(*last);
        }
        gone.map_or_else(String::new, entry::id_after)
    }
}

/// The id of an entry in fixed width, so that Redis compares two as strings.
fn fixed(last: Sequence) -> String {
    format!("{:019}-{:010}", last.offset, u64::from(last.index) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::{Price, Volume};

    fn streams(retain: u64) -> Streams {
        let mut streams = Streams::new("t", retain);
        streams.know(0, Streams::ending_at(None));
        streams
    }

    fn push(streams: &mut Streams, offsets: std::ops::Range<i64>) -> Append {
        let price = Price::new(1.0).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 0 };
        for offset in offsets {
            streams.push(0, 7, "A", Sequence::of_record(offset), &trade);
        }
        let nothing = Append { partition: 0, life: 1, claim: None, entries: Vec::new() };
        streams.pack().pop().unwrap_or(nothing)
    }

    fn overtaken(streams: &mut Streams, append: Append, end: i64) -> Append {
        streams.overtaken(append, &fixed(Sequence::of_record(end))).expect("a place")
    }

    fn entries(append: &Append) -> Vec<(i64, i64, u64)> {
        let entries = append.entries.iter();
        entries.map(|entry| (entry.first.offset, entry.last.offset, entry.trades)).collect()
    }

    #[test]
    fn an_entry_holds_4096_trades_at_most() {
        let mut streams = streams(1_000_000);
        let append = push(&mut streams, 0..5_000);
        assert_eq!(entries(&append), [(0, 4_095, 4_096), (4_096, 4_999, 904)]);
        assert_eq!((append.entries(), append.trades()), (2, 5_000));
    }

    #[test]
    fn what_somebody_else_has_appended_is_left_out() {
        let mut streams = streams(1_000_000);
        let append = push(&mut streams, 0..5_000);
        let append = overtaken(&mut streams, append, 4_200);
        assert_eq!(entries(&append), [(4_201, 4_999, 799)]);
        assert_eq!(streams.partitions[&0].trades, 4_201, "they count all the same");
        streams.appended(&append);
        assert_eq!(streams.partitions[&0].trades, 5_000);
        let append = push(&mut streams, 4_000..5_001);
        assert_eq!(entries(&append), [(5_000, 5_000, 1)], "what is there is not sent again");
    }

    #[test]
    fn what_somebody_else_has_appended_ahead_counts_when_it_is_read() {
        let mut streams = streams(1_000_000);
        let append = push(&mut streams, 0..5_000);
        let append = overtaken(&mut streams, append, 8_999);
        assert!(append.is_empty());
        assert_eq!(streams.partitions[&0].trades, 5_000, "the rest was not read yet");
        let append = push(&mut streams, 4_000..9_001);
        assert_eq!(entries(&append), [(9_000, 9_000, 1)]);
        streams.appended(&append);
        assert_eq!(streams.partitions[&0].trades, 9_001, "each once");
        push(&mut streams, 0..9_001);
        assert_eq!(streams.partitions[&0].trades, 9_001);
    }

    #[test]
    fn what_is_left_of_an_entry_may_be_too_far_apart_for_one() {
        let mut streams = streams(1_000_000);
        let price = Price::new(1.0).expect("a price");
        let day = |day: i64| day * 86_400_000;
        for (offset, timestamp) in (0..).zip([day(100), day(120), day(90), day(91)]) {
            let trade = Trade { price, volume: Volume::ZERO, timestamp, received_at: 0 };
            streams.push(0, 7, "A", Sequence::of_record(offset), &trade);
        }
        let append = streams.pack().pop().expect("an entry");
        assert_eq!(entries(&append), [(0, 3, 4)], "all are near enough to the first");
        let append = overtaken(&mut streams, append, 0);
        assert_eq!(entries(&append), [(1, 1, 1), (2, 3, 2)]);
        assert!(!streams.is_forgotten(&append));
    }

    #[test]
    fn what_follows_may_be_packed_before_there_is_an_answer() {
        let mut streams = streams(1_000_000);
        let first = push(&mut streams, 0..5_000);
        let second = push(&mut streams, 5_000..6_000);
        let first = overtaken(&mut streams, first, 5_500);
        assert!(first.is_empty());
        // It is told of the same end, once it is sent.
        let second = overtaken(&mut streams, second, 5_500);
        assert_eq!(entries(&second), [(5_501, 5_999, 499)]);
        streams.appended(&second);
        assert_eq!(streams.partitions[&0].trades, 6_000, "each once");
    }

    #[test]
    fn what_was_packed_for_a_stream_that_was_forgotten_is_none_of_its_next_life() {
        let mut streams = streams(1_000_000);
        let (first, second) = (push(&mut streams, 0..10), push(&mut streams, 10..20));
        streams.forget(Some(&[0]));
        streams.know(0, Streams::ending_at(Some(Sequence::of_record(19))));
        streams.appended(&first);
        assert!(streams.is_forgotten(&second));
        assert!(overtaken(&mut streams, second, 15).is_empty());
        let stream = &streams.partitions[&0];
        assert_eq!((stream.end, stream.trades), (Some(Sequence::of_record(19)), 0));
    }

    #[test]
    fn a_stream_is_trimmed_to_what_is_retained() {
        let mut streams = streams(100);
        for from in (0..1_000).step_by(10) {
            let append = push(&mut streams, from..from + 10);
            let minimum = streams.partitions[&0].minimum(append.trades(), 100);
            let expected = if from < 100 { String::new() } else { format!("{}-2", from - 100 + 9) };
            assert_eq!(minimum, expected, "after {from}");
            streams.appended(&append);
            assert!(streams.partitions[&0].trades <= 100);
        }
    }
}
