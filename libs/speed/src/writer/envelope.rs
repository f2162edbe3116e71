//! What goes with a batch's symbols, and the words of a call of the function.

use redis::Cmd;

use crate::streams::StreamText;
use crate::symbol_text::{SymbolText, push_words};

/// Of a call, keys included; about so many.
pub(super) const ARGS_A_SYMBOL: usize = 16;
pub(super) const BYTES_A_SYMBOL: usize = 1_536;
/// Of a partition, of a stream, of one of its entries, and beside all of these.
const ARGS_A_PARTITION: usize = 5;
const ARGS_A_STREAM: usize = 6;
const ARGS_AN_ENTRY: usize = 5;
const ARGS_BESIDE: usize = 10;
const BYTES_BESIDE: usize = 1_024;

/// What a call, or a transaction in its place, has beside its symbols. The last one of a batch tells its
/// places.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) log_key: String,
    /// The log's id.
    pub(super) log: String,
    /// The writer's.
    pub(super) presence: String,
    pub(super) partitions: Vec<PartitionText>,
    pub(super) streams: Vec<StreamText>,
    /// Every symbol was loaded or written under the claims, which stand.
    pub(super) is_claimed: bool,
}

/// What a call says of a partition.
#[derive(Debug)]
pub(super) struct PartitionText {
    pub(super) partition: i32,
    /// The places that were told before and that are told now, or empty. Both of fixed width.
    pub(super) told: String,
    pub(super) now: String,
    pub(super) claim: String,
    pub(super) is_new: bool,
}

impl Envelope {
    pub(super) fn call(&self, texts: &[SymbolText]) -> Cmd {
        let entries: usize = self.streams.iter().map(|stream| stream.entries.len()).sum();
        let streams: usize = self.streams.iter().map(StreamText::bytes).sum();
        let mut call = Cmd::with_capacity(
            texts.len() * ARGS_A_SYMBOL
                + self.partitions.len() * ARGS_A_PARTITION
                + self.streams.len() * ARGS_A_STREAM
                + entries * ARGS_AN_ENTRY
                + ARGS_BESIDE,
            texts.len() * BYTES_A_SYMBOL + streams + BYTES_BESIDE,
        );
        let symbols: usize = texts.iter().map(|text| text.keys().count()).sum();
        let keys = 2 + symbols + 2 * self.streams.len();
        call.arg("FCALL").arg("gostocks_write_7").arg(keys);
        call.arg(&self.log_key).arg(&self.presence);
        push_words(texts.iter().flat_map(SymbolText::keys), &mut call);
        for stream in &self.streams {
            call.arg(&stream.keys);
        }
        call.arg(&self.log).arg(self.partitions.len());
        call.arg(texts.len()).arg(self.streams.len()).arg(if self.is_claimed { "1" } else { "" });
        for PartitionText { partition, told, now, claim, is_new } in &self.partitions {
            call.arg(partition).arg(told).arg(now).arg(claim).arg(if *is_new { "1" } else { "" });
        }
        texts.iter().for_each(|text| text.arguments(&mut call));
        self.streams.iter().for_each(|stream| stream.arguments(&mut call));
        call
    }
}
