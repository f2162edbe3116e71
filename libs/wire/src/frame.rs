//! Finnhub's frames: JSON text of a WebSocket, read in one pass and borrowed from it.
//!
//! ```json
//! {"data":[{"c":["1","12"],"p":122.1,"s":"TSLA","t":1672348887195,"v":1}],"type":"trade"}
//! ```
//!
//! `c` conditions, `p` price, `s` symbol, `t` Unix milliseconds, `v` volume; `data` comes before
//! `type`, and no order is promised (<https://finnhub.io/docs/api/websocket-trades>). Whatever
//! JSON allows is read: any order, whitespace, escapes, unknown members, repeated members (the
//! last one wins). One bad trade drops that trade; invalid JSON drops the frame.

mod ahead;
mod error;
mod number;
mod scan;
mod trade;

#[cfg(test)]
mod tests;

use std::slice;

use market::{Price, Trade, Volume};

pub use error::{FrameError, Rejections, TradeRejection};
use scan::{Scanner, Text};
use trade::{Found, FoundTrade};
pub use trade::{MAX_AHEAD_MS, MAX_CONDITION_BYTES, MAX_CONDITIONS};

/// Decodes frames, one after the other, in buffers that it keeps.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// Strings that are not in the frame as they should be: escaped, or in lower case.
    scratch: String,
    found: Found,
}

/// What a frame says. `type` decides, whatever else is in it.
#[derive(Debug)]
pub enum Frame<'a> {
    Trades(Trades<'a>),
    Ping,
    /// The feed refuses something and says what; an empty message where it does not say.
    Error {
        message: &'a str,
    },
    /// Anything else, such as news.
    Other {
        kind: &'a str,
    },
}

/// The valid trades of a frame, in its order.
#[derive(Clone, Debug)]
pub struct Trades<'a> {
    frame: &'a str,
    scratch: &'a str,
    trades: slice::Iter<'a, FoundTrade>,
    conditions: &'a [Text],
    rejected: Rejections,
}

#[derive(Clone, Debug)]
pub struct FrameTrade<'a> {
    /// Normalized: valid, and in upper case whatever the feed's spelling.
    pub symbol: &'a str,
    pub price: Price,
    pub volume: Volume,
    /// When the exchange says it happened, Unix milliseconds, positive.
    pub timestamp: i64,
    pub conditions: Conditions<'a>,
}

/// The codes of a trade's conditions, in the feed's order.
#[derive(Clone, Debug)]
pub struct Conditions<'a> {
    frame: &'a str,
    scratch: &'a str,
    texts: slice::Iter<'a, Text>,
}

impl FrameDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `frame`, all of it, before the first trade is given out.
    ///
    /// A trade more than [`MAX_AHEAD_MS`] ahead of `now_ms` (Unix milliseconds) is rejected.
    pub fn decode<'a>(&'a mut self, frame: &'a [u8], now_ms: i64) -> Result<Frame<'a>, FrameError> {
        let frame = std::str::from_utf8(frame).map_err(|_| FrameError::NotUtf8)?;
        self.scratch.clear();
        let latest = now_ms.saturating_add(MAX_AHEAD_MS);
        let members = read(frame, &mut self.scratch, &mut self.found, latest)?;
        let scratch = self.scratch.as_str();
        match members.kind.ok_or(FrameError::NoType)?.get(frame, scratch) {
            "trade" if members.has_data => Ok(Frame::Trades(Trades {
                frame,
                scratch,
                trades: self.found.trades.iter(),
                conditions: &self.found.conditions,
                rejected: self.found.rejected,
            })),
            "trade" => Err(FrameError::NoData),
            "ping" => Ok(Frame::Ping),
            "error" => {
                let message = members.message.map_or("", |message| message.get(frame, scratch));
                Ok(Frame::Error { message })
            }
            kind => Ok(Frame::Other { kind }),
        }
    }
}

/// The members of a frame's object, last one wins.
#[derive(Default)]
struct Members {
    kind: Option<Text>,
    message: Option<Text>,
    has_data: bool,
}

fn read(
    frame: &str,
    scratch: &mut String,
    found: &mut Found,
    latest: i64,
) -> Result<Members, FrameError> {
    found.clear();
    let mut members = Members::default();
    let mut scanner = Scanner::new(frame, scratch);
    scanner.whitespace();
    if scanner.peek() != b'{' {
        scanner.skip()?;
        scanner.finish()?;
        return Err(FrameError::NotObject);
    }
    scanner.object(|scanner, key| match scanner.get(key) {
        "data" => {
            found.clear();
            members.has_data = scanner.peek() == b'[';
            if members.has_data {
                scanner.array(|scanner| found.read(scanner, latest))
            } else {
                scanner.skip()
            }
        }
        "type" => string(scanner).map(|text| members.kind = text),
        "msg" => string(scanner).map(|text| members.message = text),
        _ => scanner.skip(),
    })?;
    scanner.finish()?;
    Ok(members)
}

/// Reads the value here: a string, or `None` for anything else.
fn string(scanner: &mut Scanner<'_>) -> Result<Option<Text>, FrameError> {
    if scanner.peek() == b'"' {
        scanner.string().map(Some)
    } else {
        scanner.skip()?;
        Ok(None)
    }
}

impl Trades<'_> {
    /// How many of the frame's trades were dropped, by reason.
    pub fn rejected(&self) -> &Rejections {
        &self.rejected
    }
}

impl<'a> Iterator for Trades<'a> {
    type Item = FrameTrade<'a>;

    #[inline]
    fn next(&mut self) -> Option<FrameTrade<'a>> {
        let found = self.trades.next()?;
        Some(FrameTrade {
            symbol: found.symbol.get(self.frame, self.scratch),
            price: found.price,
            volume: found.volume,
            timestamp: found.timestamp,
            conditions: Conditions {
                frame: self.frame,
                scratch: self.scratch,
                texts: self.conditions[found.conditions.clone()].iter(),
            },
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.trades.size_hint()
    }
}

impl ExactSizeIterator for Trades<'_> {}

impl FrameTrade<'_> {
    /// The trade without its symbol; `received_at` is when its frame was read from the socket,
    /// Unix nanoseconds.
    #[inline]
    pub fn received(&self, received_at: u64) -> Trade {
        Trade { price: self.price, volume: self.volume, timestamp: self.timestamp, received_at }
    }
}

impl<'a> Iterator for Conditions<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        self.texts.next().map(|text| text.get(self.frame, self.scratch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.texts.size_hint()
    }
}

impl ExactSizeIterator for Conditions<'_> {}
