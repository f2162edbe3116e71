//! The market's own words: symbols, trades, candles, and what a symbol's state is after a trade.
//!
//! Pure: does no I/O, reads no clock and knows no tokio; every time is an argument. Encodings
//! belong to `wire`, storage to `speed`.

mod candle;
mod candles;
mod interval;
mod log;
mod recent;
mod state;
mod symbol;
mod trade;

pub use candle::Candle;
pub use candles::{CANDLES, CandleSpec, Candles, Gone, parse_candle_specs};
pub use interval::{Interval, IntervalError};
pub use log::{AnotherLog, Place};
pub use recent::Recent;
pub use state::{DAY, Day, Latest, StateSpec, SymbolState};
pub use symbol::{MAX_SYMBOL_BYTES, Symbol, SymbolError};
pub use trade::{Price, Sequence, Stamp, Trade, Volume, are_within};
