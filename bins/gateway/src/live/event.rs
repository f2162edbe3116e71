//! What live streams tell. An event is made once, written as text once, when the first client needs
//! it, and shared by all that are told.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use market::{Candle, Day, Interval, Latest, Sequence, Symbol, Trade};
use rpc::alert::v1::Firing;
use serde::Serialize;

use crate::alert_bodies::FiringBody;
use crate::live::cursor::{Cursor, FiringPlace, Given};

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Price,
    Tick,
    Candle,
    Firing,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Price, Self::Tick, Self::Candle, Self::Firing];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Tick => "tick",
            Self::Candle => "candle",
            Self::Firing => "firing",
        }
    }
}

/// Some kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |all, kind| all | 1 << (*kind as u8)))
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & (1 << (kind as u8)) != 0
    }

    pub(crate) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What orders events: trades as they came, and of one trade the tick before what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) rank: u8,
}

pub(crate) const TICK_RANK: u8 = 0;
pub(crate) const PRICE_RANK: u8 = 1;
/// Of the candles of the first interval: the one before the newest, and the newest. The next
/// intervals have the next ranks.
pub(crate) const CANDLE_RANK: u8 = 2;

/// After which a client has been given an event.
#[derive(Clone, Debug)]
pub(crate) struct After {
    /// Where it was before.
    pub(crate) base: Arc<Cursor>,
    /// The trade that the event is of; `None` of a firing, which the base has.
    pub(crate) trade: Option<(usize, Sequence)>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Price { symbol: Symbol, stands: Box<(Latest, Option<Day>)> },
    Tick { symbol: Symbol, trade: Trade },
    Candle { symbol: Symbol, interval: Interval, start: i64, candle: Box<Candle> },
    Firing(Box<Firing>),
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) order: Order,
    pub(crate) payload: Payload,
    after: After,
    /// As one event of an event stream, and as a message: written when the first client needs it.
    sse: OnceLock<Bytes>,
    message: OnceLock<Bytes>,
}

impl Event {
    pub(crate) fn new(order: Order, after: After, payload: Payload) -> Self {
        Self { order, payload, after, sse: OnceLock::new(), message: OnceLock::new() }
    }

    /// When the trade arrived at the socket, Unix nanoseconds; `None` where that is not known.
    pub(crate) fn received_at(&self) -> Option<u64> {
        let received_at = match &self.payload {
            Payload::Price { stands, .. } => stands.0.received_at,
            Payload::Tick { trade, .. } => trade.received_at,
            Payload::Candle { .. } | Payload::Firing(_) => 0,
        };
        (received_at > 0).then_some(received_at)
    }

    /// Of a firing.
    pub(crate) fn firing_place(&self) -> Option<FiringPlace> {
        self.after.base.firing
    }

    /// What a client that was cut off after it goes on from.
    pub(crate) fn id(&self) -> String {
        let mut id = String::with_capacity(128);
        let rank = self.order.rank;
        let given = self.after.trade.map(|(of, sequence)| (of, Given { sequence, rank }));
        self.after.base.write(given, &mut id);
        id
    }

    /// As one event of an event stream.
    pub(crate) fn sse(&self) -> &Bytes {
        self.sse.get_or_init(|| self.sse_text().into())
    }

    /// As one message of a WebSocket.
    pub(crate) fn message(&self) -> &Bytes {
        self.message.get_or_init(|| self.message_text().into())
    }
}

#[derive(Serialize)]
struct PriceData<'a> {
    symbol: &'a str,
    price: f64,
    /// Exchange time, Unix milliseconds.
    timestamp: i64,
    volume: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<DayData>,
}

#[derive(Serialize)]
struct DayData {
    start: i64,
    open: f64,
    high: f64,
    low: f64,
    volume: f64,
}

#[derive(Serialize)]
struct TickData<'a> {
    symbol: &'a str,
    price: f64,
    timestamp: i64,
    volume: f64,
}

#[derive(Serialize)]
struct CandleData<'a> {
    symbol: &'a str,
    interval: String,
    start: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    trades: u64,
}

impl Payload {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Price { .. } => Kind::Price,
            Self::Tick { .. } => Kind::Tick,
            Self::Candle { .. } => Kind::Candle,
            Self::Firing(_) => Kind::Firing,
        }
    }

    pub(crate) fn json(&self) -> String {
        let text = match self {
            Self::Price { symbol, stands } => serde_json::to_string(&PriceData {
                symbol: symbol.as_str(),
                price: stands.0.price.get(),
                timestamp: stands.0.stamp.time,
                volume: stands.0.volume.get(),
                day: stands.1.map(|Day { start, candle }| DayData {
                    start,
                    open: candle.open.get(),
                    high: candle.high.get(),
                    low: candle.low.get(),
                    volume: candle.volume,
                }),
            }),
            Self::Tick { symbol, trade } => serde_json::to_string(&TickData {
                symbol: symbol.as_str(),
                price: trade.price.get(),
                timestamp: trade.timestamp,
                volume: trade.volume.get(),
            }),
            Self::Candle { symbol, interval, start, candle } => {
                serde_json::to_string(&CandleData {
                    symbol: symbol.as_str(),
                    interval: interval.to_string(),
                    start: *start,
                    open: candle.open.get(),
                    high: candle.high.get(),
                    low: candle.low.get(),
                    close: candle.close.get(),
                    volume: candle.volume,
                    trades: candle.trades,
                })
            }
            Self::Firing(firing) => serde_json::to_string(&FiringBody::from((**firing).clone())),
        };
        // Strings and finite numbers alone.
        text.unwrap_or_default()
    }
}
