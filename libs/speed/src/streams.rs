//! The writer's side of the partitions' streams: what is to be appended, and what is there.

use std::collections::{BTreeMap, VecDeque};

use market::{Sequence, Trade};
use redis::Cmd;
use wire::batch::{Packer, TickBatch};

use crate::{entry, keys};

/// What is remembered of a stream's entries, to trim it by: each of about so many parts of what is
/// retained. Retention is exact to one part.
const PARTS: u64 = 256;

/// Those of one log.
#[derive(Debug)]
pub(crate) struct Streams {
    topic: String,
    /// How many trades each keeps.
    retain: u64,
    partitions: BTreeMap<i32, Stream>,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The last trade that is known to be there.
    end: Option<Sequence>,
    /// The last trade that is counted in `parts`: before `end` where somebody else has appended
    /// what was not read here yet.
    counted: Option<Sequence>,
    /// The last trade of each part, and how many it has. Whoever appended them: a part of the log
    /// has the same trades, however it was cut.
    parts: VecDeque<(Sequence, u64)>,
    trades: u64,
    packer: Packer,
    pending: Vec<Entry>,
}

/// One that is to be appended.
#[derive(Debug)]
struct Entry {
    first: Sequence,
    last: Sequence,
    trades: u64,
    bytes: Vec<u8>,
}

impl Streams {
    pub(crate) fn new(topic: &str, retain: u64) -> Self {
        Self { topic: topic.to_owned(), retain, partitions: BTreeMap::new() }
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
        self.partitions.insert(partition, stream);
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

    /// Packs what was pushed. Returns the partitions that have something to be appended.
    pub(crate) fn pack(&mut self) -> Vec<i32> {
        let mut pending = Vec::new();
        for (partition, stream) in &mut self.partitions {
            stream.pack();
            if !stream.pending.is_empty() {
                pending.push(*partition);
            }
        }
        pending
    }

    pub(crate) fn keys(&self, partition: i32) -> [String; 2] {
        [keys::stream(&self.topic, partition), keys::stream_end(&self.topic, partition)]
    }

    /// What the function expects of a stream after its keys. Returns how many entries and trades.
    pub(crate) fn arguments(&self, partition: i32, call: &mut Cmd) -> (u64, u64) {
        let stream = &self.partitions[&partition];
        call.arg(stream.end.map_or_else(String::new, fixed)).arg(self.retain);
        call.arg(stream.minimum(self.retain)).arg(stream.pending.len());
        for entry in &stream.pending {
            call.arg(fixed(entry.first)).arg(fixed(entry.last)).arg(entry::id(entry.last));
            call.arg(entry.trades).arg(&*entry.bytes);
        }
        (stream.pending.len() as u64, stream.pending.iter().map(|entry| entry.trades).sum())
    }

    /// All that was pending is there now.
    pub(crate) fn appended(&mut self, partition: i32) {
        if let Some(stream) = self.partitions.get_mut(&partition) {
            for entry in std::mem::take(&mut stream.pending) {
                (stream.end, stream.counted) = (Some(entry.last), Some(entry.last));
                stream.note(entry.last, entry.trades, self.retain);
            }
        }
    }

    /// Somebody else has appended up to there: what is pending after it is packed anew. `None`
    /// where that is no place.
    pub(crate) fn overtaken(&mut self, partition: i32, end: &str) -> Option<()> {
        let end = entry::parse_id(end)?;
        let stream = self.partitions.get_mut(&partition)?;
        let (mut there, mut last) = (0, stream.counted);
        for entry in std::mem::take(&mut stream.pending) {
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
                    let name = names[packed.symbol];
                    stream.push(packed.symbol as u32, name, packed.sequence, &packed.trade);
                }
            }
            stream.pack();
        }
        (stream.end, stream.counted) = (Some(end), last);
        if let Some(last) = last.filter(|_| there > 0) {
            stream.note(last, there, self.retain);
        }
        Some(())
    }
}

impl Stream {
    #[inline]
    fn push(&mut self, number: u32, symbol: &str, sequence: Sequence, trade: &Trade) {
        if !self.packer.has_room(sequence) {
            self.pack();
        }
        self.packer.push(number, symbol, sequence, trade);
    }

    fn pack(&mut self) {
        let Some((first, last)) = self.packer.span() else { return };
        let trades = self.packer.len() as u64;
        let mut bytes = Vec::new();
        self.packer.encode(&mut bytes);
        self.pending.push(Entry { first, last, trades, bytes });
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

    /// The least id that is retained once what is pending is there; empty where all is.
    fn minimum(&self, retain: u64) -> String {
        let mut trades = self.trades + self.pending.iter().map(|entry| entry.trades).sum::<u64>();
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

    fn push(streams: &mut Streams, offsets: std::ops::Range<i64>) {
        let price = Price::new(1.0).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 0 };
        for offset in offsets {
            streams.push(0, 7, "A", Sequence::of_record(offset), &trade);
        }
        streams.pack();
    }

    fn pending(streams: &Streams) -> Vec<(i64, i64, u64)> {
        let entries = streams.partitions[&0].pending.iter();
        entries.map(|entry| (entry.first.offset, entry.last.offset, entry.trades)).collect()
    }

    #[test]
    fn an_entry_holds_4096_trades_at_most() {
        let mut streams = streams(1_000_000);
        push(&mut streams, 0..5_000);
        assert_eq!(pending(&streams), [(0, 4_095, 4_096), (4_096, 4_999, 904)]);
    }

    #[test]
    fn what_somebody_else_has_appended_is_left_out() {
        let mut streams = streams(1_000_000);
        push(&mut streams, 0..5_000);
        streams.overtaken(0, &fixed(Sequence::of_record(4_200))).expect("a place");
        assert_eq!(pending(&streams), [(4_201, 4_999, 799)]);
        assert_eq!(streams.partitions[&0].trades, 4_201, "they count all the same");
        streams.appended(0);
        assert_eq!(streams.partitions[&0].trades, 5_000);
        push(&mut streams, 4_000..5_001);
        assert_eq!(pending(&streams), [(5_000, 5_000, 1)], "what is there is not sent again");
    }

    #[test]
    fn what_somebody_else_has_appended_ahead_counts_when_it_is_read() {
        let mut streams = streams(1_000_000);
        push(&mut streams, 0..5_000);
        streams.overtaken(0, &fixed(Sequence::of_record(8_999))).expect("a place");
        assert_eq!(pending(&streams), []);
        assert_eq!(streams.partitions[&0].trades, 5_000, "the rest was not read yet");
        push(&mut streams, 4_000..9_001);
        assert_eq!(pending(&streams), [(9_000, 9_000, 1)]);
        assert_eq!(streams.partitions[&0].trades, 9_000, "each once");
        push(&mut streams, 0..9_001);
        assert_eq!(streams.partitions[&0].trades, 9_000);
    }

    #[test]
    fn a_stream_is_trimmed_to_what_is_retained() {
        let mut streams = streams(100);
        for from in (0..1_000).step_by(10) {
            push(&mut streams, from..from + 10);
            let minimum = streams.partitions[&0].minimum(100);
            let expected = if from < 100 { String::new() } else { format!("{}-2", from - 100 + 9) };
            assert_eq!(minimum, expected, "after {from}");
            streams.appended(0);
            assert!(streams.partitions[&0].trades <= 100);
        }
    }
}
