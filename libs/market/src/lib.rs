//! The market's own words: symbols, trades, candles, and what a symbol's state is after a trade.
//!
//! Pure: does no I/O, reads no clock and knows no tokio; every time is an argument. Encodings
//! belong to `wire`, storage to `speed`.

mod candle;
mod log;
mod state;
mod symbol;
mod trade;

pub use candle::{Candle, Candles, MINUTE};
pub use log::{AnotherLog, Place};
pub use state::{DAY, Day, Latest, SymbolState};
pub use symbol::{MAX_SYMBOL_BYTES, Symbol, SymbolError};
pub use trade::{Price, Sequence, Stamp, Trade, Volume};
