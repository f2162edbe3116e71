//! The speed layer: the latest price, the day and the 1 m candles of every symbol, in Redis.
//!
//! ```text
//!  processor ── Writer: load, fold (market), write as of a position ──▶ Redis ◀── Reader ── gateway
//! ```
//!
//! Invariant: **what Redis holds of a symbol is a function of the log up to the position stored
//! with it.** Writes are absolute, never increments, and a function in Redis refuses one that is
//! not newer than what is stored. So replays and two writers at once are harmless.

mod candle_text;
mod fields;
mod keys;
mod log;
mod reader;
mod span;
mod state_fields;
mod writer;

pub use log::{Log, LogId};
pub use reader::{DayStats, LatestPrice, ReadError, Reader};
pub use writer::{SymbolWrite, Writer};

/// Redis did not answer, or not in time. Whether a write took place is unknown.
#[derive(Debug, thiserror::Error)]
#[error("Redis at {address}: {reason}")]
pub struct Unavailable {
    pub address: String,
    pub reason: String,
}
