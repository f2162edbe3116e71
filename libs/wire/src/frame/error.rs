/// Why a frame as a whole is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is not UTF-8")]
    NotUtf8,
    #[error("the frame is not valid JSON at byte {at}")]
    Json { at: usize },
    #[error("the frame nests arrays or objects deeper than 127 levels")]
    TooDeep,
    #[error("the frame is not a JSON object")]
    NotObject,
    #[error("the frame has no \"type\", or one that is not a string")]
    NoType,
    #[error("the frame is of type \"trade\" but has no array \"data\"")]
    NoData,
}

impl FrameError {
    /// The reason as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::Json { .. } => "json",
            Self::TooDeep => "too_deep",
            Self::NotObject => "not_object",
            Self::NoType => "no_type",
            Self::NoData => "no_data",
        }
    }

    /// Every label there is, so that a metric has each from the start.
    pub const LABELS: [&str; 6] =
        ["not_utf8", "json", "too_deep", "not_object", "no_type", "no_data"];
}

/// Why one trade of a good frame is dropped. Where several reasons hold, the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeRejection {
    /// Not an object, or its conditions are not a short array of short strings.
    Shape,
    /// No symbol, not a string, or not a valid one.
    Symbol,
    /// No price, not a number, or not finite and positive.
    Price,
    /// Not a number, or not finite and zero or more.
    Volume,
    /// No timestamp, or not a positive integral number.
    Timestamp,
    /// Too far ahead of the clock: one such trade would freeze its symbol.
    TimestampAhead,
}

impl TradeRejection {
    pub const ALL: [Self; 6] = [
        Self::Shape,
        Self::Symbol,
        Self::Price,
        Self::Volume,
        Self::Timestamp,
        Self::TimestampAhead,
    ];

    /// The reason as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Symbol => "symbol",
            Self::Price => "price",
            Self::Volume => "volume",
            Self::Timestamp => "timestamp",
            Self::TimestampAhead => "timestamp_ahead",
        }
    }
}

/// How many trades of a frame were dropped, indexed by `TradeRejection as usize`.
pub type Rejections = [u32; TradeRejection::ALL.len()];
