//! The record of the log: `gostocks.market.v1.StockTick`, as a borrowed view and written into a
//! reused buffer.
//!
//! Generated code (`rpc::market::v1::StockTick`) decodes the same bytes; this one copies no
//! string and no column, and gives back only values that the market's types admit.

mod columns;
mod decode;
mod encode;
mod error;
mod protobuf;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, TickRecord};
pub use encode::encode;
pub(crate) use encode::{ColumnsBuffer, Conditions, encode_with};
pub use error::TickError;

/// Trades are before this time (the year 2200, Unix milliseconds). A later one would be the newest
/// of its symbol for ever, and every other trade late.
pub const END_OF_TIME: i64 = 7_258_118_400_000;

/// The most trades that one record may carry.
pub const MAX_TRADES_PER_RECORD: usize = 65_536;
