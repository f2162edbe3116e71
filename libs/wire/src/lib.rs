//! Every encoding of a trade: Finnhub's JSON, the protobuf record of the log, the packed batch and
//! the ring of Redis, and how the one becomes the other.
//!
//! ```text
//!  frame (JSON) ──frame──▶ trades ──record──▶ one record per symbol ══log══▶ tick ──▶ trades
//!  trades ──batch──▶ columns of many trades ══Redis══▶ batch ──▶ trades
//!  a symbol's last trades ──slots──▶ a ring ══Redis══▶ slots ──▶ trades
//! ```
//!
//! Pure: does no I/O, reads no clock and knows no tokio; buffers and time are the caller's.
//! Everything is decoded borrowed from the receive buffer, and nothing is allocated per trade.
//!
//! The decoders are written by hand because they stand on the way of every tick, and each is held
//! to a library that does the same more slowly (serde_json, prost) by tests on generated and
//! mutated bytes.

pub mod batch;
pub mod frame;
pub mod record;
pub mod slots;
pub mod tick;

#[cfg(test)]
mod testing;
