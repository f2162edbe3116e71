//! The words of a call of the function, and how many there are.

use redis::Cmd;

use crate::streams::StreamText;
use crate::symbol_text::{SymbolText, push_words};

/// Of a call, keys included; about so many.
pub(super) const ARGS_A_SYMBOL: usize = 16;
pub(super) const BYTES_A_SYMBOL: usize = 1_536;
/// And beside symbols and entries.
const ARGS_BESIDE: usize = 64;
const BYTES_BESIDE: usize = 1_024;

/// What a call, or a transaction in its place, has beside its symbols.
#[derive(Debug)]
pub(super) struct Frame {
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

impl Frame {
    pub(super) fn call(&self, texts: &[SymbolText]) -> Cmd {
        let streams: usize = self.streams.iter().map(StreamText::bytes).sum();
        let mut call = Cmd::with_capacity(
            texts.len() * ARGS_A_SYMBOL + ARGS_BESIDE,
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
