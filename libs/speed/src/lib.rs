//! The speed layer: of every symbol the latest price, the day, candles and recent trades, and of
//! every partition a stream of its trades, in Redis or Redis Cluster.
//!
//! ```text
//!  processor ── Writer: load, fold (market), write as of a position ──▶ Redis ◀── Reader ── gateway
//!                       append what was read to its stream ───────────▶   └──▶ Tail ──────────┘
//! ```
//!
//! Invariant: **what Redis holds of a symbol is a function of the log up to the position stored
//! with it, and a stream holds the trades of its partition in order, each once.** Writes are
//! absolute, never increments, and a function in Redis refuses one that is not newer than what is
//! stored. So replays and two writers at once are harmless. A writer that nobody disputes writes by
//! plain commands in a transaction instead, which Redis refuses as soon as somebody does.
//!
//! What is atomic: a symbol's keys with each other; an entry with the end of its stream. On a single
//! Redis all of a call is, up to 500 symbols and the streams; on a cluster each symbol and each
//! stream is by itself. The order is the same on both: symbols, streams, places. Every write names
//! what it follows, so that a Redis that has lost something (a replica took over that was behind) is
//! noticed, and the log read again from what it has.
//!
//! On a single Redis a writer claims the partitions of its symbols, and has a key of its own, its
//! presence, which goes with the first claim that is lost. While its claims hold and Redis has the
//! places that it told, nobody else has written and no batch was lost: what is stored of a symbol
//! need not be read back before it is written, and while the presence is watched and there, nothing
//! need be compared at all. Not noticed then: one key that was set back by hand, and a Redis that went
//! back in the midst of a batch over a connection that stood. Noticed, but only when the rest of the
//! batch is there already: that somebody deleted the log's key or a price, put one of another type in
//! the place of a key, or appended to a stream. What that key is without then, `processor rebuild`
//! makes anew.

mod address;
mod candle_text;
mod claims;
mod entry;
mod fields;
mod keys;
mod link;
mod log;
mod price;
mod reader;
mod rebuild;
mod span;
mod stored_state;
mod streams;
mod symbol_text;
mod tail;
mod topology;
mod tracked;
mod writer;

pub use entry::StreamEntry;
pub use log::{Log, LogId, Position};
pub use price::{DayStats, LatestPrice};
pub use reader::{CandleRange, Ends, ReadError, Reader};
pub use stored_state::Snapshot;
pub use tail::{Tail, TailError};
pub use tracked::Tracked;
pub use writer::{Packed, Sent, SymbolWrite, Writer, WriterSettings, Written};

/// Redis did not answer, or not in time. Whether a write took place is unknown.
#[derive(Debug, thiserror::Error)]
#[error("Redis at {address}: {reason}")]
pub struct Unavailable {
    pub address: String,
    pub reason: String,
}
