use market::SymbolError;

use super::MAX_TRADES_PER_RECORD;

/// Why the value of a record is not a tick. The record as a whole is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    #[error("the value is not a protobuf message of type gostocks.market.v1.StockTick")]
    Encoding,
    #[error("a string of the record is not UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Symbol(#[from] SymbolError),
    #[error("a price must be finite and positive")]
    Price,
    #[error("a volume must be finite and not negative")]
    Volume,
    #[error("a timestamp must be positive and before the year 2200, in Unix milliseconds")]
    Timestamp,
    #[error("the record's columns have unequal lengths")]
    UnequalColumns,
    #[error("condition_counts do not add up to the number of condition_values")]
    ConditionCounts,
    #[error("a record must not carry more than {MAX_TRADES_PER_RECORD} trades")]
    TooManyTrades,
}

impl TickError {
    /// The reason as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::NotUtf8 => "not_utf8",
            Self::Symbol(_) => "symbol",
            Self::Price => "price",
            Self::Volume => "volume",
            Self::Timestamp => "timestamp",
            Self::UnequalColumns => "unequal_columns",
            Self::ConditionCounts => "condition_counts",
            Self::TooManyTrades => "too_many_trades",
        }
    }
}
