use std::collections::HashMap;

use market::{Day, Symbol};

use crate::fields::Fields;
use crate::log::Position;
use crate::stored_state;

/// The latest trade of a symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestPrice {
    pub symbol: Symbol,
    pub price: f64,
    /// Event time, Unix milliseconds.
    pub timestamp: i64,
    pub volume: f64,
    /// When the ingestor read it, Unix nanoseconds; 0 where unknown.
    pub received_at: u64,
    /// The last trade that was counted: the latest by event time, or a late one.
    /// `None` where somebody else wrote it.
    pub as_of: Option<Position>,
    pub day: Option<DayStats>,
}

/// The UTC day of the latest trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayStats {
    pub start_ms: i64,
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub volume: f64,
}

/// The hash is not what this program writes.
#[derive(Debug)]
pub(crate) struct Foreign;

/// `None` where nothing is stored.
pub(crate) fn parse(
    symbol: &Symbol,
    fields: HashMap<String, String>,
) -> Result<Option<LatestPrice>, Foreign> {
    let fields = Fields::new(fields);
    if fields.is_empty() {
        return Ok(None);
    }
    price(symbol, &fields).map(Some).ok_or(Foreign)
}

fn price(symbol: &Symbol, fields: &Fields) -> Option<LatestPrice> {
    Some(LatestPrice {
        symbol: symbol.clone(),
        price: fields.price("price")?.get(),
        timestamp: fields.number("timestamp")?,
        volume: fields.finite("volume")?,
        received_at: fields.number("received_at").unwrap_or(0),
        as_of: fields.text("position").and_then(Position::parse),
        day: day(fields),
    })
}

fn day(fields: &Fields) -> Option<DayStats> {
    let Day { start, candle } = stored_state::day(fields)?;
    Some(DayStats {
        start_ms: start,
        open: candle.open.get(),
        high: candle.high.get(),
        low: candle.low.get(),
        volume: candle.volume,
    })
}
